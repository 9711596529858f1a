"""Tiles: what is computed piece by piece is what autograd makes of the whole, and nothing is computed for nothing."""

import warnings
from contextlib import ExitStack

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from decant.distill import seams, tiles
from decant.distill.divergences.jensen_shannon import JensenShannon
from decant.distill.tiles import by_tiles
from decant.models import build
from decant.models.build import LlamaSpec, untrained
from decant.models.student import States, head, read
from decant.models.unrounded import NAME, unrounded
from tests.distill.known import Told, batch_of, noise, study

VOCAB, ROWS = 24, 17
CLOSE = torch.testing.assert_close


def told(seed: int = 0):
    hidden_ND, matrix_DV = (noise(*shape, seed=seed).requires_grad_() for shape in ((ROWS, 4), (4, VOCAB)))
    states = States(hidden_ND, lambda hidden: hidden @ matrix_DV, VOCAB)
    signal = Told(noise(ROWS, VOCAB, seed=2).log_softmax(-1))
    return study(states, signal, batch_of(9, 5, 6, vocab=VOCAB)), (hidden_ND, matrix_DV)


def nats_of(asked, divergence):
    return lambda rows, q: divergence(asked.signal.law(rows).logp_XV, q)


def tiled(divergence, asked, weights):
    nats_N = by_tiles(asked, nats_of(asked, divergence))
    return nats_N.detach(), *torch.autograd.grad((nats_N * asked.at.label_N).sum(), weights)


@pytest.mark.parametrize("rows", [1, 3, ROWS])
@pytest.mark.parametrize("chunk", [2, 5, ROWS])
def test_tiles_are_the_whole(rows: int, chunk: int, monkeypatch) -> None:
    asked, weights = told()
    divergence = JensenShannon(0.3)
    nats_N = nats_of(asked, divergence)(slice(0, ROWS), (weights[0] @ weights[1]).log_softmax(-1))
    want = nats_N.detach(), *torch.autograd.grad((nats_N * asked.at.label_N).sum(), weights)
    monkeypatch.setattr(tiles, "LEAST", 1)
    monkeypatch.setattr(tiles, "TILE", rows * VOCAB)
    monkeypatch.setattr(tiles, "by_chunks", lambda *given: seams.by_chunks(*given, chunk * VOCAB))
    CLOSE(tiled(divergence, asked, weights), want)


def test_slopes_are_found_once(monkeypatch) -> None:
    """Chunks are read twice, and the first time for their values alone."""
    learnt = []

    def watched(p, q):
        learnt.append(q.requires_grad)
        return JensenShannon()(p, q)

    asked, weights = told()
    tiled(watched, asked, weights)
    assert learnt == [True]
    learnt.clear()
    monkeypatch.setattr(tiles, "by_chunks", lambda *given: seams.by_chunks(*given, 6 * VOCAB))
    tiled(watched, asked, weights)
    assert learnt == [False] * 3 + [True] * 3
    learnt.clear()
    with torch.no_grad():
        by_tiles(asked, nats_of(asked, watched))
    assert not any(learnt)


def model(seed: int = 0):
    return untrained(LlamaSpec(VOCAB, 16, 2, 2, 1, 24, head_dim=8), seed=seed)


class Seen(TorchDispatchMode):
    """The types of what attention mixed; how often something as large as the head was rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.rounded = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "scaled_dot_product" in str(func) and "backward" not in str(func):
            self.mixed.add(args[0].dtype)
        large = str(func) == "aten._to_copy.default" and tuple(args[0].shape) == (VOCAB, 16)
        self.rounded += large and (kwargs or {}).get("dtype") == torch.bfloat16
        return func(*args, **(kwargs or {}))


def test_a_head_is_rounded_once_and_learns_as_autocast_lets_it(monkeypatch) -> None:
    monkeypatch.setattr(build, "fast_bfloat16", lambda: True)
    network, hidden_ND = model(), noise(9, 16).float()
    said = head(network)
    with Seen() as seen:
        sum(said(hidden_ND[first : first + 3]).float().square().sum() for first in (0, 3, 6)).backward()
    assert seen.rounded == 1
    found, network.lm_head.weight.grad = network.lm_head.weight.grad, None
    for first in (0, 3, 6):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network.lm_head(hidden_ND[first : first + 3])
        logits.float().square().sum().backward()
    assert found.dtype == torch.float32
    assert torch.equal(found, network.lm_head.weight.grad)


def test_attention_is_not_rounded_on_a_cpu(monkeypatch) -> None:
    monkeypatch.setattr(build, "fast_bfloat16", lambda: True)
    network, at = model(), torch.tensor([0, 1])
    own = network.config._attn_implementation
    with Seen() as seen:
        read(network, torch.arange(10).view(2, 5), at, at).hidden_ND.sum().backward()
    assert seen.mixed == {torch.float32}
    assert network.config._attn_implementation == own == "sdpa"
    with unrounded(network):
        assert network.config._attn_implementation == NAME
    with warnings.catch_warnings():  # newer versions call it by another name
        warnings.simplefilter("ignore", FutureWarning)
        network.gradient_checkpointing_enable()  # its layers run once more, where nobody has switched
    with unrounded(network):
        assert network.config._attn_implementation == own


def test_passes_of_one_network_in_several_threads_do_not_disturb_each_other() -> None:
    """A pass that began in the midst of another mixes as that does, and whoever is last puts things back."""
    network = model()
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(unrounded(network))
        second.enter_context(unrounded(network))
        first.close()
        assert network.config._attn_implementation == NAME
        second.close()
        assert network.config._attn_implementation == "sdpa"


def test_a_head_in_use_leaves_the_matrix_alone(monkeypatch) -> None:
    """Another thread may be multiplying by it."""
    monkeypatch.setattr(build, "fast_bfloat16", lambda: True)
    network, seen = model(), []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(network.lm_head.weight.dtype)
            return func(*args, **(kwargs or {}))

    with Watching():
        head(network, fixed=True)(noise(3, 16).float())
    assert set(seen) == {torch.float32}

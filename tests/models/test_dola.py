"""DoLa is the last layer against the exit that is furthest from it: brute force over transformers' hidden states."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from decant import house as shipped
from decant.apps.guidance import dola as dola_target
from decant.drafters.early_exit import EarlyExit
from decant.drafters.prompt_lookup import PromptLookup
from decant.errors import BadInput, IncompatibleParts
from decant.models.causal import Causal
from decant.models.dola import Dola, bucket, contrast
from decant.models.early_exit import EarlyExits
from decant.models.fast.lean import Lean
from decant.testing.laws import check_model
from decant.types import Draft, Taps
from tests.models.exits import made
from tests.models.pairs import TEXT, Lawful, check_speculation, house, row


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Causal:
    return made(tmp_path_factory.mktemp("dola"))


@pytest.fixture(scope="module", params=[True, False], ids=["normed", "bare"])
def dola(request: pytest.FixtureRequest, llama: Causal) -> Dola:
    return Dola.of(llama, "toy", (0, 1, 2), alpha=0.01, normed=request.param)


def test_the_law_of_models(dola: Dola) -> None:
    check_model(Lawful(dola), atol=1e-3)


@torch.inference_mode()
def brute_force(network: Any, ids: list[int], layers: list[int], alpha: float, normed: bool) -> tuple[Tensor, int]:
    """logits_V after a text, and the layer that was taken: one plain forward, every formula written out."""
    out = network(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    last_V = out.logits[0, -1].double().softmax(-1)
    laws = {}
    for layer in layers:
        state_D = out.hidden_states[layer][0, -1]
        exit_V = network.lm_head(network.model.norm(state_D) if normed else state_D)
        laws[layer] = exit_V.double().softmax(-1)

    def far(law_V: Tensor) -> float:
        middle_V = (law_V + last_V) / 2
        parts = [(one_V * (one_V.clamp_min(1e-300) / middle_V).log()).sum() for one_V in (law_V, last_V)]
        return float(sum(parts)) / 2

    layer = max(layers, key=lambda one: far(laws[one]))
    said_V = last_V.log() - laws[layer].log()
    return said_V.masked_fill(last_V < alpha * last_V.max(), -torch.inf).float(), layer


@pytest.mark.parametrize("normed", [True, False], ids=["normed", "bare"])
@torch.inference_mode()
def test_it_agrees_with_a_plain_forward_of_transformers(normed: bool) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(shipped.folder("target"), local_files_only=True).eval()
    target = house("target")
    layers = [1, 2, 3, 4, 5]
    model: Any = dola_target(target, layers, normed=normed).model
    ids = target.encode(TEXT + " sat on the mat. Once there was a small fish in a big pond.")
    begin = len(ids) - 12
    draft = Draft(torch.tensor([ids[begin:]]))
    said_MV = model.score(model.start(torch.tensor([ids[:begin]]))[0], draft).logits_BMV[0]
    taken = set()
    for at, have_V in enumerate(said_MV):
        want_V, layer = brute_force(theirs, ids[: begin + at], layers, 0.1, normed)
        taken.add(layer)
        assert torch.equal(have_V.isfinite(), want_V.isfinite())
        torch.testing.assert_close(have_V[have_V.isfinite()], want_V[want_V.isfinite()], rtol=0, atol=5e-3)
    assert len(taken) > 1, "rows that all take one layer would not show whose choice it was"


@torch.inference_mode()
def test_the_last_layer_against_itself_is_uniform_over_the_head_set(llama: Causal) -> None:
    model = Dola.of(llama, "toy", (3,), alpha=0.1)
    own_V, said_V = row(llama, [5, 6, 7, 8]), row(model, [5, 6, 7, 8])
    head_V = own_V >= own_V.max() + torch.tensor(0.1).log()
    assert torch.equal(said_V.isfinite(), head_V)
    assert (said_V[head_V] == 0).all()


def test_each_row_takes_the_exit_that_is_furthest_from_it() -> None:
    last_XV = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]).log()
    near_XV = torch.tensor([[0.6, 0.3, 0.1], [0.7, 0.2, 0.1]]).log()
    far_XV = torch.tensor([[0.1, 0.2, 0.7], [0.1, 0.3, 0.6]]).log()
    want_XV = torch.stack([last_XV[0] - far_XV[0], last_XV[1] - near_XV[1]])
    for exits in ([near_XV, far_XV], [far_XV, near_XV]):
        torch.testing.assert_close(contrast(last_XV, exits, 0.0), want_XV)
        moved = [exit_XV + 30 for exit_XV in exits]
        torch.testing.assert_close(contrast(last_XV - 20, moved, 0.0), want_XV, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_what_others_tap_is_still_theirs(llama: Causal, dola: Dola) -> None:
    prompt_BT, taps = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]]), Taps(layers=(-1, 1), top=2)
    draft = Draft(torch.tensor([[20, 21], [22, 23]]))
    (context, have), (plain, want) = dola.start(prompt_BT, taps), llama.start(prompt_BT, taps)
    assert have.hidden_BMD is not None
    assert want.hidden_BMD is not None
    assert have.layers == taps.layers
    torch.testing.assert_close(have.hidden_BMD, want.hidden_BMD)
    have, want = dola.score(context, draft), llama.score(plain, draft)
    torch.testing.assert_close(have.hidden((1,)), want.hidden((1,)))
    torch.testing.assert_close(have.hidden(taps.layers), want.hidden(taps.layers))


@pytest.mark.parametrize("early", [False, True], ids=["lookup", "early exit"])
def test_speculation_says_what_plain_decoding_says(early: bool) -> None:
    """In exact mode the exits keep to the class of row counts, too; drafts may come from the same cache."""
    target = house("draft", exact="on")
    model: Any = dola_target(target, (0, 1)).model
    assert model.rows is not None
    drafter = EarlyExit(EarlyExits.of(model, "draft"), 1) if early else PromptLookup()
    check_speculation(model, [target.encode(TEXT), target.encode("Once")], tokens=8, drafter=drafter)


@pytest.mark.parametrize(
    ("half", "last", "tied", "want"),
    [
        ("high", 6, True, (3, 5)),
        ("low", 6, True, (2,)),
        ("low", 6, False, (0, 2)),
        ("low", 32, False, tuple(range(0, 16, 2))),
        ("high", 32, False, tuple(range(16, 32, 2))),
        ("low", 80, False, tuple(range(0, 20, 2))),
        ("high", 80, True, tuple(range(60, 80, 2))),
        ("low", 2, True, (1,)),
        ("low", 1, True, (0,)),
    ],
)
def test_halves(half: Any, last: int, tied: bool, want: tuple[int, ...]) -> None:
    assert bucket(half, last, tied) == want


def test_the_cache_is_the_models_own(llama: Causal, dola: Dola) -> None:
    assert dola.cache_bytes([5, 60]) == llama.cache_bytes([5, 60])
    assert dola.context == llama.context
    assert dola.prepare(torch.tensor([[5, 6, 7]]))
    assert isinstance(dola.network, Lean)


def test_what_cannot_be_is_said(llama: Causal, tmp_path) -> None:
    for layers in ((), (-1, 1), (2, 2), (2, 1), (1, 4)):
        with pytest.raises(BadInput, match="candidates ascend from 0 to at most the 3 layers of toy"):
            Dola.of(llama, "toy", layers)
    with pytest.raises(BadInput, match=r"alpha must lie in \[0, 1\], got 2"):
        Dola.of(llama, "toy", (1,), alpha=2)
    middle: Any = "middle"
    with pytest.raises(BadInput, match="low, high or a list of layers, got 'middle'"):
        Dola.of(llama, "toy", middle)
    with pytest.raises(IncompatibleParts, match=r"but mine \(LlamaForCausalLM\) runs through transformers"):
        Dola.of(made(tmp_path, lean=False), "mine")


def test_the_vocabulary_may_be_another(llama: Causal) -> None:
    model = Dola.of(replace(llama, vocab=llama.vocab + 3), "toy", (1,), alpha=0.0)
    with torch.inference_mode():
        said_V = row(model, [5, 6, 7])
    assert (said_V[-3:] == -torch.inf).all()
    assert said_V[:-3].isfinite().all()

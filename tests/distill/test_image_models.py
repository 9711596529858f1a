"""Tokenizers and teachers of images learn, unused codes come back, and a killed run ends where it would have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.distill.images import tokenizing
from decant.distill.images.teaching import CLASSLESS, Examples, nats
from decant.distill.images.teaching import teach as teach_network
from decant.distill.images.tokenizing import Taught, fidelity
from decant.distill.images.tokenizing import teach as teach_tokenizer
from decant.distill.settings import Settings
from decant.images.layout import Layout
from decant.models.images.body import BodySpec
from decant.models.images.multiscale import MultiScaleQuantizer
from decant.models.images.teacher import untrained
from decant.models.images.vq import TokenizerSpec, VectorQuantizer
from tests.images.tiny import RASTER, SCALES

LAYOUTS = [RASTER, SCALES]


def fresh(layout: Layout, codes: int = 8) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = VectorQuantizer if layout.is_raster else MultiScaleQuantizer
        return made(TokenizerSpec(4, layout.sides, layout.grid, codes=codes, channels=2, width=8))


def quarters(step: int, count: int = 32) -> Tensor:
    """Images of 4 x 4 whose quarters are each black or white."""
    rng = torch.Generator().manual_seed(step)
    return torch.randint(2, (count, 2, 2), generator=rng).float().repeat_interleave(2, 1).repeat_interleave(2, 2)


def knobs(steps: int, peak: float = 1e-2) -> Settings:
    return Settings(steps, peak, warmup=5, weight_decay=0.0, clip=100.0, save_every=20, quiet=True)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_tokenizer_learns_quarters(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "FORGETS", 0.8)  # for a run of few steps
    net = fresh(layout)
    before = fidelity(net, quarters(1000, 256))
    teach_tokenizer(net, quarters, knobs(80 if layout.is_raster else 150), tmp_path)
    after = fidelity(net, quarters(1000, 256))
    assert before.error > 0.9 * before.variance
    assert after.error < 0.05 * after.variance
    assert 2 <= after.perplexity <= after.used <= 8
    assert float(net.codes_VC.square().mean()) == pytest.approx(1.0, abs=1e-4)  # the size of the noise that flows to it


@pytest.mark.parametrize("restarts", [True, False])
def test_codes_that_nobody_uses_come_back(restarts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but one code begin far from every vector: without restarts they stay there."""
    if not restarts:
        monkeypatch.setattr(tokenizing, "DEAD", 0.0)
    monkeypatch.setattr(tokenizing, "FORGETS", 0.5)
    net = fresh(RASTER)
    net.codebook.data[1:] += 1000.0
    teach_tokenizer(net, quarters, knobs(60), tmp_path)
    assert (fidelity(net, quarters(1000, 256)).used > 1) == restarts


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_codes_and_encoder_move_towards_each_other(layout: Layout) -> None:
    """Gradients reach all parts, through the rounding to codes too."""
    taught = Taught(fresh(layout))
    with torch.random.fork_rng():
        taught.loss(quarters(0), torch.ones(32)).backward()
    unmoved = [name for name, weight in taught.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not unmoved


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_killed_run_ends_with_the_same_codes(layout: Layout, tmp_path: Path) -> None:
    whole, parts = fresh(layout), fresh(layout)
    teach_tokenizer(whole, quarters, knobs(40), tmp_path / "whole")

    def killed(step: int) -> Tensor:
        if step == 30:
            raise KeyboardInterrupt
        return quarters(step)

    with pytest.raises(KeyboardInterrupt):
        teach_tokenizer(parts, killed, knobs(40), tmp_path / "parts")
    again = fresh(layout)
    teach_tokenizer(again, quarters, knobs(40), tmp_path / "parts")
    assert torch.equal(again.codes_VC, whole.codes_VC)
    assert not torch.equal(again.codes_VC, fresh(layout).codes_VC)


def test_free_steps_ask_for_no_codes() -> None:
    """Twice as many pixels a side weigh as much: the error counts as if there were four a place."""
    net, shown_BYX = fresh(RASTER), quarters(0)
    taught, codes_VC = Taught(net, free=1), net.codes_VC.clone()
    with torch.random.fork_rng():
        lost = taught.loss(shown_BYX, torch.ones(32))
        lost.backward()
        said_BYX = net.pixels(net.grid(shown_BYX))
        assert lost.item() == pytest.approx(16 * 32 * (said_BYX - shown_BYX).square().mean().item(), rel=1e-5)
        assert net.codebook.grad is None
        assert torch.equal(net.codes_VC, codes_VC)
        taught.loss(shown_BYX, torch.ones(32)).backward()
    assert net.codebook.grad.any()
    assert not torch.equal(net.codes_VC, codes_VC)  # they start among the vectors


def test_fidelity_counts_codes() -> None:
    net = fresh(RASTER, codes=2)
    found = fidelity(net, quarters(0, 64))
    ids_BL = net.encode(quarters(0, 64))
    share = float((ids_BL == 0).double().mean())
    entropy = -sum(part * torch.tensor(part).log().item() for part in (share, 1 - share) if part)
    assert found.perplexity == pytest.approx(torch.tensor(entropy).exp().item(), rel=1e-4)
    assert found.used == len(ids_BL.unique())


def examples(layout: Layout, rows: int = 32) -> Examples:
    """Of class 0 all codes are 1, of class 1 they count upwards; a second version, read a quarter of the time, is 4."""
    ones_L, counted_L = torch.ones(layout.places, dtype=torch.int64), torch.arange(layout.places) % 5
    ids_NL = torch.stack([ones_L, counted_L])
    return Examples(
        torch.tensor([0, 1]), torch.stack([ids_NL, torch.full_like(ids_NL, 4)]), torch.tensor([0.75, 0.25]), rows
    )


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_teacher_learns_what_a_class_looks_like(layout: Layout, tmp_path: Path) -> None:
    net, shown = fresh(layout, codes=5), examples(layout)
    net.requires_grad_(False)
    network = untrained(BodySpec(2, 2, layout.sides, layout.grid, 16, 1, 2, 24), 5)
    told = shown.labels_N, shown.ids_SNL[0]
    assert nats(network, net, *told) == pytest.approx(torch.tensor(5.0).log().item(), abs=0.1)
    teach_network(network, net, shown, knobs(120), tmp_path)
    first = -torch.tensor(0.75).log().item()  # the first unit says which version it is, the rest follows from it
    assert nats(network, net, *told) < (first + 0.5) / layout.places + 0.05
    lost = nats(network, net, torch.full_like(shown.labels_N, 2), shown.ids_SNL[0])
    assert lost > nats(network, net, *told) + 0.1


def test_a_step_reads_the_same_rows_again_and_some_without_their_class() -> None:
    shown = examples(RASTER, rows=4000)
    rows_BT, weights_BT = shown.batch(3, 2)
    again_BT, _ = shown.batch(3, 2)
    other_BT, _ = shown.batch(4, 2)
    assert torch.equal(rows_BT, again_BT)
    assert not torch.equal(rows_BT, other_BT)
    assert weights_BT.sum(-1).unique().tolist() == [RASTER.places]
    assert not weights_BT[:, 0].any()  # nobody predicts the class
    classless, second = float((rows_BT[:, 0] == 2).float().mean()), float((rows_BT[:, 1:] == 4).all(-1).float().mean())
    assert classless == pytest.approx(CLASSLESS, abs=0.025)  # five standard deviations
    assert second == pytest.approx(0.25, abs=0.035)

"""The lesson is the bound that its card says, and a run that was killed ends with the same weights."""

from dataclasses import dataclass, replace
from itertools import product
from math import comb
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from decant.distill.diffusion.lesson import Filling
from decant.distill.diffusion.masking import Blocks, Either, Masked, Uniform
from decant.distill.settings import Settings
from decant.distill.trainer import Share, run
from decant.models.masked.convention import Convention
from decant.models.masked.training import Readings, masked_logits
from decant.testing.canvases import TableLM
from tests.distill.masks import MASK, SPEC, free, tabled, texts, tiny

SHARE = Share()
WHOLE = Uniform(1.0, 1.0)


def nats_of(training: Filling, step: int = 0) -> Tensor:
    pieces, _ = training.batches(None, step, SHARE)
    return sum(training.nats(None, step, piece) for piece in pieces)  # type: ignore[return-value]


def test_with_everything_hidden_it_is_plain_cross_entropy() -> None:
    network, convention = tiny()
    training = Filling(network, convention, texts, WHOLE, micro=3)
    ids_BT, weights_BT = texts(0)
    canvas_BT = ids_BT.masked_fill(weights_BT > 0, MASK.mask_token_id)
    every_BTT = torch.ones(4, 1, 12, 12, dtype=torch.bool)
    logits_BTV = network(canvas_BT, attention_mask=every_BTT).logits[..., : SPEC.vocab]
    nats_BT = cross_entropy(logits_BTV.float().transpose(1, 2), ids_BT, reduction="none")
    torch.testing.assert_close(nats_of(training), (nats_BT * weights_BT).sum(), rtol=2e-2, atol=2e-2)
    pieces, _ = training.batches(None, 0, SHARE)
    assert float(sum(training.weight(piece) for piece in pieces)) == float((weights_BT > 0).sum())


def test_places_that_are_not_hidden_have_no_gradient() -> None:
    logits_BTV = torch.randn(4, 12, 12, generator=torch.Generator().manual_seed(1)).requires_grad_()
    training = Filling(free(logits_BTV), MASK, texts, Either(Uniform(0.3, 0.6), Blocks(4)))
    (piece,), _ = training.batches(None, 3, SHARE)
    training.nats(None, 3, piece).backward()
    assert logits_BTV.grad is not None
    moved_BT = logits_BTV.grad.abs().sum(-1) > 0
    assert moved_BT.equal(piece.weight_VBT[0] > 0)
    assert 0 < int(moved_BT.sum()) < int(piece.texts.masked_VBT.sum()), "what lies behind a block"
    assert not logits_BTV.grad[..., MASK.mask_token_id].any(), "the mask itself is never said"


def test_under_the_shift_the_row_in_front_predicts() -> None:
    logits_BTV = torch.zeros(4, 12, 12, requires_grad=True)
    training = Filling(free(logits_BTV), Convention(MASK.mask_token_id, shift=True), texts, Uniform(0.3, 0.6))
    (piece,), _ = training.batches(None, 3, SHARE)
    training.nats(None, 3, piece).backward()
    assert logits_BTV.grad is not None
    moved_BT = logits_BTV.grad.abs().sum(-1) > 0
    assert moved_BT[:, :-1].equal((piece.weight_VBT[0] > 0)[:, 1:])
    assert not moved_BT[:, -1].any()


@dataclass(frozen=True)
class Every:
    """All masks of four places, each with the integral of t^(l - 1) (1 - t)^(4 - l): what a uniform ratio with weights
    of 1 / ratio comes to."""

    integrated: bool = True

    def __call__(self, answer_BT: Tensor, chance: torch.Generator) -> Masked:
        masked_BT = torch.tensor([[False, *row] for row in product([False, True], repeat=4)])
        count_B1 = masked_BT.sum(-1, keepdim=True)
        beta = [0.0] + [1 / (left * comb(4, left)) for left in range(1, 5)]
        weight_B1 = torch.tensor(beta)[count_B1] if self.integrated else 1 / count_B1.clamp_min(1)
        return Masked(masked_BT, masked_BT * weight_B1, torch.full((16,), 4))


def joint() -> TableLM:
    answers_YL = torch.tensor(list(product(range(3), repeat=4)))
    probs_Y = torch.rand(81, generator=torch.Generator().manual_seed(2), dtype=torch.float64) ** 3
    return TableLM(answers_YL, probs_Y / probs_Y.sum(), vocab=4)


@pytest.mark.parametrize("answer", [(0, 1, 2, 1), (2, 2, 0, 1)])
def test_the_mean_over_all_masks_is_the_likelihood(answer: tuple[int, ...]) -> None:
    """Planted: one over the number of masks as the weight, which is no bound."""
    model = joint()
    ids_BT = torch.tensor([[0, *answer]]).expand(16, -1)
    weights_BT = torch.tensor([0.0, 1, 1, 1, 1]).expand(16, -1)
    convention = Convention(model.mask)
    found, wrong = (
        float(nats_of(Filling(tabled(model), convention, lambda step: (ids_BT, weights_BT), masking)))
        for masking in (Every(), Every(integrated=False))
    )
    true = -float(model.probs_Y[(model.answers_YL == torch.tensor(answer)).all(-1)].log())
    assert found == pytest.approx(true, abs=1e-5)
    assert abs(wrong - true) > 0.5


def test_what_is_drawn_has_that_mean() -> None:
    """20,000 draws of a uniform ratio: a text's nats have a standard deviation below 7 times its greatest -log p, so
    that the mean is within 0.15 of the truth with six standard errors."""
    model = joint()
    answer = (0, 1, 2, 1)
    rows = 4000
    ids_BT = torch.tensor([[0, *answer]]).expand(rows, -1)
    weights_BT = torch.tensor([0.0, 1, 1, 1, 1]).expand(rows, -1)
    table = tabled(model)
    said: dict[tuple[int, ...], Tensor] = {}

    def remembered(canvas_BT: Tensor) -> Tensor:
        for row in canvas_BT.unique(dim=0):
            said.setdefault(tuple(row.tolist()), table.says(row[None])[0])
        return torch.stack([said[tuple(row)] for row in canvas_BT.tolist()])

    network = type(table)(remembered)
    training = Filling(network, Convention(model.mask), lambda step: (ids_BT, weights_BT), Uniform(1e-4), micro=rows)
    mean = sum(float(nats_of(training, step)) for step in range(5)) / (5 * rows)
    true = -float(model.probs_Y[(model.answers_YL == torch.tensor(answer)).all(-1)].log())
    assert mean == pytest.approx(true, abs=0.15)
    assert true > 1


@pytest.mark.parametrize("rows", [1, 4])
def test_two_processes_read_what_one_does(rows: int) -> None:
    """Also where one of them has no row."""
    network, convention = tiny()
    training = Filling(network, convention, lambda step: tuple(part[:rows] for part in texts(step)), WHOLE, micro=1)  # type: ignore[arg-type, return-value]
    parts = [training.batches(None, 0, Share(rank, 2))[0] for rank in range(2)]
    assert [len(part) for part in parts] == [-(-rows // 2), rows // 2]
    nats = [float(training.nats(None, 0, piece).detach()) for part in parts for piece in part]
    assert sum(nats) == pytest.approx(float(nats_of(training).detach()), rel=1e-4)


def test_attention_opens_by_and_by() -> None:
    """At first it is nearly causal, after `opening` steps nothing is closed."""
    network, convention = tiny()
    training = Filling(network, convention, texts, WHOLE, opening=10)
    shares = []
    for step in (0, 4, 9):
        (piece,), _ = training.batches(None, step, SHARE)
        assert piece.texts.ahead_BTT is not None
        shares.append(float(piece.texts.ahead_BTT.float().mean()))
    assert shares[0] == pytest.approx(0.1, abs=0.06)
    assert shares[1] == pytest.approx(0.5, abs=0.1)
    assert shares[2] == 1.0
    assert training.batches(None, 10, SHARE)[0][0].texts.ahead_BTT is None


def test_closed_and_without_a_mask_it_is_the_causal_model() -> None:
    network, convention = tiny(shift=True)
    ids_BT, _ = texts(0)
    every_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    asked_BT = torch.arange(12).expand(4, -1) > 0
    closed_BTT = torch.zeros(4, 12, 12, dtype=torch.bool)

    def said(ahead_BTT: Tensor | None) -> Tensor:
        readings = Readings(ids_BT, every_BT, ~every_BT[None], asked_BT[None], ahead_BTT)
        return masked_logits(network, convention, readings)

    causal_NV = network(ids_BT).logits[:, :-1].reshape(-1, SPEC.vocab + 1)[:, : SPEC.vocab].float()
    torch.testing.assert_close(said(closed_BTT)[:, : SPEC.vocab], causal_NV, rtol=2e-2, atol=2e-2)
    assert (said(None)[:, : SPEC.vocab] - causal_NV).abs().max() > 0.5, "open attention says something else"
    assert said(~closed_BTT).equal(said(None))


@pytest.mark.parametrize("shift", [False, True])
def test_a_causal_prompt_reads_nothing_behind_it(shift: bool) -> None:
    """Other tokens behind it change what it says of itself only where the convention is an open one. Planted: that."""
    network, convention = tiny(shift=shift)
    ids_BT, _ = texts(0)
    others_BT = torch.cat([ids_BT[:, :8], ids_BT[:, 8:].flip(1)], 1)
    answer_BT = torch.arange(12).expand(4, -1) >= 8

    def said(ids_BT: Tensor, causal: bool, first: int, last: int) -> Tensor:
        asked_BT = (torch.arange(12) >= first) & (torch.arange(12) < last)
        readings = Readings(ids_BT, answer_BT, torch.zeros(1, 4, 12, dtype=torch.bool), asked_BT.expand(1, 4, -1))
        return masked_logits(network, replace(convention, causal_prompt=causal), readings)

    assert said(ids_BT, True, 1, 8).equal(said(others_BT, True, 1, 8))
    assert not said(ids_BT, False, 1, 8).equal(said(others_BT, False, 1, 8))
    assert not said(ids_BT, True, 8, 9).equal(said(others_BT, True, 8, 9)), "the first place reads everything"


def test_the_masks_row_learns() -> None:
    network, convention = tiny()
    nats_of(Filling(network, convention, texts, Uniform(0.5, 0.5))).backward()
    table: Any = network.get_input_embeddings()
    gradient = table.weight.grad
    assert gradient[convention.mask_token_id].abs().sum() > 0


class Killed(Exception):
    """In the middle of a run."""


def trained(folder, dies: int | None = None) -> nn.Module:
    network, convention = tiny()

    def read(step: int) -> tuple[Tensor, Tensor]:
        if step == dies:
            raise Killed
        return texts(step)

    training = Filling(network, convention, read, Either(Uniform(), Blocks(4)), micro=3, opening=3)
    run(network, training, Settings(steps=6, peak=1e-2, warmup=1, save_every=2, quiet=True), folder)
    return network


def test_a_killed_run_ends_with_the_same_weights(tmp_path) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(Killed):
        trained(tmp_path / "killed", dies=3)
    again = trained(tmp_path / "killed")
    pairs = list(zip(whole.parameters(), again.parameters(), tiny()[0].parameters(), strict=True))
    assert all(one.equal(two) for one, two, _ in pairs)
    assert all(not one.equal(fresh) for one, _, fresh in pairs)

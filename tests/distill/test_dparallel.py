"""Certainty-forcing: two readings share a block out, certainty is asked of the right alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from decant.distill.diffusion.dparallel import DParallel, Forcing, Piece, entropy, halves
from decant.distill.diffusion.mdlm import MDLM
from decant.distill.diffusion.measure import counted, measured
from decant.distill.diffusion.recipe import Material
from decant.distill.settings import Settings
from decant.distill.trainer import Share, run
from decant.errors import BadInput, IncompatibleParts
from decant.models.build import untrained
from decant.models.masked.convention import Convention
from tests.distill.masks import MASK, SPEC, Told, free, texts

SHARE = Share()
LOGITS = torch.randn(4, 12, SPEC.vocab + 1, generator=torch.Generator().manual_seed(5))


def forcing(logits_BTV: Tensor, **knobs) -> Forcing:
    """The same logits in every reading."""
    network = Told(lambda canvas_BT: logits_BTV.repeat(len(canvas_BT) // len(logits_BTV), 1, 1))
    return Forcing(network, MASK, texts, DParallel(block=4, **knobs))


def only(training: Forcing) -> Piece:
    (piece,), _ = training.batches(None, 0, SHARE)
    return piece


def test_two_readings_share_the_active_block_out() -> None:
    answer_BT = torch.ones(5, 13, dtype=torch.bool)
    answer_BT[:, :2] = False
    answer_BT[3, 9:] = False
    chance = torch.Generator().manual_seed(0)
    starts = set()
    for _ in range(60):
        (one_BT, two_BT), behind_BT = halves(answer_BT, 4, chance)
        assert not (one_BT & two_BT).any()
        both_BT = one_BT | two_BT
        for row in range(5):
            places = answer_BT[row].nonzero()[:, 0]
            active = both_BT[row, places].nonzero()[:, 0].tolist()
            first = active[0]
            assert first % 4 == 0
            assert active == list(range(first, min(first + 4, len(places)))), "a whole block, no place of it missing"
            assert behind_BT[row, places].tolist() == [at >= first + 4 for at in range(len(places))]
            starts.add((len(places), first))
        assert not ((both_BT | behind_BT) & ~answer_BT).any()
    assert starts == {(11, 0), (11, 4), (11, 8), (7, 0), (7, 4)}


def test_without_blocks_the_whole_answer_is_shared_out() -> None:
    answer_BT = texts(0)[1] > 0
    (one_BT, two_BT), behind_BT = halves(answer_BT, 0, torch.Generator().manual_seed(0))
    assert (one_BT ^ two_BT).equal(answer_BT)
    assert one_BT.any()
    assert not behind_BT.any()


def test_without_entropy_it_is_fine_tuning_of_a_block() -> None:
    """A mean over the hidden places of each text and reading, weighted as the text says, with no 1 / ratio."""
    training = forcing(LOGITS, beta=0.0)
    ids_BT, weights_BT = texts(0)
    nats_BT = cross_entropy(LOGITS[..., :-1].transpose(1, 2), ids_BT, reduction="none")
    piece = only(training)
    assert (piece.texts.masked_VBT | ~piece.texts.asked_VBT).all()
    weight_VBT = weights_BT * piece.texts.asked_VBT
    total = ((nats_BT * weight_VBT).sum(-1) / weight_VBT.sum(-1).clamp_min(1e-9)).sum()
    torch.testing.assert_close(training.nats(None, 0, piece), total)
    assert float(training.weight(piece)) == 4.0


def test_a_model_that_reads_by_block_learns_all_blocks_at_once() -> None:
    training = Forcing(forcing(LOGITS).network, Convention(SPEC.vocab, False, True, 4), texts, DParallel())
    piece = only(training)
    assert piece.texts.asked_VBT.sum(0).equal((texts(0)[1] > 0).long()), "each place is asked about once"
    assert piece.texts.masked_VBT.equal(piece.texts.asked_VBT)


def test_entropy_moves_what_is_right_alone() -> None:
    """Its gradient is zero where the likeliest id is another, at clean places and behind the block; planted by asking
    every hidden place."""
    ids_BT, _ = texts(0)
    loud = LOGITS + 6.0 * torch.nn.functional.one_hot(ids_BT, SPEC.vocab + 1) * (torch.arange(12) % 2)[None, :, None]
    gradients = []
    for beta in (0.0, 2.0):
        logits_BTV = loud.clone().requires_grad_()
        training = forcing(logits_BTV, beta=beta)
        training.nats(None, 0, only(training)).backward()
        assert logits_BTV.grad is not None
        gradients.append(logits_BTV.grad)
    hidden_BT = only(training).share_VBT.sum(0) > 0
    right_BT = loud[..., :-1].argmax(-1) == ids_BT
    moved_BT = (gradients[1] - gradients[0]).abs().sum(-1) > 1e-9
    assert moved_BT.equal(hidden_BT & right_BT)
    assert 0 < int(moved_BT.sum()) < int(hidden_BT.sum())
    assert gradients[1].isfinite().all()


def test_entropy_is_taken_at_its_heat() -> None:
    ids_BT, weights_BT = texts(0)
    one, two = forcing(LOGITS, beta=0.0), forcing(LOGITS, beta=3.0, heat=0.5)
    probs_BTV = (LOGITS[..., :-1] / 0.5).softmax(-1)
    doubt_BT = torch.special.entr(probs_BTV).sum(-1)
    right_BT = LOGITS[..., :-1].argmax(-1) == ids_BT
    weight_VBT = weights_BT * only(two).texts.asked_VBT * right_BT
    wanted = 3.0 * ((doubt_BT * weight_VBT).sum(-1) / weight_VBT.sum(-1).clamp_min(1e-9)).sum()
    found = two.nats(None, 0, only(two)) - one.nats(None, 0, only(one))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_entropy_of_a_row_with_a_forbidden_token() -> None:
    logits_V = torch.tensor([0.3, -torch.inf, 1.2], requires_grad=True)
    found = entropy(logits_V[None])
    torch.testing.assert_close(found[0], torch.special.entr(logits_V.detach().softmax(-1)).sum())
    found.sum().backward()
    assert logits_V.grad is not None
    assert logits_V.grad.isfinite().all()
    assert logits_V.grad[1] == 0


def test_a_model_becomes_certain_of_its_best_guess(tmp_path) -> None:
    """A table for each place, of which seven in ten texts hold the same token: fine-tuning says so, and stays in doubt
    (0.94 nats); with the entropy of what is right it is as often right, and certain."""

    def noisy(step: int) -> tuple[Tensor, Tensor]:
        chance = torch.Generator().manual_seed(step)
        other_BT = torch.randint(4, (32, 7), generator=chance)
        ids_BT = (torch.arange(7) % 4).where(torch.rand(32, 7, generator=chance) < 0.6, other_BT)
        return ids_BT, torch.tensor([0.0, 1, 1, 1, 1, 1, 1]).expand(32, -1).clone()

    found = []
    for beta in (0.0, 6.0):
        table_TV = nn.Parameter(torch.zeros(7, 5))
        network = Told(lambda canvas_BT, table_TV=table_TV: table_TV.expand(len(canvas_BT), -1, -1))
        network.table = table_TV
        training = DParallel(beta=beta, block=2).training(Material(network, Convention(4), noisy, micro=64))
        settings = Settings(80, peak=0.1, warmup=2, weight_decay=0.0, quiet=True, save_every=80)
        run(network, training, settings, tmp_path / str(beta))
        found.append(measured(network, Convention(4), map(noisy, range(1000, 1010))))
    assert found[0].right == found[1].right == pytest.approx(0.7, abs=0.06)
    assert found[0].certain == 0
    assert found[1].certain == found[1].right


def test_measures_of_a_table() -> None:
    """A network that knows every other place for certain, and says nothing of the rest."""
    ids_BT, weights_BT = texts(0)
    weights_BT = (weights_BT > 0).float()
    sure_BTV = torch.nn.functional.one_hot(ids_BT, SPEC.vocab + 1).float() * 50
    flat_BTV = torch.zeros_like(sure_BTV)
    flat_BTV[..., SPEC.vocab - 1] = 1e-3
    wrong = ids_BT != SPEC.vocab - 1
    known_T = torch.arange(12) % 2 == 0
    logits_BTV = sure_BTV.where(known_T[:, None], flat_BTV)
    rounds = 300
    found = measured(free(logits_BTV), MASK, [(ids_BT, weights_BT)] * rounds)
    unknown = float((weights_BT * ~known_T).sum() / weights_BT.sum())
    nats = unknown * torch.tensor(SPEC.vocab).log()
    assert found.nats == pytest.approx(float(nats), rel=0.05)
    guessed = float((weights_BT * ~known_T * ~wrong).sum() / weights_BT.sum())
    assert found.certain == pytest.approx(1 - unknown, abs=0.03)
    assert found.right == pytest.approx(1 - unknown + guessed, abs=0.03)


def test_counts_of_masks_are_exact_and_spread() -> None:
    answer_BT = torch.ones(8, 9, dtype=torch.bool)
    answer_BT[:, 0] = False
    hidden_BT, times_B1 = counted(answer_BT, torch.Generator().manual_seed(0))
    assert sorted(hidden_BT.sum(-1).tolist()) == list(range(1, 9))
    assert torch.equal(times_B1[:, 0] * hidden_BT.sum(-1), torch.full((8,), 8.0))
    assert not (hidden_BT & ~answer_BT).any()


def test_what_cannot_be_taught_is_a_sentence() -> None:
    network = untrained(SPEC)
    with pytest.raises(
        IncompatibleParts, match="here speaks from left to right, and dparallel is for models that fill"
    ):
        DParallel().convention(network, "here")
    with pytest.raises(BadInput, match="dparallel needs beta >= 0, block >= 0 and heat > 0"):
        DParallel(heat=0.0)
    with pytest.raises(BadInput, match="mdlm needs opening >= 0 steps and a share between 0 and 1"):
        MDLM(share=1.5)
    convention = MDLM(block=8).convention(network, "here")
    assert convention == Convention(SPEC.vocab, shift=True, causal_prompt=True, block=8)
    assert MDLM().convention(network, "here") == convention
    assert DParallel().convention(network, "here") == convention
    with pytest.raises(BadInput, match="add reads=canvas or leave opening"):
        MDLM(opening=3).convention(untrained(SPEC), "there")
    reads: dict[Any, tuple[bool, int | None]] = {"open": (False, None), "canvas": (True, None), "blocks": (True, 32)}
    for name, want in reads.items():
        made = MDLM(reads=name, shift=False).convention(untrained(SPEC), "there")
        assert (made.shift, made.causal_prompt, made.block) == (False, *want)
    for other in (MDLM(shift=True), MDLM(reads="blocks"), MDLM(opening=3)):
        with pytest.raises(BadInput, match="here fills in masks already"):
            other.convention(network, "here")

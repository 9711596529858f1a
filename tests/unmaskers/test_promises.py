"""What the maths promises of steps that settle several places, on models whose joint law is known."""

from dataclasses import replace
from itertools import pairwise, permutations, product
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.diffusion import Fresh, Turn
from decant.errors import BadInput
from decant.samplers.greedy import greedy
from decant.testing.canvases import TableLM
from decant.testing.chi_square import assert_distributed_as, power
from decant.unmaskers.entropy_bound import EntropyBound
from decant.unmaskers.entropy_threshold import EntropyThreshold
from decant.unmaskers.factor import Factor
from tests.unmaskers.outlooks import arbitrary, chosen, filled, outlook, tables

PLACES = 4
ANSWERS_YL = torch.tensor(list(product(range(2), repeat=PLACES)))
COINS = tables({(0, 0): 0.5, (1, 1): 0.5}, 3)
NEARLY = tables({(0, 0): 0.2, (0, 1): 0.4, (1, 0): 0.4}, 3)
"""Each place is 0 with probability 0.6, and the answer is (0, 0) least often."""


def peaked(seed: int) -> TableLM:
    """Answers of two ids, one of them likely, some others less so."""
    chance = torch.Generator().manual_seed(seed)
    weights_Y = torch.rand(len(ANSWERS_YL), generator=chance, dtype=torch.float64) ** 4
    weights_Y[seed % len(ANSWERS_YL)] += 3.0 ** (seed % 5)
    return TableLM(ANSWERS_YL, weights_Y / weights_Y.sum(), 3)


def together(model: TableLM, unmasker: Any) -> tuple[list[int], Tensor]:
    """The places that settle first, and the joint law of what they hold: probs, one axis a place."""
    canvas_BL = torch.full((1, PLACES), model.mask)
    asked = model.start(canvas_BL[:, :0], canvas_BL)
    _, logits_NV = model.predict(asked, canvas_BL, Fresh.whole(canvas_BL), canvas_BL == model.mask)
    places = sorted(chosen(unmasker, outlook(logits_NV[None]))[0])
    joint = model.probs_Y.view([2] * PLACES)
    rest = [place for place in range(PLACES) if place not in places]
    return places, joint.sum(rest) if rest else joint


def alone(joint: Tensor, axis: int) -> Tensor:
    """The law of one place."""
    return joint.movedim(axis, 0).reshape(2, -1).sum(-1)


def in_turn(joint: Tensor, order: tuple[int, ...]) -> list[Any]:
    """What greedy decoding says where these places settle one after the other."""
    held: list[Any] = [slice(None)] * joint.dim()
    for at in order:
        held[at] = int(alone(joint[tuple(held)], sum(isinstance(one, slice) for one in held[:at])).argmax())
    return held


def shared(joint: Tensor) -> float:
    """Total correlation in nats."""
    each = sum(float(torch.special.entr(alone(joint, axis)).sum()) for axis in range(joint.dim()))
    return each - float(torch.special.entr(joint).sum())


def losses(unmasker: Any) -> list[tuple[int, float, bool]]:
    """Of many tables: how many places settle first; how much likelier than their guesses the likeliest answer is;
    whether they would hold the same one after the other, in any order."""
    found = []
    for seed in range(150):
        places, joint = together(peaked(seed), unmasker)
        guess = [int(alone(joint, axis).argmax()) for axis in range(len(places))]
        same = all(in_turn(joint, order) == guess for order in permutations(range(len(places))))
        found.append((len(places), float(joint.max() - joint[tuple(guess)]), same))
    return found


def test_a_factor_of_one_loses_nothing() -> None:
    found = losses(Factor(1.0))
    assert all(lost < 1e-6 for _, lost, _ in found), "the places are likelier to hold something else"
    assert all(same for *_, same in found), "one after the other they would hold something else"
    assert {2, 3, 4} <= {count for count, *_ in found}, "no table tried a step of several places"


def test_a_larger_factor_loses() -> None:
    found = losses(Factor(3.0))
    assert max(lost for _, lost, _ in found) > 0.02
    assert not all(same for *_, same in found)
    assert chosen(Factor(1.19), outlook(torch.tensor([[[0.6, 0.4, 0.0]] * 2]).log())) == [{0}]
    assert chosen(Factor(1.21), outlook(torch.tensor([[[0.6, 0.4, 0.0]] * 2]).log())) == [{0, 1}]
    answers, passes = filled(NEARLY, Factor(1.0), 1, greedy())
    assert (answers.tolist(), passes) == ([[0, 1]], 2)
    answers, passes = filled(NEARLY, Factor(1.21), 1, greedy())
    assert (answers.tolist(), passes) == ([[0, 0]], 1)


@pytest.mark.parametrize("gamma", [0.05, 0.3, 0.8])
def test_what_settles_together_shares_no_more_than_the_bound(gamma: float) -> None:
    found = [together(peaked(seed), EntropyBound(gamma)) for seed in range(150)]
    assert all(shared(joint) <= gamma + 1e-6 for _, joint in found)
    assert max(len(places) for places, _ in found) > 1


def test_a_bar_on_each_entropy_bounds_nothing_together() -> None:
    """The planted bug: four coins of little entropy each, all equal."""
    model = TableLM(ANSWERS_YL, torch.tensor([0.8, *[0.0] * 14, 0.2], dtype=torch.float64), 3)
    places, joint = together(model, EntropyThreshold(0.51))
    assert len(places) == 4
    assert shared(joint) > 0.51 * 2
    places, joint = together(model, EntropyBound(0.51))
    assert len(places) == 2
    assert shared(joint) == pytest.approx(0.5004, abs=1e-4)


def test_two_fair_coins_never_settle_together_below_ln_2() -> None:
    """400 draws of answers that are right half the time see that they are not always right at power 1."""
    canvas_RL, passes = filled(COINS, EntropyBound(0.69), 400)
    assert passes == 2
    assert bool((canvas_RL[:, 0] == canvas_RL[:, 1]).all())
    assert_distributed_as(canvas_RL[:, 0], torch.tensor([0.5, 0.5]), "the first coin")
    canvas_RL, passes = filled(COINS, EntropyBound(0.70), 400)
    assert passes == 1
    assert power(0.04 / 0.25, 400, 1) > 0.99  # an accuracy that is wrong by 0.2
    assert_distributed_as((canvas_RL[:, 0] == canvas_RL[:, 1]).long(), torch.tensor([0.5, 0.5]), "equal coins")


@pytest.mark.parametrize("proxy", ["entropy", "confidence"])
def test_the_choice_grows_with_the_bound(proxy: Any) -> None:
    for seed in range(4):
        seen, turn = arbitrary(seed)
        grid = [chosen(EntropyBound(gamma, proxy), seen, turn) for gamma in (0.0, 0.05, 0.3, 1.0, 3.0, float("inf"))]
        for smaller, larger in pairwise(grid):
            assert all(one <= two for one, two in zip(smaller, larger, strict=True))
        assert all(len(one) >= 1 for one, any_B in zip(grid[0], turn.eligible_BL.any(-1), strict=True) if any_B)
        assert grid[-1] == [set(row.nonzero()[:, 0].tolist()) for row in turn.eligible_BL]
        assert grid[1] != grid[3], "nothing grew"


def test_the_bound_is_summed_in_the_order_of_the_proxy() -> None:
    """Entropies 1.76, 0.67, 0.69 nats, confidences 0.55, 0.6, 0.5: by confidence 0.67 is shared from the first on."""
    laws = [[0.55, *[0.05] * 9], [0.6, 0.4, *[0.0] * 8], [0.5, 0.5, *[0.0] * 8]]
    seen = outlook(torch.tensor([[[*law, 0.0] for law in laws]]).log())
    assert chosen(EntropyBound(0.68), seen) == [{1, 2}]
    assert chosen(EntropyBound(0.68, "confidence"), seen) == [{0, 1}]
    assert chosen(EntropyBound(1.35, "confidence"), seen) == [{0, 1}]
    assert chosen(EntropyBound(1.38, "confidence"), seen) == [{0, 1, 2}], "the largest is not the last"
    assert chosen(EntropyBound(0.68), replace(seen, trust_N=torch.tensor([1.0, 0.1, 1.0]))) == [{2}]
    assert chosen(EntropyBound(0.0), seen, Turn(seen.asked_BL & (torch.arange(3) != 1))) == [{2}]


def test_at_0_what_is_certain_is_free() -> None:
    laws = [[1.0, 0.0, 0.0], [0.6, 0.4, 0.0], [1.0, 0.0, 0.0], [0.7, 0.3, 0.0]]
    assert chosen(EntropyBound(0.0), outlook(torch.tensor([laws]).log())) == [{0, 2, 3}]


@pytest.mark.parametrize(("settings", "message"), [((-0.1,), "0 or more, got -0.1"), ((0.1, "margin"), "'margin'")])
def test_settings_without_a_meaning_are_refused(settings: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        EntropyBound(*settings)

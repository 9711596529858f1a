"""Rankings: random order, margin, entropy. By hand, against each other, and what they cost on answers of dependent
places, where the model is exact and the loss has a closed form."""

from dataclasses import dataclass, replace
from itertools import permutations
from math import factorial, perm, prod
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, ranked
from decant.errors import BadInput
from decant.noise import Noise
from decant.testing.chi_square import assert_distributed_as, power
from decant.types import PAD
from decant.unmaskers.entropy import Entropy
from decant.unmaskers.low_confidence import LowConfidence
from decant.unmaskers.margin import Margin
from decant.unmaskers.random import Random
from tests.unmaskers.outlooks import arbitrary, chosen, filled, outlook, tables

RANKINGS = [Random, Margin, Entropy, LowConfidence]
DRAWN = 2300


def law(probs: list[float]) -> Tensor:
    """logits_V, the mask's among them."""
    return torch.tensor([*probs, 0.0]).log()


def shuffled(items: int) -> Any:
    """Every order of so many items, equally likely."""
    return tables(dict.fromkeys(permutations(range(items)), 1 / factorial(items)), items + 1)


def accuracy(items: int, each: int) -> float:
    """How often a step of `each` independent draws, and so on, gives every item once."""
    return prod(perm(left, each) / left**each for left in range(items, 0, -each))


@pytest.mark.parametrize("made", RANKINGS)
def test_each_settles_what_it_ranks_first(made: Any) -> None:
    laws = [[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [0.48, 0.46, 0.06, 0, 0, 0], [0.42, 0.2, 0.19, 0.19, 0, 0]]
    seen = outlook(torch.stack([law(probs) for probs in laws])[None])
    # Margins 0.4, 0.02, 0.22; entropies 1.50, 0.88, 1.32 nats.
    order = {LowConfidence: [0, 1, 2], Margin: [0, 2, 1], Entropy: [1, 2, 0]}
    if made is Random:
        number_L = seen.noise.uniform(torch.arange(3)[None], "order")[0]
        order[Random] = number_L.argsort(descending=True).tolist()
    for count in (1, 2, 3):
        assert chosen(made(count), seen) == [set(order[made][:count])]
        assert chosen(made(), seen, Turn(seen.asked_BL, torch.tensor([count]))) == [set(order[made][:count])]


@pytest.mark.parametrize("made", [Margin, Entropy])
def test_of_two_ids_all_rankings_are_one(made: Any) -> None:
    for seed in range(4):
        seen, turn = arbitrary(seed, vocab=3)
        seen = replace(seen, logits_NV=seen.logits_NV / 4)  # so that no two certainties are equal once rounded
        assert chosen(made(2), seen, turn) == chosen(LowConfidence(2), seen, turn)


@pytest.mark.parametrize("made", [Margin, Entropy, LowConfidence])
def test_a_place_that_is_not_trusted_waits(made: Any) -> None:
    seen = outlook(torch.stack([law([0.9, 0.05, 0.05]), law([0.8, 0.1, 0.1])])[None])
    assert chosen(made(), seen) == [{0}]
    assert chosen(made(), replace(seen, trust_N=torch.tensor([0.1, 1.0]))) == [{1}]
    assert chosen(made(), replace(seen, trust_N=torch.tensor([0.95, 1.0]))) == [{0}]


def test_the_random_order_is_a_permutation_that_nothing_changes() -> None:
    """All 6 orders of 3 places are equally likely; 1200 draws see a law with an effect of 0.1 at power 0.99."""
    assert power(0.1, 1200, 5) > 0.99
    flat = outlook(torch.zeros(1200, 3, 4))
    sharp = replace(flat, logits_NV=flat.logits_NV * 9 + torch.arange(4) * 2)
    first, second = chosen(Random(1), flat), chosen(Random(2), flat)
    assert chosen(Random(1), sharp) == first
    assert all(one < two for one, two in zip(first, second, strict=True))
    orders = [min(one) * 2 + (min(two - one) > min({0, 1, 2} - two)) for one, two in zip(first, second, strict=True)]
    assert_distributed_as(torch.tensor(orders), torch.full((6,), 1 / 6), "random order")
    settled = torch.tensor([[place in one for place in range(3)] for one in first])
    assert chosen(Random(1), flat, Turn(~settled)) == [two - one for one, two in zip(first, second, strict=True)]


@pytest.mark.parametrize("made", RANKINGS)
def test_one_place_a_step_draws_from_the_joint_law(made: Any) -> None:
    """Whatever the order, where it does not heed the draws themselves: confidence does, and is seen to."""
    joint = {(0, 0, 0): 0.4, (0, 1, 1): 0.1, (1, 0, 1): 0.2, (1, 1, 0): 0.05, (1, 1, 1): 0.25}
    canvas_RL, passes = filled(tables(joint, 3), made(1), DRAWN)
    assert passes == 3
    number_R = (canvas_RL * torch.tensor([4, 2, 1])).sum(-1)
    probs_V = torch.zeros(8, dtype=torch.float64)
    for answer, chance in joint.items():
        probs_V[answer[0] * 4 + answer[1] * 2 + answer[2]] = chance
    if made is LowConfidence:
        with pytest.raises(AssertionError, match="not the law"):
            assert_distributed_as(number_R, probs_V, "joint law")
    else:
        assert_distributed_as(number_R, probs_V, "joint law")


@pytest.mark.parametrize(("items", "each", "want"), [(3, 1, 1.0), (4, 2, 0.375), (4, 4, 0.09375), (6, 3, 0.1234568)])
@pytest.mark.parametrize("made", [Random, Margin, Entropy])
def test_shuffles_lose_what_the_closed_form_says(made: Any, items: int, each: int, want: float) -> None:
    """2300 draws see an accuracy of 0.375 that is wrong by 0.08 at power 0.99."""
    assert accuracy(items, each) == pytest.approx(want, abs=1e-6)
    assert power(0.08**2 / 0.375 + 0.08**2 / 0.625, DRAWN, 1) > 0.99
    canvas_RL, passes = filled(shuffled(items), made(each), DRAWN if items == 4 else 600)
    assert passes == items // each
    right_R = (canvas_RL.sort(-1).values == torch.arange(items)).all(-1)
    assert_distributed_as(right_R.long(), torch.tensor([1 - want, want]), f"{made.__name__} at {each} a step")


@dataclass(frozen=True)
class Tied:
    """The planted bug: every place of a step is drawn with the number of the first."""

    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        drawn_N = seen.noise.select(seen.row_N).draw(seen.probs_NV, torch.zeros_like(seen.place_N))
        reveal = ranked(seen, turn, torch.zeros(seen.canvas_BL.shape), 2)
        return replace(reveal, tokens_BL=seen.table(drawn_N, PAD)), None


def test_places_that_share_a_number_are_caught() -> None:
    canvas_RL, _ = filled(shuffled(4), Tied(), DRAWN)
    right_R = (canvas_RL.sort(-1).values == torch.arange(4)).all(-1)
    with pytest.raises(AssertionError, match="not the law"):
        assert_distributed_as(right_R.long(), torch.tensor([1 - 0.375, 0.375]), "tied draws")


@pytest.mark.parametrize("made", RANKINGS)
def test_no_place_a_step_is_refused(made: Any) -> None:
    with pytest.raises(BadInput, match="per_step is 1 or more, got 0"):
        made(0)

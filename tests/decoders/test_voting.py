import random

import pytest
import torch

from decant.decoders.voting import best, borda, majority, self_certainty, weighted
from decant.errors import BadInput

ANSWERS = ["b", "a", None, "a", "b", "c"]
SCORES = [0.3, 0.1, 9.0, 0.2, 0.4, 0.9]


def test_the_majority_wins_and_of_equals_the_first() -> None:
    assert majority(ANSWERS) == {"b": 2, "a": 2, "c": 1}
    assert next(iter(majority(ANSWERS))) == "b"
    assert next(iter(majority(["a", *ANSWERS]))) == "a"


def test_nobody_votes_where_all_abstain() -> None:
    assert majority([None, None]) == borda([None], [1.0]) == best([None], [1.0]) == {}


def test_weights_are_added_up() -> None:
    votes = weighted(ANSWERS, SCORES)
    assert votes == pytest.approx({"c": 0.9, "b": 0.7, "a": 0.3})
    assert list(votes) == ["c", "b", "a"]


def test_equal_weights_are_a_majority() -> None:
    assert weighted(ANSWERS, [1.0] * 6) == majority(ANSWERS)


def test_borda_counts_ranks() -> None:
    # Five vote: c has rank 1, then b, b, a, a; 5, 4, 3, 2, 1 fifths.
    assert borda(ANSWERS, SCORES) == pytest.approx({"b": 7 / 5, "c": 1.0, "a": 3 / 5})


def test_borda_with_power_0_is_a_majority_and_with_a_large_one_the_best_decides() -> None:
    assert borda(ANSWERS, SCORES, 0) == majority(ANSWERS)
    assert next(iter(borda(ANSWERS, SCORES, 1e4))) == next(iter(best(ANSWERS, SCORES))) == "c"


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 3.0])
def test_the_order_of_samples_does_not_count(power: float) -> None:
    rng = random.Random(0)
    answers = [rng.choice("abc") for _ in range(20)]
    scores = [rng.choice([0.1, 0.2, 0.3]) for _ in range(20)]  # many equals
    order = rng.sample(range(20), 20)
    assert borda([answers[at] for at in order], [scores[at] for at in order], power) == pytest.approx(
        borda(answers, scores, power)
    )


@pytest.mark.parametrize("bend", [lambda x: 100 * x - 7, lambda x: x**3], ids=["a line", "a cube"])
def test_borda_looks_at_ranks_alone(bend) -> None:
    assert borda(ANSWERS, [bend(score) for score in SCORES]) == borda(ANSWERS, SCORES)


def test_best_of_n_takes_negative_scores() -> None:
    assert best(["a", "b", "a"], [-3.0, -2.0, -1.0]) == {"a": -1.0, "b": -2.0}


def test_certainty_is_zero_for_a_flat_law_and_grows_as_it_sharpens() -> None:
    assert self_certainty(torch.zeros(3, 8).log_softmax(-1)).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    logits_V = torch.randn(50, generator=torch.Generator().manual_seed(0))
    sharper_X = self_certainty((torch.tensor([[0.5], [1.0], [2.0], [8.0]]) * logits_V).log_softmax(-1))
    assert (sharper_X.diff() > 0).all()


def test_certainty_is_the_divergence_of_the_flat_law_from_this_one() -> None:
    logp_XV = torch.randn(4, 9, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    flat = torch.full((9,), 1 / 9)
    want_X = (flat * (flat.log() - logp_XV)).sum(-1)
    torch.testing.assert_close(self_certainty(logp_XV), want_X)


def test_what_cannot_vote_is_refused() -> None:
    with pytest.raises(BadInput, match=r"a vote weighs 0 or more, got -0\.5"):
        weighted(["a"], [-0.5])
    with pytest.raises(BadInput, match="power of a Borda vote is 0 or more, got -1"):
        borda(["a"], [1.0], -1)
    with pytest.raises(ValueError, match="shorter"):
        weighted(["a", "b"], [1.0])

"""Two-sample tests that shuffle: right where nothing differs, and able to see what does."""

import random

import pytest

from decant.prove.permutation import compare, disagreement, distance, excess

EVEN, BENT = (5, 3, 2, 1, 1), (4, 4, 2, 1, 1)


def side(weights: tuple[int, ...], seed: int, groups: int = 12, sites: int = 3) -> list:
    rng = random.Random(seed)
    return [[[rng.choices("abcde", weights, k=6) for _ in range(15)] for _ in range(groups)] for _ in range(sites)]


def test_one_law_is_refused_as_often_as_said() -> None:
    """Of 24 honest pairs 1.2 are expected below 0.05; more than 5 come once in 700 such runs."""
    pairs = [(side(EVEN, seed, sites=1), side(EVEN, 1000 + seed, sites=1)) for seed in range(24)]
    chances = [compare(one, other, 2, seed).p_value for seed, (one, other) in enumerate(pairs)]
    assert sum(chance < 0.05 for chance in chances) <= 5
    assert 0.3 < sum(chances) / len(chances) < 0.7


def test_another_law_is_refused_and_its_power_is_stated() -> None:
    found = compare(side(EVEN, 1), side(BENT, 2), 2, 0)
    assert found.p_value < 1e-3
    assert found.power(1e-3) > 0.9
    share = found.smallest(1e-3)
    assert 0.1 < share < 1
    assert found.power(1e-3, share) == pytest.approx(0.9, abs=0.01)
    assert found.power(1e-3, share / 2) < 0.6


def test_what_differs_from_round_to_round_alone_is_no_difference() -> None:
    """Each round of both sides has a law of its own: a test of single continuations would refuse at once."""
    rng = random.Random(5)

    def wavering() -> list:
        laws = [rng.choice([(9, 1, 1, 1, 1), (1, 1, 1, 1, 9)]) for _ in range(12)]
        return [[[rng.choices("abcde", law, k=6) for _ in range(15)] for law in laws]]

    chances = [compare(wavering(), wavering(), 2, seed).p_value for seed in range(16)]
    assert sum(chance < 0.05 for chance in chances) <= 4


def test_where_all_is_certain_nothing_is_compared() -> None:
    sure = [[[["a", "b"]] * 10] * 6]
    found = compare(sure, sure, 2, 0)
    assert (found.features, found.p_value, found.power(1e-3), found.smallest(1e-3)) == (0, 1.0, 0.0, None)


@pytest.mark.parametrize(
    ("engine", "twin", "refused"),
    [
        ("bbbbbbbbbb", "aaaaaaaaaa", True),
        ("ababababab", "bababababa", False),
        ("abcdefghij", "aaaaaaaaaa", True),
        ("aaaaaaaaab", "aaaaaaaaaa", False),
    ],
    ids=["another text", "both waver", "wavers alone", "once"],
)
def test_a_steady_difference_is_an_excess(engine: str, twin: str, refused: bool) -> None:
    statistic, chance = excess([(list(engine), list(twin))], seed=0)
    assert (chance < 2e-3) is refused
    assert (statistic > 0.5) is refused


def test_prompts_on_which_both_waver_hide_no_steady_difference() -> None:
    wavering = [(list("ababababab"), list("bababababa"))] * 8
    assert excess([*wavering, (["xy"] * 10, ["zy"] * 10)], seed=0)[1] < 1e-3


def test_disagreement_and_distance() -> None:
    assert disagreement("aab") == pytest.approx(2 / 3)
    assert disagreement("aa", "ab") == 0.5
    assert distance("abcd", "abcd") == 0
    assert distance("abcd", "abxx") == 0.75
    assert distance("abcd", "ab") == 0.75

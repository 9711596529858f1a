"""Which of several answers counts: majority, weights of confidence, Borda's ranks, the best score.

Every function maps answers, in the order of their samples, to votes: a weight for each different answer, the winner
first; of equals the one that was said first. An answer of None abstains.
Source: Wang et al. 2022, arXiv:2203.11171 (majority); Kang et al. 2025, arXiv:2502.18581 (self-certainty, Borda with a
power); Ma et al. 2025, arXiv:2504.09858.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored

A = TypeVar("A", bound=Hashable)


def majority(answers: Sequence[A | None]) -> dict[A, float]:
    """One vote a sample."""
    return weighted(answers, [1.0] * len(answers))


def weighted(answers: Sequence[A | None], weights: Sequence[float]) -> dict[A, float]:
    """Each sample votes with its weight, such as its self-certainty. Raises BadInput for a negative one."""
    if negative := next((weight for weight in weights if not weight >= 0), None):
        raise BadInput(
            f"a vote weighs 0 or more, got {negative}; of log-probabilities take their exponentials, or borda"
        )
    return _sums(zip(answers, weights, strict=True))


def borda(answers: Sequence[A | None], scores: Sequence[float], power: float = 1.0) -> dict[A, float]:
    """The sample of rank r among N votes with weight ((N - r + 1) / N)^power.

    Equal scores share what their ranks weigh, so that the order of samples does not count.
    power: 0 is the majority; where it is large the best sample decides alone.
    Raises BadInput for a negative power.
    """
    if not power >= 0:
        raise BadInput(f"the power of a Borda vote is 0 or more, got {power}; 0 is the majority")
    voting = [(answer, score) for answer, score in zip(answers, scores, strict=True) if answer is not None]
    ranked = sorted(score for _, score in voting)
    # The paper's weights over N^power, which may be beyond any float.
    worth = [(place / len(ranked)) ** power for place in range(1, len(ranked) + 1)]
    shared: dict[float, list[float]] = {}
    for score, weight in zip(ranked, worth, strict=True):
        shared.setdefault(score, []).append(weight)
    return _sums((answer, math.fsum(shared[score]) / len(shared[score])) for answer, score in voting)


def best(answers: Sequence[A | None], scores: Sequence[float]) -> dict[A, float]:
    """Best of n: an answer is worth as much as the best of its samples."""
    votes: dict[A, float] = {}
    for answer, score in zip(answers, scores, strict=True):
        if answer is not None:
            votes[answer] = max(votes.get(answer, -math.inf), score)
    return _winner_first(votes)


def self_certainty(logp_XV: Tensor) -> Tensor:
    """KL(uniform || p) of each row, nats_X: 0 for a flat law, more the sharper it is. Its mean over the tokens of a
    text says how sure the model was, without looking at what was drawn."""
    return -floored(logp_XV).mean(-1) - math.log(logp_XV.shape[-1])


def _sums(pairs: Iterable[tuple[A | None, float]]) -> dict[A, float]:
    weights: dict[A, list[float]] = {}
    for answer, weight in pairs:
        if answer is not None:
            weights.setdefault(answer, []).append(weight)
    return _winner_first({answer: math.fsum(each) for answer, each in weights.items()})


def _winner_first(votes: dict[A, float]) -> dict[A, float]:
    """A stable sort: of equals the one that was said first stays in front."""
    return dict(sorted(votes.items(), key=lambda vote: -vote[1]))

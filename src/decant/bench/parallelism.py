"""Quality against parallelism: what theory allows on tasks whose laws are known, and one number for a curve.

Sources: Kang et al. 2025, arXiv:2510.04767 (ParallelBench: the bound and its closed forms); Qian et al. 2026,
arXiv:2601.07568 (d3LLM: AUP).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

STEEP: Final = 3.0  # of AUP's weight
WORST: Final = 5.0  # points below the first that still count


@final
@dataclass(frozen=True, slots=True)
class Point:
    """A setting of a method: tokens of answers a pass, and how many answers are right, in percent."""

    tokens: float
    score: float


def aup(points: Sequence[Point], best: float) -> float:
    """Accuracy under parallelism: the area below a curve of scores, in which a score counts less the further it lies
    below `best`, the best of all methods; points that fall more than `WORST` below the first are left out.

    A model that says a token a pass has its own accuracy. Raises ValueError for no points.
    """
    if not points:
        raise ValueError("a curve has at least one point")
    curve = sorted(points, key=lambda point: point.tokens)
    kept = [point for point in curve if point.score >= curve[0].score - WORST]

    def worth(point: Point) -> float:
        weight = min(math.exp(-STEEP * (1 - point.score / best)), 1.0) if best else 0.0
        return point.score * weight

    area = kept[0].tokens * kept[0].score
    for one, two in pairwise(kept):
        area += (two.tokens - one.tokens) * (worth(one) + worth(two)) / 2
    return area


def lost_bits(task: str, items: int, per_step: int) -> float | None:
    """The least bits of divergence that any model pays which settles `per_step` of the items at a time, each by its own
    law: the total correlation of what is said together. None for a task whose law is not known in closed form."""
    if task in {"copy", "reverse", "sort", "insert-index", "remove-index", "replace-index", "sudoku"}:
        return 0.0
    if task in {"shuffle", "sentence"}:
        lost = 0.0
        left = items
        while left:
            now = min(per_step, left)
            lost += now * math.log2(left) - sum(math.log2(left - place) for place in range(now))
            left -= now
        return lost
    if task == "replace-random" and per_step >= items:
        return (items - 1) * (math.log2(items) - math.log2(items - 1))
    return None


def ideal_score(task: str, items: int, per_step: int) -> float | None:
    """Percent of drawn answers that are right where the model knows the law and settles `per_step` items at a time in
    any order; None where there is no closed form."""
    if task == "shuffle":  # of a permutation that may be the line itself, as in the paper
        chance = 1.0
        left = items
        while left:
            now = min(per_step, left)
            chance *= math.prod((left - place) / left for place in range(now))
            left -= now
        return 100 * chance
    if task == "replace-random" and per_step >= items:
        return 100 * ((items - 1) / items) ** (items - 1)
    return 100.0 if lost_bits(task, items, per_step) == 0 else None

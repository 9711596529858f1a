"""Trees decided beforehand, as paths of ranks: (0, 2) is the third child of the root's first."""

from dataclasses import dataclass
from functools import cache
from heapq import heappop, heappush
from typing import final

from decant.types import PAD, Path


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """One level of a template.

    counts:   children of each row evaluated last.
    rows:     for each new node, which of the rows evaluated last it hangs from.
    ranks:    for each, its rank among its siblings.
    parents:  for each, the node that it hangs from; PAD: the root.
    expanded: which of the new nodes have children.
    whole:    rows times width where the level is all of that in order, else 0.
    """

    counts: tuple[int, ...]
    rows: tuple[int, ...]
    ranks: tuple[int, ...]
    parents: tuple[int, ...]
    expanded: tuple[int, ...]
    whole: int


@cache
def even(depth: int, width: int, budget: int | None) -> tuple[Path, ...]:
    """`width` children each, `depth` levels, breadth first, at most `budget` nodes."""
    paths: list[Path] = []
    level: list[Path] = [()]
    for _ in range(depth):
        level = [(*path, rank) for path in level for rank in range(width)]
        if budget is not None:
            level = level[: max(0, budget - len(paths))]
        paths += level
        if not level:
            break
    return tuple(paths)


@cache
def likeliest(chances: tuple[tuple[float, ...], ...], nodes: int) -> tuple[Path, ...]:
    """The `nodes` paths with the largest product of chances, best first.

    chances: of each level, how likely the child of each rank is the next token; none larger than the one before, so
        that a path's parent and its elder siblings come before it.
    Source: Chen et al. 2024, arXiv:2402.12374 (with chances that do not depend on the node their dynamic programme
    comes down to this).
    """
    # worth, path, worth of the path above
    heap: list[tuple[float, Path, float]] = [(-chances[0][0], (0,), -1.0)] if chances and chances[0] else []
    found: list[Path] = []
    while heap and len(found) < nodes:
        worth, path, above = heappop(heap)
        found.append(path)
        younger, here, below = path[-1] + 1, chances[len(path) - 1], chances[len(path) : len(path) + 1]
        if younger < len(here):
            heappush(heap, (above * here[younger], (*path[:-1], younger), above))
        if below and below[0]:
            heappush(heap, (worth * below[0][0], (*path, 0), worth))
    return tuple(found)


@cache
def cut(template: tuple[Path, ...], depth: int, budget: int | None) -> tuple[Path, ...]:
    """The template breadth first, without what is deeper than `depth` or behind the first `budget` nodes given: the
    order of a template is the order of worth."""
    kept = [path for path in template if len(path) <= depth][:budget]
    return tuple(sorted(kept, key=lambda path: (len(path), path)))


@cache
def stages(paths: tuple[Path, ...]) -> tuple[Stage, ...]:
    """The levels of a template given breadth first."""
    found: list[Stage] = []
    above: list[Path] = [()]  # the rows evaluated before this level
    place = {path: node for node, path in enumerate(paths)}
    parents = {path[:-1] for path in paths}
    for depth in range(1, 1 + max(map(len, paths), default=0)):
        level = [path for path in paths if len(path) == depth]
        rows, ranks = tuple(above.index(path[:-1]) for path in level), tuple(path[-1] for path in level)
        width = 1 + max(ranks)
        in_order = [(row, rank) for row in range(len(above)) for rank in range(width)]
        found.append(
            Stage(
                counts=tuple(rows.count(row) for row in range(len(above))),
                rows=rows,
                ranks=ranks,
                parents=tuple(place.get(path[:-1], PAD) for path in level),
                expanded=tuple(at for at, path in enumerate(level) if path in parents),
                whole=len(in_order) if list(zip(rows, ranks, strict=True)) == in_order else 0,
            )
        )
        above = [path for path in level if path in parents]
    return tuple(found)

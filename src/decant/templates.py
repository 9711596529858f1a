"""Trees decided beforehand, as paths of ranks: (0, 2) is the third child of the root's first."""

from dataclasses import dataclass
from functools import cache
from typing import final

from decant.types import PAD, Path


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """One level of a template.

    width:    the most children of one row.
    rows:     for each new node, which of the rows evaluated last it hangs from.
    ranks:    for each, its rank among its siblings.
    parents:  for each, the node that it hangs from; PAD: the root.
    expanded: which of the new nodes have children.
    whole:    rows times width where the level is all of that in order, else 0.
    """

    width: int
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
                width=width,
                rows=rows,
                ranks=ranks,
                parents=tuple(place.get(path[:-1], PAD) for path in level),
                expanded=tuple(at for at, path in enumerate(level) if path in parents),
                whole=len(in_order) if list(zip(rows, ranks, strict=True)) == in_order else 0,
            )
        )
        above = [path for path in level if path in parents]
    return tuple(found)

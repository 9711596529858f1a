"""A tree decided beforehand: so many children on every level, or a tree of a paper's.

Source: Jeon et al. 2024, arXiv:2402.14160 (constant branching, RSD-C); the tree called eagle: Li et al. 2024,
arXiv:2401.15077.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import ClassVar, Final, final

from decant.errors import BadInput
from decant.types import Draft, DraftShape, Path, Scores, Siblings, Taps, Verdict

EAGLE: Final[tuple[Path, ...]] = (
    (0,), (1,), (2,), (3,), (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0),
    (0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 2, 1), (1, 0, 0),
    (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 0, 0, 0), (0, 0, 0, 0, 1),
)  # fmt: skip
MOST: Final = 4096  # nodes: a draft of more is a slip of the pen


@final
@dataclass(frozen=True, slots=True)
class Template:
    """The same tree every time.

    branches: "3-2-1" gives the root three children, each of these two, each of those one; "eagle" is EAGLE's tree of 25
        nodes.
    siblings: how a drafter with a law draws them, where guesses are not coupled to the target's draws; None: without
        replacement. Which of these a verifier takes it says itself.

    Raises BadInput for branches that are neither.
    """

    branches: str = "3-2-1"
    siblings: Siblings | None = None

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        _paths(self.branches)

    def start(self, batch: int) -> None:
        """Nothing to remember."""

    def shape(self, state: None) -> DraftShape:
        """The same shape."""
        paths = _paths(self.branches)
        return DraftShape(len(paths[-1]), template=paths, siblings=self.siblings)

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""


@cache
def _paths(branches: str) -> tuple[Path, ...]:
    """Breadth first."""
    if branches == "eagle":
        return EAGLE
    widths = branches.split("-")
    if not all(width.isdecimal() and int(width) > 0 for width in widths):
        raise BadInput(f"branches are written like 3-2-1, whole numbers above 0, or eagle; got {branches!r}")
    found: list[Path] = []
    for depth in range(1, len(widths) + 1):
        found += product(*(range(int(width)) for width in widths[:depth]))
        if len(found) > MOST:
            raise BadInput(f"branches {branches!r} make more than {MOST} nodes; take fewer")
    return tuple(found)

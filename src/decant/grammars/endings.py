"""What an end token says of a canvas."""

from collections.abc import Sequence


def ended(canvas_L: Sequence[int], ends: frozenset[int]) -> int:
    """The first place that holds an end, or how many places there are."""
    return next((place for place, token in enumerate(canvas_L) if token in ends), len(canvas_L))


def behind_an_end(canvas_L: Sequence[int], ends: frozenset[int], mask: int) -> dict[int, int]:
    """Open places behind the first end -> that end."""
    first = ended(canvas_L, ends)
    return {place: canvas_L[first] for place in range(first, len(canvas_L)) if canvas_L[place] == mask}

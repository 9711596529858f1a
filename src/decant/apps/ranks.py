"""What one of several processes does for all: write a file, decide a number. Alone, nothing here waits."""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, Final, TypeVar

from torch import distributed

from decant.distill.parallel import Team

Made = TypeVar("Made")

PATIENCE: Final = timedelta(days=30)  # a teacher may answer for days; a group's own patience ends after minutes


def agreed(team: Team, value: Made) -> Made:
    """The first process's value, in all of them."""
    if team.world == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, 0, group=_patient())
    return box[0]


def first(team: Team, make: Callable[[], Made]) -> Made:
    """`make` in the first process, then in the others, which find what it wrote."""
    made: list[Any] = [make()] if team.writes else []
    agreed(team, True)
    return made[0] if made else make()


@cache
def _patient() -> Any:
    return distributed.new_group(backend="gloo", timeout=PATIENCE)

"""How far long work has come: a bar on a terminal, a line now and then elsewhere; on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from decant.apps.cli.output import note

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""

EVERY: Final = 15.0  # seconds between two lines where nobody watches


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """Gives the function to call with (done, total, what is under way)."""
    if quiet:
        yield lambda done, total, text: None
    elif sys.stderr.isatty():
        with _bar() as told:
            yield told
    else:
        yield _lines()


def _lines() -> Progress:
    spoke = time.monotonic()

    def tell(done: int, total: int, text: str) -> None:
        nonlocal spoke
        if time.monotonic() - spoke >= EVERY and done < total:
            spoke = time.monotonic()
            note(f"{100 * done // max(total, 1):3} %  {text}")

    return tell


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=text)

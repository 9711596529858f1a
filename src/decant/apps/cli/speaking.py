"""An answer as it comes: on a terminal above a line that says how fast it is, elsewhere the text alone."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, Self, final

from decant.apps.cli.output import write

if TYPE_CHECKING:
    from rich.console import Console

    from decant.apps.answering import Answer, Turn

EVERY: Final = 0.05  # seconds between two drawings
READING: Final = "reading"
# A model's text may spell what terminals obey.
UNSEEN: Final = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))


def spoken(answer: "Answer", lively: bool, silent: bool) -> None:
    """Run an answer to its end. lively: on a terminal, where Ctrl-C stops it; silent: nothing is shown."""
    if not lively:
        for new in answer:
            if not silent:
                write(new)
        if not silent:
            write("\n")
        return
    with stoppable(answer.stop), Screen() as screen:
        for new in answer:
            screen.feed(new, pace(answer.turn))


def pace(turn: "Turn") -> str:
    """Tokens so far, their speed, and how many a target call gives."""
    said = turn.said
    if not said.said:
        return READING
    rate = said.said / turn.seconds if turn.seconds else 0.0
    return f"{said.said} tokens, {rate:.1f} tokens/s, {said.acceptance_length:.2f} a target call"


@contextmanager
def stoppable(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C calls `stop`; a second one interrupts, for a step that takes long."""

    def asked(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@final
class Screen:
    """Whole lines go up and stay; below them the open line and its pace are drawn anew. console: None is the
    terminal."""

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._open, self._drawn = "", 0.0

    def __enter__(self) -> Self:
        self._live.__enter__()
        self._draw(READING)
        return self

    def __exit__(self, *raised: object) -> None:
        self._live.__exit__(None, None, None)
        self._print(self._open)

    def feed(self, new: str, status: str) -> None:
        """More text; drawn at once only where the last drawing is long ago."""
        self._open += new.translate(UNSEEN)
        if time.monotonic() - self._drawn >= EVERY:
            self._draw(status)

    def _draw(self, status: str) -> None:
        from rich.console import Group
        from rich.text import Text

        *whole, self._open = self._open.split("\n")
        for line in whole:
            self._print(line)
        rows = Text(self._open).wrap(self._console, self._console.width)
        last = Text("\n").join(rows[-max(1, self._console.height - 2) :])
        self._live.update(Group(last, Text(status, style="dim", no_wrap=True)), refresh=True)
        self._drawn = time.monotonic()

    def _print(self, line: str) -> None:
        from rich.text import Text

        self._console.print(Text(line), soft_wrap=True)

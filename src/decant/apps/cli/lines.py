"""Messages from standard input: a line each, or several that end in a backslash or stand between triple quotes."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

QUOTES: Final = '"""'
FIRST: Final = "> "
MORE: Final = "… "

Read = Callable[[str], str]
"""(what stands in front of the line) -> the line, without its end; raises EOFError behind the last."""


def message(read: Read) -> str | None:
    """The next message; None: there is none any more. The end of input ends a message of several lines too."""
    try:
        line = read(FIRST)
    except EOFError:
        return None
    if line.lstrip().startswith(QUOTES):
        return _quoted(line.lstrip().removeprefix(QUOTES), read)
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1].removesuffix("\\")
        if (more := _next(read)) is None:
            break
        lines.append(more)
    return "\n".join(lines)


def piped(prompt: str) -> str:
    """A line of standard input, which is no terminal."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def typed(prompt: str) -> str:
    """A line from a terminal, edited by readline where Python has it."""
    with suppress(ImportError):
        import readline  # noqa: F401  (input uses it once it is there)
    return input(prompt)


@contextmanager
def meanwhile(more: Callable[[], bool]) -> Iterator[None]:
    """Call `more` on another thread until it says True, or until the block ends, which waits for the call under way."""
    import torch

    over, threads = threading.Event(), torch.get_num_threads()

    def work() -> None:
        torch.set_num_threads(threads)  # bits depend on it
        while not over.is_set() and not more():
            pass

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def _quoted(line: str, read: Read) -> str:
    lines = [line]
    while QUOTES not in lines[-1]:
        if (more := _next(read)) is None:
            return "\n".join(lines)
        lines.append(more)
    lines[-1] = lines[-1].partition(QUOTES)[0]
    return "\n".join(lines).strip("\n")


def _next(read: Read) -> str | None:
    try:
        return read(MORE)
    except EOFError:
        return None

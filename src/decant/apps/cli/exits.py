"""How a command ends: a sentence on standard error and a status, never a traceback.

0 done, or nobody reads any longer; 1 a check or the run failed; 2 the user can mend it; 130 interrupted.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import typer

from decant.errors import DecantError

FAILED: Final = 1
MENDABLE: Final = 2
INTERRUPTED: Final = 130
TRACEBACK: Final = "DECANT_TRACEBACK"


@contextmanager
def sentences() -> Iterator[None]:
    """Turn whatever is raised inside into a sentence and a status. As a decorator: around a whole verb."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        silence()
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except DecantError as error:
        say(str(error))
        raise typer.Exit(MENDABLE) from None
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        say(f"unexpected {type(error).__name__}: {error} ({TRACEBACK}=1 shows where; please report it)")
        raise typer.Exit(FAILED) from None


def say(sentence: str) -> None:
    """One line on standard error; where nobody reads it, nothing."""
    with suppress(OSError, ValueError):
        print(f"decant: {' '.join(sentence.split())}", file=sys.stderr, flush=True)


def silence() -> None:
    """Point standard output at nothing, so that the interpreter's last flush cannot fail either."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Files that are whole at any moment; a full disk ends in a sentence, not in a traceback."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from decant.errors import BadInput

RUST: Final = re.compile(r"\(os error (\d+)\)")  # how safetensors and tokenizers write the system's number
KEPT: Final = "what was learnt is in the run's last checkpoint"  # where a folder was to be made of it
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def replacing(path: Path, suffix: str = "part") -> Iterator[Path]:
    """A name beside `path` to write to; behind the block it is on the disk, in the place of `path`.

    A kill at any moment leaves what stood there before, or the new file. Raises BadInput where it cannot be written;
    nothing is left beside it then. suffix: two who write the same path at once need two.
    """
    part = path.with_name(f"{path.name}.{suffix}")
    with writing(path, f"the {path.name} of before is whole" if path.exists() else "nothing was there before"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _settle(path.parent)


@contextmanager
def writing(path: Path, kept: str) -> Iterator[None]:
    """Raises BadInput where the system refuses to write `path`. kept: what is safe nevertheless."""
    try:
        yield
    except Exception as error:
        refused = _refused(error)
        if refused is None:
            raise
        mend = "Make room" if refused.errno in FULL else "See to it that it can be written"
        raise BadInput(
            f"{path} could not be written: {refused.strerror or refused}; {kept}. {mend}, then start the same command "
            f"again"
        ) from error


def write_text(path: Path, text: str) -> None:
    """In UTF-8, whole or not at all. Raises BadInput."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def append(path: Path, line: str, kept: str) -> None:
    """One line more; a full disk or a kill may cut it short. Raises BadInput, which says what is `kept`."""
    with writing(path, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")


def _refused(error: BaseException) -> OSError | None:
    """What the system said; None: the failure is not of the disk."""
    if isinstance(error, OSError):
        return error
    if said := RUST.search(str(error)):
        return OSError(int(said[1]), os.strerror(int(said[1])))
    # torch.save closes its archive behind a failed write, finds too few bytes, and raises that instead.
    inner = error.__context__
    return inner if isinstance(error, RuntimeError) and isinstance(inner, OSError) else None


def _settle(folder: Path) -> None:
    """A new name is on the disk only when its folder is."""
    if os.name == "posix":
        at = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(at)
        finally:
            os.close(at)

"""The folder that an export is written to: whose it is, and what lies in it in the end.

decant.json is written first, so that an export that was interrupted can be run again; a folder of anybody else is left
alone.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from decant.errors import BadInput

NOTE: Final = "decant.json"


def claim(out: Path, made: Mapping[str, Any]) -> None:
    """Make the folder, or take that of an earlier run of the same export. Raises BadInput."""
    refuse_foreign(out, made)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        note(out, {"export": made})


def note(out: Path, fields: Mapping[str, Any]) -> None:
    """decant.json."""
    (out / NOTE).write_text(json.dumps(fields, indent=2) + "\n", "utf-8")


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """What the system says of a folder that cannot be written, as a sentence."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"--out {out} cannot be written: {error.strerror or error}") from error


def files(out: Path) -> list[dict[str, Any]]:
    """Every file below, by its path from there, with its bytes."""
    found = sorted(file for file in out.rglob("*") if file.is_file())
    return [{"path": file.relative_to(out).as_posix(), "bytes": file.stat().st_size} for file in found]


def refuse_foreign(out: Path, made: Mapping[str, Any]) -> None:
    """Before the work. Raises BadInput for a folder that holds anything but the same export."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is a file; give a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        earlier = json.loads((out / NOTE).read_text("utf-8")).get("export")
    except (OSError, ValueError, AttributeError):
        earlier = None
    if earlier != made:
        raise BadInput(f"--out {out} is not empty, and not an export of the same model; give a new folder")

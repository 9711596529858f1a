"""Where a command's words go: results to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant.errors import BadInput

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def show(renderable: "RenderableType", *, error: bool = False) -> None:
    """Print something of rich's. Rendered first and written by hand: rich itself exits 1 on a closed pipe."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    # Not a terminal: as wide as the text needs, so that a log holds whole lines.
    console = Console(file=stream, width=None if stream.isatty() else 160, highlight=False)
    with console.capture() as rendered:
        console.print(renderable)
    text = rendered.get()
    write(text if stream.isatty() else "".join(line.rstrip() + "\n" for line in text.splitlines()), error=error)


def write(text: str, *, error: bool = False) -> None:
    """Write and flush, so that a closed pipe is noticed here."""
    stream = sys.stderr if error else sys.stdout
    stream.write(text)
    stream.flush()


def note(text: str, quiet: bool = False) -> None:
    """A line on standard error."""
    if not quiet:
        write(text + "\n", error=True)


def check_writable(path: str | None, option: str = "--json") -> None:
    """Refuse a file that cannot be written, before the work. Raises BadInput."""
    if path is None or path == "-":
        return
    folder = Path(path).parent
    if Path(path).is_dir():
        raise BadInput(f"{option} {path} cannot be written: it is a folder")
    if not folder.is_dir():
        raise BadInput(f"{option} {path} cannot be written: there is no folder {folder}")


def write_json(result: Mapping[str, Any], path: str | None) -> None:
    """To a file, or to standard output for `-`."""
    if path is None:
        return
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    if path == "-":
        write(text)
        return
    write_file(text, path, "--json")


def write_file(text: str, path: str, option: str) -> None:
    """Raises BadInput, in the name of the option that gave the path."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{option} {path} cannot be written: {error.strerror}") from error


def facts_table(facts: Mapping[str, str]) -> "Table":
    """Names and values, one a line."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, value)
    return table

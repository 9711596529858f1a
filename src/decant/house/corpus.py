"""The standard library of the running interpreter as training text, with a held-out split by path.

Tests, byte-code, vendored wheels, the charmap tables and the help texts stay out. A file belongs to the held-out
twentieth by the hash of its path, so the split is the same for every patch release.
"""

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, final

HELD_OUT_ONE_IN: Final = 20
SKIPPED: Final = frozenset(
    ["test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "encodings", "pydoc_data", "ensurepip"]
)
LONGEST_FUNCTION: Final = 420  # characters, about 120 tokens
SHORTEST_FUNCTION: Final = 90


@final
@dataclass(frozen=True, slots=True)
class Document:
    """One source file; `path` is relative to the standard library."""

    path: str
    text: str

    @property
    def held_out(self) -> bool:
        """Whether training never sees this file."""
        return hashlib.sha256(self.path.encode()).digest()[0] * HELD_OUT_ONE_IN < 256


def documents(held_out: bool) -> Iterator[Document]:
    """Source files of one side of the split, in the order of their paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(root.rglob("*.py")):
        relative = file.relative_to(root)
        if SKIPPED.intersection(relative.parts) or relative.name.startswith("test"):
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        document = Document(relative.as_posix(), text)
        if text.strip() and document.held_out == held_out:
            yield document


@cache
def functions(held_out: bool) -> tuple[str, ...]:
    """Short top-level functions and methods of one side of the split, without their indentation."""
    found: list[str] = []
    for document in documents(held_out):
        try:
            tree = ast.parse(document.text)
        except SyntaxError:
            continue
        lines = document.text.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and not node.decorator_list:
                body = [line[node.col_offset :] for line in lines[node.lineno - 1 : node.end_lineno]]
                source = "\n".join(body)
                if SHORTEST_FUNCTION <= len(source) <= LONGEST_FUNCTION and source.isascii() and _parses(source):
                    found.append(source)
    return tuple(sorted(set(found)))


def _parses(source: str) -> bool:
    """Whether the function still stands after its indentation was cut (strings over several lines may not)."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True

"""Every method stands in the lists that run the laws."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("drafters", "verifiers", "policies", "samplers", "unmaskers", "schedules", "caches")
METHODS = [file for room in ROOMS for file in sorted((ROOT / "src" / "decant" / room).glob("[a-z]*.py"))]
LAWS = sorted((ROOT / "tests" / "laws").glob("test_*.py"))


def public(file: Path) -> set[str]:
    """The classes and functions that a module offers."""
    body = ast.parse(file.read_text()).body
    return {n.name for n in body if isinstance(n, ast.ClassDef | ast.FunctionDef) and not n.name.startswith("_")}


def in_lists(file: Path) -> set[str]:
    """Imported names that stand inside a list, a tuple or a dict of the module's own level, or of a parametrize."""
    tree = ast.parse(file.read_text())
    imported = {
        alias.asname or alias.name: alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lists = [node for node in ast.walk(tree) if isinstance(node, ast.List | ast.Tuple | ast.Dict)]
    inside = {part.id for node in lists for part in ast.walk(node) if isinstance(part, ast.Name)}
    return {name for alias, name in imported.items() if alias in inside}


LISTED = set().union(*(in_lists(file) for file in LAWS)) if LAWS else set()


@pytest.mark.parametrize("file", METHODS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_method_obeys_the_laws(file: Path) -> None:
    assert public(file) & LISTED, f"{file.name} offers {sorted(public(file))}, none of which is in a list of tests/laws"


def test_a_method_that_is_only_imported_does_not_count(tmp_path: Path) -> None:
    listed = tmp_path / "listed.py"
    listed.write_text("from rooms.a import A\nfrom rooms.b import B, Unused\nPARTS = [A(), {'b': B}]\nUnused()\n")
    assert in_lists(listed) == {"A", "B"}

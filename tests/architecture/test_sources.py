"""Every method says where it comes from, every file fits on a few screens, no name is a shrug."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "decant"
METHOD_ROOMS = ("drafters", "verifiers", "policies", "samplers", "unmaskers", "schedules", "caches")
METHODS = [file for room in METHOD_ROOMS for file in sorted((PACKAGE / room).glob("[a-z]*.py"))]
SOURCES = [
    file for folder in ("src", "benchmarks", "examples", "docs") for file in sorted((ROOT / folder).rglob("*.py"))
]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SOURCE_LINE = re.compile(r"^Source: .+", re.MULTILINE)
USUAL = {"dry_base"}  # options that users know by these names
FORBIDDEN = re.compile("utils|helpers|common|misc|base|manager|handler|handle|process|info|obj|tmp|data")
LONGEST = 300


def label(file: Path) -> str:
    return str(file.relative_to(ROOT))


def words(name: str) -> set[str]:
    """The words of a snake_case, CamelCase or CONSTANT name."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def named(tree: ast.Module) -> set[str]:
    """Every name that the file itself gives: files, classes, functions, parameters, variables, fields, aliases."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.alias) and node.asname:
            names.add(node.asname)
    return names


def shrugs(names: set[str]) -> list[str]:
    """The names that say nothing: a forbidden word anywhere in them, or a function called do_this."""
    return sorted(
        name
        for name in names - USUAL
        if any(map(FORBIDDEN.fullmatch, words(name))) or name.lstrip("_").startswith("do_")
    )


def test_there_are_methods_in_every_room() -> None:
    assert {file.parent.name for file in METHODS} == set(METHOD_ROOMS)


@pytest.mark.parametrize("file", METHODS, ids=label)
def test_every_method_says_where_it_comes_from(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert SOURCE_LINE.search(docstring), f"{label(file)} needs a 'Source: <authors> <year>, <arXiv id>' line"


@pytest.mark.parametrize("file", SOURCES + TESTS, ids=label)
def test_every_file_fits_on_a_few_screens(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= LONGEST, f"{label(file)} has {lines} lines: does it still have one subject?"


@pytest.mark.parametrize("file", SOURCES, ids=label)
def test_no_name_is_a_shrug(file: Path) -> None:
    names = named(ast.parse(file.read_text())) | {file.stem}
    assert not shrugs(names), f"{label(file)}: say what it is: {shrugs(names)}"
    if "apps" not in file.parts:
        assert "kwargs" not in names, f"{label(file)}: kwargs hides what is passed"


@pytest.mark.parametrize(
    "name",
    ["DraftManager", "string_utils", "do_sample", "tmp", "handle_row", "row_data", "Base", "DATA", "HTTPHandler"],
)
def test_shrugs_are_seen(name: str) -> None:
    assert shrugs(named(ast.parse(f"def {name}(): ..."))) == [name]


@pytest.mark.parametrize("name", ["database", "processor", "tokens_BN", "commonest", "informed"])
def test_whole_words_only(name: str) -> None:
    assert not shrugs({name})


def test_every_room_is_a_package() -> None:
    rooms = {file.parent for file in PACKAGE.rglob("*.py")}
    assert not [label(room) for room in sorted(rooms) if not (room / "__init__.py").exists()]

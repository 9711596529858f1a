"""What the pages say is so: their Python runs, their commands exist, their links lead somewhere."""

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest
import typer

from decant.apps.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```(?:sh|console)\n(.*?)^```|^((?: {4}.*\n)+)", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:make|decant|python) [^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VERBS: click.Group = typer.main.get_command(app)  # pyright: ignore[reportAssignmentType]


def label(file: Path) -> str:
    return str(file.relative_to(ROOT))


def commands(text: str) -> list[list[str]]:
    """Every command line of ours on a page, in words."""
    blocks = [fenced or indented for fenced, indented in SHELL.findall(text)]
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += INLINE.findall(text)
    words = [shlex.split(line, comments=True) for line in lines if re.match(r"(make|(\.venv/bin/)?decant) ", line)]
    return [[Path(line[0]).name, *line[1:]] for line in words]


def unknown(line: list[str]) -> list[str]:
    """The words of a command line that do not exist."""
    program, name, *rest = line
    if program == "make":
        return [word for word in (name, *rest) if "=" not in word and word not in TARGETS]
    if name.startswith("-"):
        return []
    if name not in VERBS.commands:
        return [name]
    known = {option for given in VERBS.commands[name].params for option in (*given.opts, *given.secondary_opts)}
    return [word for word in rest if word.startswith("--") and word.partition("=")[0] not in known | {"--help"}]


@pytest.mark.parametrize("page", [page for page in PAGES if SNIPPET.search(page.read_text())], ids=label)
def test_the_python_of_a_page_runs(page: Path) -> None:
    text = page.read_text()
    scope: dict[str, object] = {"__name__": "__main__"}
    for found in SNIPPET.finditer(text):
        # Lines in front keep the numbers of the page in a traceback.
        ahead = "\n" * (text[: found.start()].count("\n") + 1)
        exec(compile(ahead + found[1], str(page), "exec"), scope)


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    wrong = [(line, unknown(line)) for line in commands(page.read_text())]
    assert not [(" ".join(line), words) for line, words in wrong if words]


def test_the_readme_has_both_kinds_of_command() -> None:
    assert {line[0] for line in commands((ROOT / "README.md").read_text())} == {"make", "decant"}


@pytest.mark.parametrize("line", ["make dmeo", "decant genrate x", "decant generate house:target --dorp 3"])
def test_a_wrong_command_is_seen(line: str) -> None:
    for page in (f"```sh\n{line}\n```\n", f"    {line}\n", f"say `{line}` and wait"):
        assert [words for words in map(unknown, commands(page)) if words]


def test_the_page_of_methods_says_what_is_lossy() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs" / "methods.md").read_text().splitlines() if "| `" in line]
    kept = {(row[0], row[2]) for row in rows}
    for name in ("ead", "r2r", "bild", "superposed", "smc", "typical-acceptance", "lenience"):
        assert {said for row, said in kept if row == f"| `{name}`"} == {"nothing (lossy)"}, name
    assert ("| `pearl`", "what its verifier keeps") in kept
    assert ("| `pearl`", "the same tokens") in kept
    assert ("| `spectr`", "the same distribution") in kept


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if not link.startswith(("http", "mailto:"))]
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_readme_shows_every_room() -> None:
    tree = re.search(r"^```\n(\.\n.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert tree
    shown = {name.split("/")[0] for name in re.findall(r"[├└]── (\S+)", tree[1])}
    rooms = {room.name for room in (ROOT / "src" / "decant").iterdir() if (room / "__init__.py").exists()}
    top = {path.name for path in ROOT.iterdir() if not path.name.startswith(".") and path.name not in {"build", "dist"}}
    assert rooms <= shown
    assert top <= shown | {"LICENSE"}


@pytest.mark.parametrize("example", EXAMPLES, ids=label)
def test_an_example_is_short_and_runs(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(example.read_text().splitlines()) <= 40
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4

"""`--watch`: what is drawn while places settle."""

import io
import re

import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from decant.apps.api import generate
from decant.apps.cli import app
from decant.apps.cli.watching import CONTROL, OPEN, Sheet, cropped, watched
from decant.apps.infilling import Infill, Laid
from decant.apps.infilling import encode as laid_out
from decant.apps.opening import Opening
from decant.apps.prompts import Prompt
from decant.apps.sampling import Sampling
from decant.apps.session import Limits, open_session
from decant.decoders.generate import Output

PIECES = [b"a", b" b", b"\n", None, "é".encode()[:1], "é".encode()[1:]]
NOBODY: frozenset[int] = frozenset()


def styles(text: Text) -> dict[int, str]:
    """Character -> its style."""
    found: dict[int, str] = {}
    for span in text.spans:
        found |= {at: f"{found.get(at, '')} {span.style}".strip() for at in range(span.start, span.end)}
    return found


def recorded(text: Text) -> str:
    console = Console(record=True, force_terminal=True, width=40, file=io.StringIO())
    console.print(text)
    return console.export_text(styles=True)


def test_places_of_a_canvas_are_open_new_settled_or_given():
    laid = Laid([], 7, lambda ids: "in front:", canvas=True, template=True, given=frozenset({3}))
    output = Output([0], [False], ahead={3: (1, False), 4: (0, False), 6: (3, False)})
    text = Sheet(PIECES).drawn(laid, output, frozenset({0}))
    assert text.plain == f"in front:a{OPEN}{OPEN} ba{OPEN}{CONTROL}"
    marked = styles(text)
    front = len("in front:")
    assert marked[0] == marked[front + 3] == "bold", "what was given"
    assert front not in marked, "a place that settled before is plain"
    assert marked[front + 1] == marked[front + 2] == marked[front + 6] == "dim"
    assert marked[front + 5] == "reverse", "a place that has just settled"
    assert marked[front + 7] == "reverse dim"
    shown = recorded(text)
    assert "\x1b[1min front:\x1b[0ma\x1b[2m·" in shown
    assert "\x1b[7ma\x1b[0m" in shown


def test_drafted_tokens_are_coloured_and_nothing_is_open_from_left_to_right():
    output = Output([0, 1, 0], [False, True, True])
    text = Sheet(PIECES).drawn(Laid([], 9, lambda ids: ""), output, frozenset({0, 1}))
    assert text.plain == "a ba"
    assert styles(text) == {1: "green", 2: "green", 3: "reverse green"}


def test_a_character_of_several_tokens_is_drawn_once_it_is_whole():
    laid = Laid([], 3, lambda ids: "", canvas=True)
    assert Sheet(PIECES).drawn(laid, Output([4], [False]), NOBODY).plain == f"\ufffd{OPEN}{OPEN}"
    text = Sheet(PIECES).drawn(laid, Output([4, 5], [False, True]), frozenset({0}))
    assert text.plain == f"é{OPEN}"
    assert styles(text) == {0: "reverse green", 1: "dim"}, "it is as new as its last token"


def test_what_has_ended_has_no_open_places():
    laid = Laid([], 9, lambda ids: "", canvas=True)
    output = Output([0, 3], [False] * 2, "stop", ahead={5: (0, False)})
    assert Sheet(PIECES).drawn(laid, output, NOBODY).plain == f"a{CONTROL}"


def test_a_long_text_shows_the_lines_that_change():
    console = Console(width=10, height=4, file=io.StringIO())
    text = Text("\n".join(map(str, range(20))))
    assert cropped(text, console).plain == "17\n18\n19"
    text.stylize("reverse", 0, 1)
    assert cropped(text, console).plain == "0\n1\n2"
    text.stylize("reverse", text.plain.index("11"), text.plain.index("12"))
    assert cropped(text, console).plain == "9\n10\n11"


@pytest.mark.parametrize("asked", [Infill("Take 1,[MASK:6] 2"), Prompt("the prompt", "Take 1")])
def test_a_run_is_drawn_step_by_step(filler, asked):
    session = open_session(filler, None, Sampling(0.0), Opening("float32", "cpu", "auto"))
    run = session.run(laid_out([asked], session.led), 0, Limits(6))
    console = Console(record=True, force_terminal=True, width=60, file=io.StringIO())
    watched(run, console)
    frames = console.export_text(styles=True).split("\r\x1b[2K")
    assert run.completion(0).reason is not None
    assert [frame.count(OPEN) for frame in frames[:6]] == [5, 4, 3, 2, 1, 0], "one place a step"
    assert all(re.search(r"\x1b\[[\d;]*7m", frame) for frame in frames[:6]), "what has just settled stands out"
    assert all(("\x1b[1mTake 1,\x1b[0m" in frame) == isinstance(asked, Infill) for frame in frames[:6])


def test_the_text_comes_at_the_end_as_always(filler_folder, folder, filler, monkeypatch):
    """Without a terminal rich draws the last picture alone; the check for one is left out here."""
    monkeypatch.setattr("decant.apps.cli.generate.check_watch", lambda several, quiet: None)
    words = ["--dtype", "float32", "--temperature", "0"]
    done = CliRunner().invoke(app, ["generate", str(filler_folder), "--infill", "1[MASK:3]2", "--watch", *words])
    assert done.exit_code == 0, done.output
    assert done.stdout == generate(filler, Infill("1[MASK:3]2"), temperature=0).text
    asked = ["generate", str(folder), "Take 1", "--max-tokens", "5", *words]
    assert CliRunner().invoke(app, [*asked, "--watch"]).stdout == CliRunner().invoke(app, asked).stdout != ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("Take 1",), "--watch needs a terminal on standard error; leave it out"),
        (("Take 1", "--quiet"), "--watch shows on standard error what --quiet leaves out; give one of them"),
        (("--prompts", "house:tasks"), "--watch shows one prompt, and --prompts has many; give a PROMPT"),
    ],
)
def test_where_nothing_can_be_shown_a_sentence_says_so(folder, words, message):
    done = CliRunner().invoke(app, ["generate", str(folder), "--watch", *words])
    assert done.exit_code == 2
    assert message in done.stderr

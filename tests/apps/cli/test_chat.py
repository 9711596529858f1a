"""`decant chat`: through a pipe, and with somebody at a terminal who types, stops, and asks for help."""

import io
import json
import os
import signal
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from decant.apps.api import generate
from decant.apps.chatting import Talk, remembering
from decant.apps.cli import app
from decant.apps.cli.conversing import COMMANDS, Conversing
from decant.apps.cli.lines import meanwhile, message
from decant.apps.cli.speaking import Screen, pace
from decant.apps.opening import Opening
from decant.apps.sampling import Sampling
from decant.apps.session import Limits, open_session
from decant.tune.identity import machine_identity, model_identity
from decant.tune.plan import Choice, Plan

TINY = ["--dtype", "float32", "--max-tokens", "8", "--method", "plain"]
QUESTION = "Take 1, then add 2."


@pytest.fixture
def decant(folder):
    """`decant chat FOLDER ...`, with what is piped in."""
    return lambda piped, *words: CliRunner().invoke(app, ["chat", str(folder), *TINY, *words], input=piped)


@pytest.fixture
def talk(target) -> Talk:
    held, _ = remembering(Opening(), target, None, "plain")
    return Talk(open_session(held, None, Sampling(temperature=1.0), Opening(), method="plain"), Limits(8))


@pytest.fixture
def typing(talk, monkeypatch, capsys):
    """Type lines at a terminal until they end; what the conversation was then, and what standard error got. A line
    may be an exception, which comes in its place."""

    def typed(*lines: object, quiet: bool = False) -> tuple[Conversing, str]:
        waiting = iter(lines)

        def read(prompt: str) -> str:
            line = next(waiting, EOFError())
            if isinstance(line, BaseException):
                raise line
            return str(line)

        monkeypatch.setattr("decant.apps.cli.conversing.typed", read)
        conversing = Conversing(talk, lively=True, quiet=quiet)
        conversing.go()
        return conversing, " ".join(capsys.readouterr().err.split())

    return typed


def answers(target, *questions: str, seed: int = 0) -> list[str]:
    """Of a conversation at temperature 0, each asked with all that was said before it."""
    messages: list[dict[str, str]] = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        said = generate(target, messages, method="plain", max_tokens=8, seed=seed).text
        messages.append({"role": "assistant", "content": said})
    return [one["content"] for one in messages[1::2]]


def test_a_pipe_gets_answers_and_nothing_else(decant, target):
    done = decant(f"{QUESTION}\n\nAnd 4?\n")
    assert done.exit_code == 0, done.output
    assert done.stdout == "".join(f"{text}\n" for text in answers(target, QUESTION, "And 4?"))
    assert done.stderr == ""


def test_json_is_a_line_an_answer(decant, target, tmp_path):
    lines = [json.loads(line) for line in decant(f"{QUESTION}\nAnd 4?\n", "--json", "-").stdout.splitlines()]
    assert [line["text"] for line in lines] == answers(target, QUESTION, "And 4?")
    assert [(line["turn"], line["question"], line["reason"]) for line in lines] == [
        (1, QUESTION, "length"),
        (2, "And 4?", "length"),
    ]
    assert lines[0]["decant"] | {"ttft_seconds": 0, "tokens_per_second": 0} == {
        **{"method": "plain", "promise": "tokens", "acceptance_length": 1.0, "target_calls": 8, "tokens": 8},
        **{"drafted": 0, "ttft_seconds": 0, "tokens_per_second": 0},
    }
    done = decant(f"{QUESTION}\n", "--json", str(tmp_path / "out.jsonl"))
    assert done.stdout == answers(target, QUESTION)[0] + "\n"
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == answers(target, QUESTION)[0]


def test_what_the_drafter_learns_outlives_a_conversation(decant, tmp_path):
    """Of one that was broken off by an error too."""
    words = (*["--method", "suffix", "--max-tokens", "32", "--json", "-", "--draft-store"], str(tmp_path / "kept"))
    assert decant(f"{QUESTION}\n/nonsense\n", *words).exit_code == 2
    assert list((tmp_path / "kept").glob("suffix*.safetensors"))
    first = json.loads(decant(f"{QUESTION}\n", *words[:-2]).stdout)
    second = json.loads(decant(f"{QUESTION}\n", *words).stdout)
    assert second["text"] == first["text"]
    assert second["decant"]["target_calls"] < first["decant"]["target_calls"]


@pytest.mark.parametrize(
    ("piped", "said"),
    [
        ("Take 1,\\\nthen add 2.\n", "Take 1,\nthen add 2."),
        ('"""Take 1,\n\nthen add 2."""\n', "Take 1,\n\nthen add 2."),
        ('"""\nTake 1\n"""\n', "Take 1"),
        ('"""Take 1\nthen', "Take 1\nthen"),
        ("Take 1\\", "Take 1"),
        ("//Take 1\n", "/Take 1"),
        ("Take 1\r\n", "Take 1"),
    ],
)
def test_a_message_may_have_several_lines(decant, piped, said):
    assert json.loads(decant(piped, "--json", "-").stdout)["question"] == said


def test_messages_end_with_the_input():
    lines = iter(["one", '"""two', 'three"""', "four\\"])

    def read(prompt: str) -> str:
        if (line := next(lines, None)) is None:
            raise EOFError
        return line

    assert [message(read) for _ in range(4)] == ["one", "two\nthree", "four", None]


def test_a_conversation_is_kept_and_goes_on(decant, target, tmp_path):
    path = str(tmp_path / "talk.json")
    assert decant(f"{QUESTION}\n", "--save", path).exit_code == 0
    done = decant("And 4?\n", "--resume", path, "--save", path)
    assert done.stdout == answers(target, QUESTION, "And 4?")[1] + "\n"
    assert len(json.loads((tmp_path / "talk.json").read_text())["messages"]) == 4
    again = decant(f"{QUESTION}\n", "--save", path)
    assert again.exit_code == 2
    assert "is there already; --resume" in again.stderr


def test_a_plan_says_how_to_decode(folder, target, tmp_path):
    chosen = Choice(1, 0.0, "prompt-lookup:ngram=2", why="it was the fastest")
    Plan("0", model_identity(target), machine_identity(target), "latency", (chosen,), {}).save(tmp_path)
    words = ["chat", str(folder), *TINY[:-2], "--plan", str(tmp_path), "--json", "-"]
    done = CliRunner().invoke(app, words, input=f"{QUESTION}\n")
    assert json.loads(done.stdout)["decant"]["method"] == "prompt-lookup:ngram=2"
    assert "the plan says --method prompt-lookup:ngram=2: it was the fastest" in done.stderr
    done = CliRunner().invoke(app, [*words, "--method", "plain"], input=f"{QUESTION}\n")
    assert done.exit_code == 2
    assert "--method: --plan says how to decode" in done.stderr


@pytest.mark.parametrize(
    ("piped", "words", "message"),
    [
        ("/nonsense\n", (), "no command is called /nonsense; there are /help, /system"),
        ("/retry\n", (), "nothing was asked yet; ask something first"),
        (f"{QUESTION}\n/retry\n", (), "at temperature 0 every seed gives the same answer"),
        ("/save\n", (), "/save needs a file"),
        ("Take 1 " * 1200, (), "tokens, but the context of"),
        ("a", ("--prefix-mb", "0"), "prefix_mb is more than 0, got 0"),
        ("a", ("--method", "prompt-lokup"), "did you mean prompt-lookup?"),
        ("a", ("--resume", "nowhere.json"), "the conversation nowhere.json cannot be read"),
        ("a", ("--temperature", "-1"), "temperature is 0 (greedy) or more"),
    ],
)
def test_what_can_be_mended_is_a_sentence(decant, piped, words, message):
    done = decant(piped, *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("decant: ")


def test_on_a_terminal_errors_end_nothing(typing, talk):
    conversing, told = typing("/nonsense", QUESTION, "/system Be short.", "/system", "/exit", "never read")
    assert "no command is called /nonsense" in told
    assert "8 tokens in" in told
    assert "first token after" in told
    assert "tokens read" in told
    assert told.count("system: Be short.") == 2
    assert len(conversing.talk.messages) == 2


def test_every_command_is_in_the_list_and_obeyed(typing, talk, tmp_path, capsys):
    path = tmp_path / "talk.json"
    _, told = typing(QUESTION, "/retry", "/plain", "/stats", "/forget", "Take 2", "/clear", f"/save {path}", "/help")
    assert all(name.split()[0] in told for name in COMMANDS)
    assert "the same text" in told
    assert "of the context's 1,024 tokens are filled" in told
    assert "the oldest question and its answer are forgotten" in told
    assert json.loads(path.read_text())["messages"] == []
    assert [turn.seed == 0 for turn in talk.turns] == [True, False, True]


def test_ctrl_c_at_the_prompt_ends_nothing(typing):
    _, told = typing(KeyboardInterrupt(), "/help")
    assert "/exit or Ctrl-D ends" in told
    assert "/retry" in told


def test_ctrl_c_stops_the_answer_and_a_second_one_breaks_it_off(typing, talk, monkeypatch):
    own, presses = talk._wheel.step, [1]

    def step():
        for _ in range(presses.pop(0) if presses else 0):
            os.kill(os.getpid(), signal.SIGINT)
        return own()

    monkeypatch.setattr(talk._wheel, "step", step)
    before = signal.getsignal(signal.SIGINT)  # what a shell starts in the background ignores it
    _, told = typing("Take 1")
    assert told.endswith("; stopped")
    assert (talk.turns[-1].stopped, talk.turns[-1].said.steps, len(talk.messages)) == (True, 1, 2)
    presses[:] = [2]
    _, told = typing("Take 2", "Take 3")
    assert "broken off; the conversation is as it was before" in told
    assert [one["content"] for one in talk.messages[::2]] == ["Take 1", "Take 3"]
    assert signal.getsignal(signal.SIGINT) is before


def test_while_somebody_types_the_conversation_is_read(typing, talk):
    """The next turn finds the whole chunks of the question before it, and of the answer."""
    typing("Take 1, then add 2. " * 20, "And 4?")
    assert talk.turns[1].read < 128 + 40 < talk.turns[1].prompt


def test_what_runs_meanwhile_ends_with_the_block():
    counts = []

    def more() -> bool:
        counts.append(len(counts))
        return False

    with meanwhile(more):
        while not counts:
            pass
    ended = len(counts)
    with meanwhile(lambda: True):
        assert len(counts) == ended


def test_the_screen_keeps_whole_lines_and_no_escapes(talk):
    console = Console(file=io.StringIO(), force_terminal=True, width=20, height=6, highlight=False)
    with Screen(console) as screen:
        for piece in ("one\x1b[31m\ntwo ", "and " * 30, "\n\nend"):
            screen.feed(piece, "8 tokens")
            screen._draw("8 tokens")
    shown = console.file.getvalue()
    assert "one[31m\n" in shown
    assert "\x1b[31m" not in shown
    assert "two " + "and " * 30 + "\n" in shown, "a line stays one line"
    assert shown.endswith("end\n")
    assert "8 tokens" in shown


def test_the_pace_is_told_from_the_first_token_on(talk):
    answer = talk.ask("Take 1")
    assert pace(answer.turn) == "reading"
    next(iter(answer))
    assert pace(answer.turn).startswith("1 tokens, ")
    assert pace(answer.turn).endswith("1.00 a target call")


@pytest.mark.slow
def test_a_terminal_that_hangs_up_ends_it_with_0(folder):
    """A real terminal: the prompt, an answer, Ctrl-D."""
    pty = pytest.importorskip("pty")
    words = [sys.executable, "-m", "decant", "chat", str(folder), *TINY]
    child, terminal = pty.fork()
    if not child:
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        os.execv(words[0], words)
    shown = b""
    for typed in (b"Take 1\r", b"\x04"):
        while not shown.endswith(b"> "):
            shown += os.read(terminal, 4096)
        os.write(terminal, typed)
        shown += b" "
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown.decode(errors="replace")
    assert b"first token after" in shown

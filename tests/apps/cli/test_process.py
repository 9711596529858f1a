"""The command as a process: what only shows there is pipes, signals, exit statuses and the time before torch."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import decant

DECANT = [sys.executable, "-m", "decant"]
# The package that the tests import, installed or not.
PLACE = os.environ | {"PYTHONPATH": str(Path(decant.__file__).parents[1])}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=PLACE)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--help"], 0),
        (["generate", "--help"], 0),
        (["bench", "--help"], 0),
        (["prove", "--help"], 0),
        (["datastore", "--help"], 0),
        (["datastore", "nowhere.txt", "--model", "any/model", "--out", "nowhere"], 2),
        (["generate", "any/model", "a prompt", "--method", "prompt-lokup"], 2),
        (["generate", "any/model", "a prompt", "--temperature", "-1"], 2),
        (["bench", "any/model", "--prompts", "nowhere.jsonl"], 2),
        (["bench", "any/model"], 2),
    ],
)
def test_help_and_usage_errors_need_no_torch(words, status):
    script = (
        "import sys\nfrom decant.apps.cli import main\nsys.argv[0] = 'decant'\nstatus = main()\n"
        "print({'torch', 'transformers', 'rich'} & set(sys.modules), file=sys.stderr)\nsys.exit(status)"
    )
    done = run(sys.executable, "-c", script, *words)
    assert done.returncode == status, done.stderr
    assert done.stderr.endswith("set()\n")
    assert ("Usage" in done.stdout) == (status == 0)


def test_an_error_is_one_line_on_standard_error():
    done = run(*DECANT, "generate", "any/model", "a prompt", "--method", "prompt-lokup")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "decant: no method is called 'prompt-lokup'; did you mean prompt-lookup?\n"


def test_help_into_a_closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*DECANT, "--help"], stdout=writing, stderr=subprocess.PIPE, check=False, env=PLACE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def _heeding() -> None:
    """Ctrl-C counts: a shell that runs the tests in the background has its children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def long_generation(folder):
    """A process whose first text has come; its pipe is too small for the rest, so that it cannot end unread."""
    words = ["generate", str(folder), "Take 1", "--dtype", "float32", "--max-tokens", "1900", "--threads", "1", "-q"]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "pipesize": 4096}
    with subprocess.Popen([*DECANT, *words], **pipe, env=PLACE, preexec_fn=_heeding) as process:
        first = process.stdout.read(1)
        if not first:
            pytest.fail(process.stderr.read().decode())
        yield process
        process.kill()


def test_the_reader_goes_away(long_generation):
    long_generation.stdout.close()
    said = long_generation.stderr.read().decode()
    assert (long_generation.wait(), said) == (0, "")


def test_ctrl_c(long_generation):
    long_generation.send_signal(signal.SIGINT)
    said = long_generation.stderr.read().decode()
    assert (long_generation.wait(), said) == (130, "decant: interrupted\n")

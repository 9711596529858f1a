"""The command as a process: what only shows there is pipes, signals, exit statuses and the time before torch."""

import os
import signal
import subprocess
import sys

import pytest

DECANT = [sys.executable, "-m", "decant"]


def run(*words: str, **given) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DECANT, *words], capture_output=True, text=True, check=False, **given)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--help"], 0),
        (["generate", "--help"], 0),
        (["bench", "--help"], 0),
        (["prove", "--help"], 0),
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
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert done.stderr.endswith("set()\n")
    assert ("Usage" in done.stdout) == (status == 0)


def test_an_error_is_one_line_on_standard_error():
    done = run("generate", "any/model", "a prompt", "--method", "prompt-lokup")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "decant: no method is called 'prompt-lokup'; did you mean prompt-lookup?\n"


def test_help_into_a_closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*DECANT, "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def begin(folder) -> subprocess.Popen[bytes]:
    """A long generation; returns once its first text has come."""
    words = ["generate", str(folder), "Take 1", "--dtype", "float32", "--max-tokens", "1000", "--threads", "1"]
    process = subprocess.Popen([*DECANT, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1)
    return process


def test_the_reader_goes_away(folder):
    process = begin(folder)
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert (process.wait(), said) == (0, "")


def test_ctrl_c(folder):
    process = begin(folder)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, said.decode()) == (130, "decant: interrupted\n")

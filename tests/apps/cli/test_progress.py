import pytest

from decant.apps.cli import progress as module
from decant.apps.cli.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_line_now_and_then_where_nobody_watches(clock, capsys):
    with progress() as tell:
        tell(1, 10, "plain")
        clock[0] = 20.0
        tell(2, 10, "draft-model")
        clock[0] = 21.0
        tell(3, 10, "prompt-lookup")
        clock[0] = 40.0
        tell(10, 10, "done")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", " 20 %  draft-model\n")


def test_quiet_says_nothing(clock, capsys):
    with progress(quiet=True) as tell:
        clock[0] = 99.0
        tell(1, 2, "plain")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress() as tell:
        tell(1, 2, "draft-model")
    said = capsys.readouterr()
    assert said.out == ""
    assert "draft-model" in said.err

"""What the files in benchmarks/ share, and that each of them runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from decant.bench.study import begin, heading, options, result_file, save, slowest

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "benchmarks").glob("[a-z]*.py"))


def test_results_go_beside_the_script_under_the_date() -> None:
    chosen = options("Why?").parse_args([])
    file = result_file("/somewhere/speculation.py", chosen)
    assert file.parent == Path("/somewhere/results")
    assert file.name.startswith("speculation-20")
    assert file.suffix == ".json"


def test_a_quick_run_leaves_no_results_unless_asked(tmp_path: Path) -> None:
    quick = options("Why?").parse_args(["--quick"])
    facts = begin(quick)
    assert quick.repeat == 1
    assert facts["torch"] in heading(facts)
    assert not save({"a": 1}, str(tmp_path / "x.py"), quick).exists()
    asked = options("Why?").parse_args(["--quick", "--json", str(tmp_path / "new" / "y.json")])
    assert json.loads(save({"a": 1}, str(tmp_path / "x.py"), asked).read_text()) == {"a": 1}


def test_the_slowest_is_that_of_all_races_and_never_plain_or_a_skipped_one() -> None:
    def row(name: str, median: float, skipped: str | None = None) -> dict[str, object]:
        return {
            "name": name,
            "speedup": None if skipped else {"median": median, "low": 0, "high": 9},
            "skipped": skipped,
        }

    one = {"methods": [row("plain", 0.1), row("a", 0.97), row("b", 2.0)]}
    two = {"methods": [row("plain", 0.1), row("a", 1.2), row("b", 0.96), row("c", 0.0, "why")]}
    assert slowest({"one": one, "two": two}) == {"method": "b", "cell": "two", "median": 0.96, "low": 0, "high": 9}
    assert slowest({"one": {"methods": one["methods"][:1]}}) is None


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.stem)
def test_every_study_asks_a_question_and_says_what_it_leaves_out(study: Path) -> None:
    docstring = study.read_text().split('"""')[1]
    assert "?" in docstring.splitlines()[0]
    assert "Left out:" in docstring
    assert f"python benchmarks/{study.name}" in docstring
    assert len(study.read_text().splitlines()) <= 160


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.stem)
def test_every_study_runs(study: Path, tmp_path: Path) -> None:
    if "DECANT_DATA" in study.read_text() and "DECANT_DATA" not in os.environ:
        pytest.skip("no folder in DECANT_DATA")
    file = tmp_path / "results.json"
    command = [sys.executable, str(study), "--quick", "--threads", "1", "--json", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "machine" in json.loads(file.read_text())

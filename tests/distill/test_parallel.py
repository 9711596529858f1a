"""Two processes train as one does: the same curve, the same weights; a run may go on in another number of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from decant.distill import parallel
from decant.distill.parallel import Lesson, Team
from decant.distill.weighting.ss_token import SsToken
from decant.errors import BadInput, IncompatibleParts

PROGRAM = Path(__file__).with_name("together.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = (
    "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
)  # fmt: skip


def started(folder: Path, *how: str, steps: int = 12, launcher: tuple[str, ...] = ()) -> str:
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    program = [sys.executable, *launcher, str(PROGRAM), str(folder), str(steps), *how]
    ended = subprocess.run(program, env=environment, capture_output=True, text=True, check=False, timeout=400)
    if steps == 12:
        assert ended.returncode == 0, ended.stderr
    return ended.stderr


def ended(folder: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))  # one process writes them
    assert (folder / "saved").read_text().split() == ["3", "6", "9", "12"]
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"], [row["nats"] for row in rows]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    started(folder, "whole", "adamw")
    return ended(folder)


def alike(folder: Path, alone) -> None:
    weights, nats = ended(folder)
    assert nats == pytest.approx(alone[1], abs=1.1e-4)  # they are written with four digits
    assert weights.keys() == alone[0].keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, alone[0][name], atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["whole", "shard"])
def test_two_processes_train_as_one(tmp_path, alone, how):
    started(tmp_path, how, "adamw", launcher=TORCHRUN)
    alike(tmp_path, alone)


@pytest.mark.slow
def test_accelerate_starts_them_as_well(tmp_path, alone):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    started(tmp_path, "whole", "adamw", launcher=ACCELERATE)
    alike(tmp_path, alone)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["whole", "shard"])
def test_a_run_goes_on_in_another_number_of_processes(tmp_path, alone, how):
    started(tmp_path, how, "adamw", steps=6, launcher=TORCHRUN)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 6
    started(tmp_path, how, "adamw", steps=9)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 9
    started(tmp_path, how, "adamw", launcher=TORCHRUN)
    alike(tmp_path, alone)


@pytest.mark.slow
def test_weights_that_are_not_summed_are_seen(tmp_path, alone):
    """A planted bug: weights and nats are each process's own; their curve and their weights are others."""
    started(tmp_path, "whole", "adamw", "deaf", launcher=TORCHRUN)
    with pytest.raises(AssertionError):
        alike(tmp_path, alone)


def test_a_world_that_is_half_set_is_refused(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match=r"WORLD_SIZE is 2 and RANK, MASTER_ADDR, MASTER_PORT is not set; start with"):
        parallel.join()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert parallel.join() == Team()


def test_a_spread_student_cannot_write():
    class Speaking:
        speaker = object()

    with torch.random.fork_rng():
        lesson = Lesson(torch.nn.Linear(2, 2), Speaking())
    with pytest.raises(IncompatibleParts, match=r"spread over processes \(shard\) cannot write its own texts"):
        parallel.spread(lesson, Team(0, 2), shard=True)


def test_a_spread_student_runs_no_layer_twice():
    class Attending:
        weighting = type("Looking", (), {"reruns": True})()

    with torch.random.fork_rng():
        lesson = Lesson(torch.nn.Linear(2, 2), Attending())
    with pytest.raises(IncompatibleParts, match="Looking runs a layer of the student once more"):
        parallel.spread(lesson, Team(0, 2), shard=True)
    assert SsToken.reruns


def test_a_team_without_rows_for_everybody_is_refused(monkeypatch):
    monkeypatch.setattr(parallel.Team, "_extreme", lambda self, number, where: 3)
    place = torch.device("cpu")
    assert Team(1, 2).levelled(["a", "b"], place) == [("a", 1.0), ("b", 1.0), ("b", 0.0)]
    with pytest.raises(BadInput, match="process 1 of 2 has no rows; give a step at least 2 rows"):
        Team(1, 2).levelled([], place)

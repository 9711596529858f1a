"""`decant distill --shard` and `--tensorboard`: how a run is run, not what it learns."""

import json
import subprocess
import sys

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from decant.apps.cli import app
from tests.apps.cli.students import PLACE, asked, decant, said

__all__ = ["asked", "decant"]  # fixtures

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "decant")


def spread(words: list[str]) -> subprocess.CompletedProcess[str]:
    place = PLACE | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, *TORCHRUN, *words], env=place, capture_output=True, text=True, check=False, timeout=400
    )


@pytest.mark.slow
def test_a_student_that_is_spread_over_two_processes_learns_the_same(asked, tmp_path) -> None:
    done = CliRunner().invoke(app, asked("hinton", out=tmp_path / "alone"))
    assert done.exit_code == 0, done.output
    ended = spread(asked("hinton", "--shard", out=tmp_path / "spread"))
    assert ended.returncode == 0, ended.stderr
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "spread"))
    assert one.keys() == two.keys()
    # Where a gradient is rounding, AdamW steps to either side: a few weights differ, and the law hardly does.
    assert max(float((two[name] - weight).abs().mean()) for name, weight in one.items()) < 1e-3
    found = [json.loads((tmp_path / name / "recipe.json").read_text()) for name in ("alone", "spread")]
    assert found[1]["before"] == found[0]["before"]
    assert found[1]["after"] == pytest.approx(found[0]["after"], rel=2e-2)
    assert found[0]["after"]["kl"] != pytest.approx(found[0]["before"]["kl"], rel=4e-2), "or nothing was learnt"
    ended = spread(asked("gkd", "--shard", out=tmp_path / "writes"))
    assert ended.returncode == 1
    assert "cannot write its own texts" in ended.stderr


def test_what_cannot_be_spread_says_so(decant) -> None:
    assert "here is one; start with torchrun" in said(decant("hinton", "--shard"))
    assert "--shard is not for eagle: it teaches no whole student" in said(decant("eagle", "--shard", student=None))
    assert "hinton:alpha=1 is the same out of parts" in said(decant("plain_kd", "--shard"))


def test_events_for_tensorboard_are_written_by_command(decant, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = decant("hinton", "--tensorboard")
    assert done.exit_code != 0
    assert "pip install 'decant[tensorboard]'" in f"{done.output} {done.exception}"
    assert "its loop is flat" in said(decant("plain_kd", "--tensorboard", out=tmp_path / "flat"))


def test_events_come_to_lie_in_the_run(decant, tmp_path) -> None:
    pytest.importorskip("tensorboard", reason="the extra [tensorboard] is not installed")
    assert decant("hinton", "--tensorboard").exit_code == 0
    assert list((tmp_path / "out" / "training" / "tensorboard").iterdir())

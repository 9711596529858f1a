"""A run ends with the same weights, bit for bit, whenever it is killed; what cannot be written harms nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from decant.distill import checkpoint, trainer
from decant.distill.checkpoint import BAD_BATCH, Course
from decant.distill.optimisers import optimisers
from decant.distill.trainer import CHECKPOINT, METRICS, Settings, train
from decant.errors import BadInput
from tests.filling import full

VOCAB = 7
SETTINGS = Settings(steps=8, peak=0.05, warmup=3, save_every=4, report_every=2, quiet=True)


def toy(width: int = 8) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(VOCAB, width), nn.Linear(width, VOCAB))


def batches(step: int) -> tuple[Tensor, Tensor]:
    starts_B1 = torch.randint(VOCAB, (4, 1), generator=torch.Generator().manual_seed(step))
    return (starts_B1 + torch.arange(6)) % VOCAB, torch.ones(4, 6)


def interrupted(step: int) -> tuple[Tensor, Tensor]:
    if step == 6:
        raise KeyboardInterrupt
    return batches(step)


def trained(folder: Path, settings: Settings = SETTINGS, batches=batches, model: nn.Module | None = None, saved=None):
    model = model or toy()

    def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        nats_BT = functional.cross_entropy(model(ids_BT[:, :-1]).transpose(1, 2), ids_BT[:, 1:], reduction="none")
        return (nats_BT * weights_BT[:, 1:]).sum()

    train(model, loss, batches, settings, folder, saved or (lambda step: None))
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "stride"), [("none", 1), ("torn", 3), ("forgetful", 3)])
def test_a_kill_at_any_moment_changes_nothing(tmp_path, plant, stride):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    program = [sys.executable, Path(__file__).with_name("crashing.py"), tmp_path, plant, stride]
    ended = subprocess.run(list(map(str, program)), env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["moments"] * stride > (30 if plant != "torn" else 10)  # in place there are no names and no syncs
    if plant == "none":
        assert found["fine"] == found["moments"]
        assert found["kills"]
        assert found["often"]
    else:
        assert found["fine"] < found["moments"]


@pytest.mark.parametrize("name", [CHECKPOINT + ".part", METRICS])
def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path, name, monkeypatch):
    folder = tmp_path / "two"
    with pytest.raises(KeyboardInterrupt):
        trained(folder, batches=interrupted)
    before = (folder / CHECKPOINT).read_bytes()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("/dev/full")  # every write to it says that no space is left
    monkeypatch.setattr(trainer, "forget", lambda folder, step: None)
    with pytest.raises(BadInput, match=r"could not be written: No space left on device; the .* whole. Make room"):
        trained(folder)
    assert (folder / CHECKPOINT).read_bytes() == before
    (folder / name).unlink(missing_ok=True)
    assert same(trained(folder), trained(tmp_path / "one"))


@pytest.mark.parametrize("after", [700, 9000, 20000])
def test_a_disk_that_fills_up_leaves_the_last_checkpoint_whole(tmp_path, after):
    wide = {"weights": torch.zeros(10000)}
    checkpoint.write({"step": 1}, tmp_path / CHECKPOINT)
    for name in (CHECKPOINT, BAD_BATCH):
        with pytest.raises(BadInput, match=rf"{tmp_path}/{name} could not be written: File .*Make room"), full(after):
            checkpoint.write(wide, tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT], "nothing half written takes the room"
    assert checkpoint.read(tmp_path) == {"step": 1}


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    trained(tmp_path, Settings(steps=4, save_every=4, quiet=True))
    before = (tmp_path / CHECKPOINT).read_bytes()

    def torn(found: object, file) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_checkpoint_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    seen = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: seen.append("sync") or sync(number))
    monkeypatch.setattr(os, "replace", lambda *names: seen.append("name") or replace(*names))
    checkpoint.write({"step": 1}, tmp_path / CHECKPOINT)
    assert seen == ["sync", "name", "sync"]


def test_a_broken_checkpoint_is_named(tmp_path):
    trained(tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"checkpoint\.pt cannot be read: .*; remove it to begin anew"):
        trained(tmp_path)


@pytest.mark.parametrize("other", [toy(4), nn.Sequential(toy()), nn.Sequential(*toy(), nn.Linear(VOCAB, VOCAB))])
def test_the_checkpoint_of_another_model_is_refused(tmp_path, other):
    trained(tmp_path)
    with pytest.raises(BadInput, match="of another model or of other settings; give a new folder"):
        trained(tmp_path, model=other)


def test_frozen_weights_are_not_in_a_checkpoint(tmp_path):
    def half() -> nn.Module:
        model = toy()
        model[0].requires_grad_(False)
        return model

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "two", batches=interrupted, model=half())
    found = torch.load(tmp_path / "two" / CHECKPOINT, weights_only=True)
    assert set(found["model"]) == {"1.weight", "1.bias"}
    assert same(trained(tmp_path / "two", model=half()), trained(tmp_path / "one", model=half()))


def test_a_checkpoint_with_frozen_weights_is_read_as_well(tmp_path):
    """Earlier ones held them."""
    model = toy()
    found = Course(model, optimisers(model, SETTINGS)).snapshot(3, None)
    checkpoint.write(found, tmp_path / CHECKPOINT)
    model[0].requires_grad_(False)
    checkpoint.load(model, checkpoint.read(tmp_path)["model"])


def test_a_kill_between_a_checkpoint_and_its_export_is_made_good(tmp_path):
    def killed(step: int) -> None:
        if step == 8:
            raise KeyboardInterrupt

    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, saved=killed)
    trained(tmp_path, saved=seen.append)
    assert seen == [8]


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "nats nan"), (1.0, "gradient inf"), (0.0, "weight 0.0")])
def test_what_is_not_finite_stops_before_it_is_learnt(tmp_path, value, said):
    model, now = toy(), []
    if value == 1:  # only the gradient is not finite
        model[1].weight.register_hook(lambda gradient: gradient * torch.inf if now[-1] == 5 else gradient)

    def poisoned(step: int) -> tuple[Tensor, Tensor]:
        ids_BT, weights_BT = batches(step)
        now.append(step)
        return ids_BT, weights_BT * (value if step == 5 else 1)

    with pytest.raises(
        BadInput, match=rf"step 6 is not finite: .*{said}.*bad-batch\.pt: look at them with torch\.load"
    ):
        trained(tmp_path, batches=poisoned, model=model)
    bad = torch.load(tmp_path / BAD_BATCH, weights_only=True)
    assert bad["step"] == 5
    assert torch.equal(bad["pieces"][0][0], batches(5)[0])
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 4
    assert same(trained(tmp_path), trained(tmp_path / "one"))


def test_metrics_say_what_happened(tmp_path):
    trained(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [set(row) for row in rows] == [{"step", "nats", "rate", "gradient", "tokens_per_second", "batches"}] * 4
    assert [row["rate"] for row in rows] == [0.05 * SETTINGS.share(step) for step in (1, 3, 5, 7)]
    assert all(row["gradient"] > 0 and 0 <= row["batches"] <= 1 for row in rows)


def test_events_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra [tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained(tmp_path, Settings(steps=4, report_every=2, quiet=True, tensorboard=True))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("nats")] == [2, 4]


def test_without_tensorboard_the_command_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    from decant.errors import MissingExtra

    with pytest.raises(MissingExtra, match=r"pip install 'decant\[tensorboard\]'"):
        trained(tmp_path, Settings(steps=4, quiet=True, tensorboard=True))

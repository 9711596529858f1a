import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from decant.distill.trainer import CHECKPOINT, METRICS, Settings, train
from decant.errors import BadInput

VOCAB = 7
SETTINGS = Settings(steps=12, peak=0.05, muon=0.02, warmup=3, save_every=4, report_every=2, accumulate=2)


def toy() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(VOCAB, 8), nn.Linear(8, VOCAB))


def batches(step: int) -> tuple[Tensor, Tensor]:
    """Counting upwards modulo the vocabulary from random starts."""
    rng = torch.Generator().manual_seed(step)
    starts_B1 = torch.randint(VOCAB, (4, 1), generator=rng)
    return (starts_B1 + torch.arange(6)) % VOCAB, torch.ones(4, 6).index_fill(1, torch.tensor(0), 0.0)


def loss_of(model: nn.Module):
    def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        logits_BTV = model(ids_BT[:, :-1])
        nats_BT = functional.cross_entropy(logits_BTV.transpose(1, 2), ids_BT[:, 1:], reduction="none")
        return (nats_BT * weights_BT[:, 1:]).sum()

    return loss


def trained(folder: Path, settings: Settings = SETTINGS, batches=batches) -> nn.Module:
    model = toy()
    train(model, loss_of(model), batches, settings, folder)
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["nats"] for line in (folder / METRICS).read_text().splitlines()]


@pytest.mark.parametrize("muon", [None, 0.05])
def test_training_learns(tmp_path, muon):
    trained(tmp_path, Settings(steps=60, peak=0.05, muon=muon, warmup=3))
    assert losses(tmp_path)[-1] < 0.5 * losses(tmp_path)[0]


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path):
    def interrupted(step: int) -> tuple[Tensor, Tensor]:
        if step == 2 * 6:
            raise KeyboardInterrupt
        return batches(step)

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "two", batches=interrupted)
    assert torch.load(tmp_path / "two" / CHECKPOINT, weights_only=True)["step"] == 4
    assert same(trained(tmp_path / "two"), trained(tmp_path / "one"))
    assert losses(tmp_path / "two") == losses(tmp_path / "one")


def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    child = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import torch; torch.set_num_threads(1)\n"
        "import os, pathlib, signal, test_trainer as here\n"
        "def killed(step):\n"
        "    if step == 17: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return here.batches(step)\n"
        f"here.trained(pathlib.Path({str(tmp_path / 'two')!r}), batches=killed)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run([sys.executable, "-c", child], env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert torch.load(tmp_path / "two" / CHECKPOINT, weights_only=True)["step"] == 8
    assert same(trained(tmp_path / "two"), trained(tmp_path / "one"))


def test_resuming_matters(tmp_path):
    """The two tests above would pass if training did nothing; other data give other weights."""
    shifted = trained(tmp_path / "two", batches=lambda step: batches(step + 1))
    assert not same(shifted, trained(tmp_path / "one"))


def test_accumulation_equals_one_large_batch(tmp_path):
    def halves(step: int) -> tuple[Tensor, Tensor]:
        ids_BT, weights_BT = batches(step // 2)
        half = slice(2 * (step % 2), 2 * (step % 2) + 2)
        weights_BT = weights_BT * torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None]  # uneven on purpose
        return ids_BT[half], weights_BT[half]

    def whole(step: int) -> tuple[Tensor, Tensor]:
        parts = [halves(2 * step), halves(2 * step + 1)]
        return torch.cat([ids for ids, _ in parts]), torch.cat([weights for _, weights in parts])

    two = trained(tmp_path / "two", Settings(steps=5, accumulate=2), halves)
    one = trained(tmp_path / "one", Settings(steps=5), whole)
    for a, b in zip(two.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_rate_rises_stays_and_falls():
    settings = Settings(steps=100, peak=1.0, warmup=10, decay=0.2)
    rates = [settings.peak * settings.share(step) for step in range(100)]
    assert rates[:2] == pytest.approx([0.1, 0.2])
    assert set(rates[10:80]) == {1.0}
    assert rates[90] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.05)


def test_impossible_settings_are_refused():
    with pytest.raises(BadInput, match="at least 1"):
        Settings(steps=0)
    with pytest.raises(BadInput, match=r"between 0 and 1, not 1\.5"):
        Settings(steps=1, decay=1.5)


def test_metrics_of_repeated_steps_are_not_kept_twice(tmp_path):
    trained(tmp_path, Settings(steps=6, save_every=4, report_every=2))
    metrics = tmp_path / METRICS
    metrics.write_text(metrics.read_text() + '{"step": 99, "na')  # a line that a kill cut short
    trained(tmp_path, Settings(steps=8, save_every=4, report_every=2))
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == [2, 4, 6, 8]

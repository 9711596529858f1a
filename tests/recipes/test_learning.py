"""What recipes come to: the composed run is the plain loop's, and students come closer to their teacher."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.distill.measure import Apart, measured
from decant.distill.progress import METRICS
from decant.distill.texts import padded
from decant.distill.trainer import Share
from decant.models import build
from decant.recipes import plain_kd
from decant.recipes.adaspec import AdaSPEC
from decant.recipes.ddk import DDK
from decant.recipes.distillm import DistiLLM
from decant.recipes.distillspec import DistillSpec
from decant.recipes.gkd import GKD
from decant.recipes.hinton import Hinton
from decant.recipes.kit import Recipe
from decant.recipes.minillm import MiniLLM
from decant.recipes.sft import SFT
from decant.recipes.taid import TAID
from tests.recipes.pair import Pair, trained

STEPS = 60


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair.made()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_composed_run_is_the_plain_one(temperature: float, pair: Pair, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(build, "fast_bfloat16", lambda: False)
    kit = pair.kit(tmp_path, steps=12)
    rows, own = kit.rows_of(), copy.deepcopy(kit.student)

    def batches(step: int) -> tuple[Tensor, Tensor]:
        batch, _ = rows.batch(None, step, Share(), None)
        return batch.ids_BT, batch.weights_BT

    def plain(student, batches: Callable[[int], tuple[Tensor, Tensor]]) -> list[float]:
        return plain_kd.train(student, pair.teacher.network, batches, kit.settings, temperature, tmp_path / "plain")

    found, want = trained(Hinton(alpha=1.0, temperature=temperature), kit), plain(own, batches)
    assert found.curve == pytest.approx(want, abs=1e-5)
    assert want[-1] < 0.8 * want[0]
    for one, other in zip(kit.student.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    wrong = plain(copy.deepcopy(pair.student), lambda step: shifted(batches(step)))
    assert wrong != pytest.approx(want, abs=1e-3)


def test_the_plain_loop_cuts_heads_to_the_ids_that_both_have(pair: Pair, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(build, "fast_bfloat16", lambda: False)
    kit = pair.kit(tmp_path, steps=3)
    with torch.random.fork_rng():
        kit.student.resize_token_embeddings(len(pair.spellers[0].tokenizer) + 8, mean_resizing=False)
    own = copy.deepcopy(kit.student)
    found = trained(Hinton(alpha=1.0), kit)
    network, pieces = pair.teacher.network, kit.rows_of().pieces
    assert found.curve == pytest.approx(plain_kd.train(own, network, pieces, kit.settings, 2.0, tmp_path), abs=1e-5)


def shifted(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The mistake: weights of the next position."""
    return batch[0], batch[1].roll(-1, 1)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


@pytest.mark.parametrize(
    "recipe",
    [
        Hinton(alpha=1.0),
        TAID(),
        DistiLLM(ce=0.0, every=5),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (AdaSPEC(), GKD(), DistillSpec(), MiniLLM())),
    ],
    ids=lambda recipe: type(recipe).__name__,
)
def test_a_student_comes_closer_on_texts_that_it_was_not_taught_on(recipe, pair: Pair, tmp_path: Path) -> None:
    before, after = taught(recipe, pair, tmp_path)
    assert after.kl < 0.75 * before.kl
    assert after.acceptance > before.acceptance


def test_the_student_answers_once_it_grows_worse_on_texts_that_it_is_not_taught(pair: Pair, tmp_path: Path) -> None:
    """It learns 14 texts by heart; its own nats never rise to what they were at the first look."""
    kit = pair.kit(tmp_path, steps=2 * STEPS, peak=1e-2, save_every=2 * STEPS)
    trained(DistiLLM(ce=3.0, every=20), replace(kit, texts=kit.texts[:16]))
    rows = rows_of(tmp_path)
    phis, kept = ([row[f"rollouts.{name}"] for row in rows] for name in ("phi", "buffer"))
    assert phis[39] == kept[39] == 0
    assert phis[-1] > 0
    assert kept[-1] > 0
    given = [row["nats"] for at, row in enumerate(rows) if not at or kept[at] == kept[at - 1]]
    assert max(given[20:]) < mean(given[:20])


def test_a_student_learns_from_its_own_answers_alone_new_and_old(pair: Pair, tmp_path: Path) -> None:
    before, after = taught(DistiLLM(ce=0.0, phi=1.0, capacity=8), pair, tmp_path)
    assert after.kl < 0.75 * before.kl
    assert after.acceptance > before.acceptance
    assert rows_of(tmp_path)[-1]["rollouts.buffer"] == 8


def test_metrics_tell_what_parts_remember(pair: Pair, tmp_path: Path) -> None:
    trained(TAID(), pair.kit(tmp_path / "taid"))
    shares = [row["curriculum.t"] for row in rows_of(tmp_path / "taid")]
    assert shares == pytest.approx([0.4, 0.7, 0.85, 1.0])
    trained(DDK(looked=2), pair.kit(tmp_path / "ddk"))
    for row in rows_of(tmp_path / "ddk"):
        assert row["rollouts.mixture.0"] + row["rollouts.mixture.1"] == pytest.approx(1)


def test_who_never_hears_the_teacher_comes_no_closer(pair: Pair, tmp_path: Path) -> None:
    """The test above would pass if texts alone did it."""
    before, after = taught(SFT(), pair, tmp_path)
    assert after.nats < 0.5 * before.nats
    assert after.kl > 0.75 * before.kl


def taught(recipe: Recipe, pair: Pair, folder: Path) -> tuple[Apart, Apart]:
    """How far the student is from its teacher, before and after."""
    kit = pair.kit(folder, steps=STEPS, peak=1e-2, save_every=STEPS)
    held_out = padded(kit.texts[::4], kit.length)
    kit = replace(kit, texts=[text for at, text in enumerate(kit.texts) if at % 4])
    before = measured(kit.student, kit.teacher, [held_out])
    trained(recipe, kit)
    return before, measured(kit.student, kit.teacher, [held_out])

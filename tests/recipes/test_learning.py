"""What recipes come to: the composed run is the plain loop's, and students come closer to their teacher."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decant.distill.measure import Apart, measured
from decant.distill.texts import padded
from decant.distill.trainer import Share
from decant.models import build
from decant.recipes import plain_kd
from decant.recipes.adaspec import AdaSPEC
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
        return plain_kd.train(student, pair.teacher.network, batches, 12, kit.settings.peak, temperature)

    found, want = trained(Hinton(alpha=1.0, temperature=temperature), kit), plain(own, batches)
    assert found.curve == pytest.approx(want, abs=1e-5)
    assert want[-1] < 0.8 * want[0]
    for one, other in zip(kit.student.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    wrong = plain(copy.deepcopy(pair.student), lambda step: shifted(batches(step)))
    assert wrong != pytest.approx(want, abs=1e-3)


def shifted(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The mistake: weights of the next position."""
    return batch[0], batch[1].roll(-1, 1)


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

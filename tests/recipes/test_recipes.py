"""Every recipe composes, learns, leaves its teacher alone, goes on after a kill, and says what it lacks."""

import copy
import pkgutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from decant import recipes
from decant.distill.measure import Apart
from decant.distill.seams import needs_of
from decant.distill.teachers.live import Live
from decant.distill.texts import Text
from decant.distill.trainer import Share
from decant.errors import BadInput, IncompatibleParts
from decant.models.build import save_folder
from decant.recipes.adaspec import AdaSPEC
from decant.recipes.aligndistil import AlignDistil
from decant.recipes.alm_transfer import ALMTransfer
from decant.recipes.card import card
from decant.recipes.ddk import DDK
from decant.recipes.distillm import DistiLLM
from decant.recipes.distillspec import DistillSpec
from decant.recipes.fastdraft import FastDraft
from decant.recipes.gkd import GKD
from decant.recipes.hinton import Hinton
from decant.recipes.kit import Kit
from decant.recipes.minillm import MiniLLM
from decant.recipes.minilm import MiniLM
from decant.recipes.seqkd import SeqKD
from decant.recipes.sft import SFT
from decant.recipes.sinkd import SinKD
from tests.recipes.pair import Pair, empty, trained

NO_RECIPES = {"kit", "card", "swaps"}  # what recipes are made of, and what is said of them
ANSWERING = (DistillSpec, FastDraft, MiniLLM, SeqKD)  # a model answers: prompts alone are enough


def classes() -> list[type]:
    found = []
    for module in pkgutil.iter_modules(recipes.__path__):
        home = import_module(f"decant.recipes.{module.name}")
        mine = [one for one in vars(home).values() if hasattr(one, "compose") and one.__module__ == home.__name__]
        assert len(mine) == (module.name not in NO_RECIPES) or module.name == "kit", module.name
        found += [one for one in mine if module.name not in NO_RECIPES]
    return found


RECIPES = classes()


@pytest.fixture(scope="session")
def pair() -> Pair:
    return Pair.made()


@pytest.fixture(scope="session")
def contrast(pair: Pair, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("contrast")
    save_folder(pair.student, folder)
    pair.spellers[0].tokenizer.save_pretrained(folder)
    return folder


def quick(kind: type, contrast: Path) -> Any:
    """With knobs that make a run of a few steps go through all that a recipe has."""
    knobs = {
        AlignDistil: {"contrast": str(contrast)},
        DDK: {"looked": 2, "every": 2},
        DistiLLM: {"every": 1, "capacity": 4, "phi": 1.0},
        FastDraft: {"temperatures": "0+1"},
        MiniLM: {"heads": 2},
    }
    return kind(**knobs.get(kind, {}))


@dataclass(frozen=True)
class Ran:
    """A recipe whose training is over."""

    recipe: Any
    kit: Callable[..., Kit]
    before: dict[str, Any]
    after: Any


@pytest.fixture(scope="module", params=RECIPES, ids=lambda kind: kind.__name__)
def ran(request, pair: Pair, contrast: Path, tmp_path_factory) -> Ran:
    recipe = quick(request.param, contrast)

    def kit(*path: str) -> Kit:
        return pair.kit(tmp_path_factory.mktemp("run").joinpath(*path), bridges=getattr(recipe, "bridges", False))

    made = kit()
    before = copy.deepcopy(made.teacher.network.state_dict())
    return Ran(recipe, kit, before, trained(recipe, made))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_steps_are_finite_and_move_the_student_alone(ran: Ran, pair: Pair) -> None:
    assert len(ran.after.curve) == 4
    assert all(torch.tensor(ran.after.curve).isfinite())
    learner, fresh = ran.after.learner, ran.recipe.compose(replace(ran.kit(), dry=True)).learner
    started = dict(fresh.named_parameters())
    for name, weight in learner.named_parameters():
        assert not torch.equal(weight, started[name]), f"{name} did not learn"
    teacher = pair.strange if getattr(ran.recipe, "bridges", False) else pair.teacher
    assert same(teacher.network.state_dict(), ran.before)
    assert all(weight.grad is None and not weight.requires_grad for weight in teacher.network.parameters())
    assert not teacher.network.training


def test_a_killed_run_ends_with_the_same_weights(ran: Ran) -> None:
    kit = ran.kit()
    with pytest.raises(KeyboardInterrupt):
        trained(ran.recipe, kit, killed_at=3)
    again = trained(ran.recipe, replace(ran.kit(), folder=kit.folder))
    assert again.curve == ran.after.curve[2:]
    assert same(again.learner.state_dict(), ran.after.learner.state_dict())


def test_resuming_matters(pair: Pair, tmp_path: Path) -> None:
    """The test above would pass if nothing depended on the step; another seed gives other weights."""
    kits = [replace(pair.kit(tmp_path / str(seed)), seed=seed) for seed in range(2)]
    one, other = (trained(GKD(), kit).learner.state_dict() for kit in kits)
    assert not same(one, other)


@pytest.mark.parametrize("kind", RECIPES, ids=lambda kind: kind.__name__)
def test_without_texts_and_prompts_a_recipe_says_so(kind, pair: Pair, contrast: Path, tmp_path: Path) -> None:
    recipe = quick(kind, contrast)
    kit = empty(pair.kit(tmp_path, bridges=getattr(recipe, "bridges", False)))
    wanted = "prompts|mixes domains"
    with pytest.raises(BadInput, match=wanted):
        recipe.compose(replace(kit, prompts=[]))
    if kind in ANSWERING:
        assert recipe.compose(kit).rollouts is not None
        assert recipe.compose(replace(kit, dry=True)).rollouts is not None
    else:
        with pytest.raises(BadInput, match=r"learns from answers|mixes domains"):
            recipe.compose(kit)


def test_all_answers_of_ones_own_need_prompts_alone(pair: Pair, tmp_path: Path) -> None:
    kit = empty(pair.kit(tmp_path, steps=1))
    for number, recipe in enumerate([GKD(lmbda=1.0), DistillSpec(), MiniLLM()]):
        assert len(trained(recipe, replace(kit, folder=tmp_path / str(number))).curve) == 1


def test_what_else_a_recipe_lacks(pair: Pair, tmp_path: Path) -> None:
    kit = pair.kit(tmp_path)
    with pytest.raises(BadInput, match="contrast=DIR"):
        AlignDistil().compose(kit)
    with pytest.raises(BadInput, match="the data has 0 with more than 99 texts"):
        DDK(looked=99).compose(kit)
    with pytest.raises(BadInput, match="numbers with"):
        FastDraft(temperatures="0,1").compose(kit)
    with pytest.raises(BadInput, match="every share is 0"):
        SinKD(0, 0, 0).compose(kit)


def test_aligndistil_gives_every_text_the_same_say(pair: Pair, contrast: Path, tmp_path: Path) -> None:
    kit = pair.kit(tmp_path)
    texts = [Text.answer([1] * 20, 12), Text.answer([2] * 30, 10)]
    made = AlignDistil(contrast=str(contrast)).compose(replace(kit, texts=texts, rows=2, length=26))
    batch, _ = made.rollouts.batch(None, 0, Share(), None)  # type: ignore[arg-type]
    assert batch.weights_BT.sum(1).tolist() == pytest.approx([12.0, 12.0]), "8 tokens, and 16 that are not cut off"


def test_an_objective_without_a_share_is_left_out(pair: Pair, tmp_path: Path) -> None:
    kit = pair.kit(tmp_path)
    assert [len(Hinton(alpha).compose(kit).objectives) for alpha in (0.0, 0.5, 1.0)] == [1, 2, 1]
    assert Hinton(0.0).compose(kit).teacher is None
    across = pair.kit(tmp_path, bridges=True)
    assert ALMTransfer(alm=0.0).compose(across).teacher is None


def test_a_card_names_what_was_measured() -> None:
    before, after = asdict(Apart(12, 2.5, 0.25, 0.5, 6.0)), asdict(Apart(12, 0.75, 0.5, 0.875, 5.0))
    report = {
        "command": "decant distill taid --teacher T --student S --data d.jsonl --out here",
        "data": "d.jsonl",
        "versions": {"decant": "9.9"},
        "steps": 1000,
        "peak": 1e-3,
        "seconds": 60.0,
        "before": before,
        "after": after,
    }
    written = card("taid", "T", "S", report)
    assert "| KL(teacher, student), nats a token | 2.5000 | 0.7500 |" in written
    assert "12 positions" in written
    assert "decant generate here " in written
    assert "Measured" not in card("taid", "T", "S", report | {"before": None, "after": None})


@dataclass(frozen=True)
class Laws:
    """A teacher who is not here."""

    model: Any
    gives = frozenset({"law", "dense"})

    def signal(self, batch, at):
        return Live(self.model).signal(batch, at)


def test_laws_alone_are_enough_unless_a_recipe_needs_the_model(pair: Pair, contrast: Path, tmp_path: Path) -> None:
    source = Laws(pair.teacher)
    kit = replace(pair.kit(tmp_path), teacher=None, source=source)
    assert Hinton().compose(kit).teacher is source
    assert SFT().compose(kit).teacher is None
    for recipe in (MiniLLM(), quick(DDK, contrast), quick(MiniLM, contrast), quick(AlignDistil, contrast)):
        with pytest.raises(IncompatibleParts, match="needs"):
            recipe.compose(kit)


def test_nothing_is_made_beforehand_for_a_composition_that_is_only_timed(pair: Pair, tmp_path: Path) -> None:
    def never(heat: float) -> list:
        raise AssertionError("the teacher was asked to write")

    kit = replace(pair.kit(tmp_path), dry=True, write=never)
    for recipe in (SeqKD(), FastDraft(), AdaSPEC()):
        recipe.compose(kit)
    assert not list(tmp_path.iterdir())


def test_a_reference_is_a_copy_that_was_taught(pair: Pair, tmp_path: Path) -> None:
    kit = pair.kit(tmp_path)
    before = copy.deepcopy(kit.student.state_dict())
    reference = AdaSPEC().compose(kit).weighting.reference.model.network
    assert same(kit.student.state_dict(), before)
    assert not same(reference.state_dict(), before)
    assert not any(weight.requires_grad for weight in reference.parameters())


def test_every_recipe_asks_for_a_teacher_only_where_it_learns_from_one(ran: Ran) -> None:
    asks = any(needs_of(asked.objective) != "nothing" for asked in ran.after.objectives)
    assert asks == (ran.after.teacher is not None)


def test_only_who_writes_has_a_speaker(pair: Pair, tmp_path: Path) -> None:
    """What is spread over processes cannot write, and is refused where it would."""
    kit = pair.kit(tmp_path)
    reading = (Hinton(), SFT(), SeqKD(), AdaSPEC())
    assert [recipe.compose(kit).speaker for recipe in reading] == [None] * len(reading)
    for recipe in (GKD(), DistillSpec(), MiniLLM(), DistiLLM(), DDK(looked=2)):
        assert recipe.compose(kit).speaker is not None

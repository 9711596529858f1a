"""A part in the place of a recipe's own: each that has a name learns, and what has no place says so."""

import ast
import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decant.apps.catalog.swaps import DISTANCES, NEEDS_LAW, NEEDS_SPANS, NEEDS_STATES, SWAPS
from decant.apps.knobs import knobs_of, split, values_of
from decant.distill.composition import Asked
from decant.distill.curricula.linear import Linear
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.divergences.jensen_shannon import JensenShannon
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.student_samples import StudentSamples
from decant.distill.seams import needs_of
from decant.distill.weighting.ss_token import SsToken
from decant.errors import BadInput, IncompatibleParts
from decant.recipes.adaspec import AdaSPEC
from decant.recipes.alm_transfer import ALMTransfer
from decant.recipes.gkd import GKD
from decant.recipes.hinton import Hinton
from decant.recipes.kit import Kit
from decant.recipes.minillm import MiniLLM
from decant.recipes.minilm import MiniLM
from decant.recipes.sft import SFT
from decant.recipes.sinkd import SinKD
from decant.recipes.swaps import Swap
from tests.recipes.pair import Pair, trained

NAMED = [(role, name) for role, table in SWAPS.items() for name in table]
KNOBS = {"replay": ":every=1:capacity=4", "attention_relations": ":heads=2"}
GIVES = {"law": "", "dense": NEEDS_LAW, "states": NEEDS_STATES, "spans": NEEDS_SPANS}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair.made()


@pytest.fixture(scope="module")
def plain(pair: Pair, tmp_path_factory) -> list[list[float]]:
    """The curves of the recipes as they are."""
    return [
        trained(recipe, kit(pair, tmp_path_factory.mktemp("plain"), bool(bridges))).curve
        for bridges, recipe in enumerate((Hinton(), ALMTransfer()))
    ]


def swap(role: str, spec: str) -> dict[Any, Swap]:
    wanted = split(spec)
    made = SWAPS[role][wanted.name].get()
    return {role: Swap(made, values_of(wanted, knobs_of(made)))}


def kit(pair: Pair, folder: Path, bridges: bool = False, **specs: str) -> Kit:
    swaps = {key: one for role, spec in specs.items() for key, one in swap(role, spec).items()}
    return replace(pair.kit(folder, steps=2, bridges=bridges), swaps=swaps)


@pytest.mark.parametrize(("role", "name"), NAMED, ids=[name for _, name in NAMED])
def test_every_part_with_a_name_learns(role: str, name: str, pair: Pair, plain, tmp_path: Path) -> None:
    bridges = SWAPS[role][name].needs == NEEDS_SPANS
    recipe = ALMTransfer() if bridges else Hinton()
    given = kit(pair, tmp_path, bridges, **{role: name + KNOBS.get(name, "")})
    ran = trained(recipe, given)
    assert len(ran.curve) == 2
    assert all(torch.tensor(ran.curve).isfinite())
    started = dict(recipe.compose(replace(kit(pair, tmp_path, bridges), dry=True)).learner.student.named_parameters())
    for weight_name, weight in given.student.named_parameters():
        assert not torch.equal(weight, started[weight_name]), f"{weight_name} did not learn"
    # Hinton's distance is forward KL itself; replay begins with the data's own texts.
    assert (ran.curve == plain[bridges]) == (name in {"forward_kl", "replay"})


@pytest.mark.parametrize(("role", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_row_cites_what_its_file_cites(role: str, name: str) -> None:
    row = SWAPS[role][name]
    file = Path(inspect.getfile(row.get()))
    assert file.stem == name
    cited = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("Source:")[2]
    assert set(re.findall(r"\d{4}\.\d{5}", row.source)) <= set(re.findall(r"\d{4}\.\d{5}", cited))


@pytest.mark.parametrize("name", DISTANCES)
def test_a_row_says_what_a_distance_needs(name: str, pair: Pair, tmp_path: Path) -> None:
    bridges = DISTANCES[name].needs == NEEDS_SPANS
    recipe = ALMTransfer() if bridges else Hinton()
    composed = recipe.compose(kit(pair, tmp_path, bridges, distance=name))
    needs = [needs_of(asked.objective) for asked in composed.objectives]
    assert DISTANCES[name].needs == GIVES[next(one for one in needs if one != "nothing")]


def test_all_else_stays_as_the_recipe_composes_it(pair: Pair, tmp_path: Path) -> None:
    given = kit(pair, tmp_path, distance="jensen_shannon:scale=beta:beta=0.3", curriculum="linear:first=0.2")
    composed = Hinton(alpha=0.25, temperature=3.0).compose(given)
    soft = Asked(Pointwise(JensenShannon(0.3, "beta"), 3.0), 0.25)
    assert composed.objectives == (soft, Asked(CrossEntropy(), 0.75))
    assert composed.curriculum == Linear(first=0.2)
    several = SinKD().compose(kit(pair, tmp_path, distance="rank"))
    assert [type(asked.objective).__name__ for asked in several.objectives] == ["CrossEntropy", "Pointwise", "Sinkhorn"]
    related = MiniLM(kl=0.0).compose(kit(pair, tmp_path, distance="forward_kl"))
    assert [asked.objective for asked in related.objectives] == [Pointwise(ForwardKL())]


def test_a_reference_is_taught_as_the_recipe_says(pair: Pair, tmp_path: Path) -> None:
    """What was swapped is swapped in the recipe, not in what it trains beforehand."""
    kits = kit(pair, tmp_path / "plain"), kit(pair, tmp_path / "other", distance="reverse_kl")
    plain, other = (AdaSPEC().compose(one).weighting.reference.model.network for one in kits)
    assert all(torch.equal(*both) for both in zip(plain.parameters(), other.parameters(), strict=True))


def test_tokens_are_held_to_the_student_that_it_was(pair: Pair, tmp_path: Path) -> None:
    given = kit(pair, tmp_path, weighting="ss_token:rho=0.5")
    before = [weight.clone() for weight in given.student.parameters()]
    ran = trained(SFT(), given)
    weighting = ran.weighting
    assert isinstance(weighting, SsToken)
    assert weighting.rho == 0.5
    history = weighting.history.model.network
    assert all(torch.equal(*both) for both in zip(history.parameters(), before, strict=True))


def test_own_answers_may_come_to_be_all(pair: Pair, tmp_path: Path) -> None:
    plain = kit(pair, tmp_path)
    assert GKD(lmbda=0.1, last=0.9).compose(plain).rollouts.last == 0.9
    assert isinstance(GKD(lmbda=1.0).compose(plain).rollouts, StudentSamples)
    falling = GKD(lmbda=1.0, last=0.0).compose(plain).rollouts
    state = falling.start()
    for step in range(4):
        state = falling.observe(state, step, 5, 1.0)
    assert state["lmbda"] == pytest.approx(0.0)
    with pytest.raises(BadInput, match="lmbda is a share of the steps, between 0 and 1, not 2"):
        GKD(last=2.0).compose(plain)


@pytest.mark.parametrize(
    ("recipe", "specs", "sentence"),
    [
        (SFT(), {"distance": "rank"}, "--distance: this recipe asks a teacher nothing about its texts"),
        (SFT(), {"rollouts": "replay"}, "--rollouts: this recipe asks a teacher nothing"),
        (Hinton(), {"distance": "gold"}, "GOLD compares texts that two tokenizers cut differently; take the recipe"),
        (Hinton(), {"distance": "dual_space", "curriculum": "taid"}, "nothing here compares laws token by token"),
        (MiniLLM(), {"rollouts": "student_samples"}, "divides by the law that its own answers are drawn from"),
        (MiniLM(), {"weighting": "uncertainty:whose=nobody"}, "is one of both, teacher, student"),
    ],
    ids=lambda one: "-".join(one.values()) if isinstance(one, dict) else "",
)
def test_what_has_no_place_says_so(recipe, specs, sentence, pair: Pair, tmp_path: Path) -> None:
    with pytest.raises((BadInput, IncompatibleParts), match=sentence):
        recipe.compose(kit(pair, tmp_path, **specs))


def test_a_teacher_that_cannot_serve_it_is_refused(pair: Pair, tmp_path: Path) -> None:
    for distance in ("rank", "hidden_states"):
        given = kit(pair, tmp_path, bridges=True, distance=distance)
        with pytest.raises(IncompatibleParts, match=r"needs .* of a teacher, and Across gives nothing, spans"):
            ALMTransfer().compose(given)
    with pytest.raises(IncompatibleParts, match="Uncertainty needs law of a teacher"):
        ALMTransfer().compose(kit(pair, tmp_path, bridges=True, weighting="uncertainty"))

"""What `decant tune` considers: lossless methods that the model and its drafts allow, then knobs that should pay."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from decant.apps.catalog import DRAFTERS, METHODS, NEEDS_DRAFT, NEEDS_HEAD, Recipe, pick
from decant.apps.choosing import Chosen
from decant.apps.compose import compose
from decant.apps.knobs import split
from decant.apps.opening import Opening
from decant.decoders.method import PLAIN, Method
from decant.models.heads.folder import kind_of
from decant.models.load import Loaded
from decant.tune.predict import Passes, Profile, best_depth

LIKELY: Final = (
    *("draft-model", "glide", "eagle3", "prompt-lookup", "eagle-2", "suffix", "sequoia", "draft-tree", "rasd"),
    *("token-recycling", "shared-vocabulary", "omnidraft", "pearl", "dyspec", "medusa", "rsd-s", "fspad", "aded"),
)
"""Probed first, where there may not be time for all; the others follow in the catalogue's order."""
DEPTHS: Final = range(1, 13)
DYNAMIC: Final = "dynamic-tree"
TREES: Final = ("budget=12:width=3:depth=6", "budget=24:width=4:depth=6")  # beside the policy's own, which is larger
COST_AWARE: Final = "cost-aware"


@final
@dataclass(frozen=True, slots=True)
class Host:
    """The target with one draft: the folder or name that was given with --draft; None: what its decant.json names."""

    given: str | None
    target: Loaded
    draft: Loaded | None
    kind: str | None = None

    def uses(self, recipe: Recipe) -> bool:
        """Whether a method decodes with what was given."""
        return recipe.needs == NEEDS_DRAFT if self.kind is None else head_of(recipe) == self.kind


@final
@dataclass(frozen=True, slots=True)
class Candidate:
    """A method with its options, as a command line spells them. draft: None where the model's own serves, or none."""

    method: str
    draft: str | None = None
    verifier: str | None = None
    policy: str | None = None

    @property
    def name(self) -> str:
        """Its options in a line, the method first."""
        said = {"--draft": self.draft, "--verifier": self.verifier, "--policy": self.policy}
        return " ".join([self.method, *(f"{name} {value}" for name, value in said.items() if value is not None)])

    @property
    def recipe(self) -> Recipe:
        """The catalogue's row."""
        return pick(METHODS, split(self.method).name, "method")

    @property
    def parts(self) -> int:
        """How much there is to it: a drafter, a model or head beside the target, parts that are not its own."""
        trained = self.recipe.needs == NEEDS_DRAFT or head_of(self.recipe) is not None
        return 1 + trained + (self.policy is not None) + (self.verifier is not None)


def head_of(recipe: Recipe) -> str | None:
    """The kind of trained head that a method needs."""
    if recipe.drafter is None or recipe.needs != NEEDS_HEAD:
        return None
    return recipe.head or str(pick(DRAFTERS, recipe.drafter, "drafter").get().kind)


def hosts(target: Loaded, drafts: Sequence[str], opening: Opening) -> list[Host]:
    """The target with each draft that was given, else with its own. Raises what cannot be loaded."""
    found = []
    for given in drafts or [None]:
        there, draft = opening.pair(target, given, ["all"])
        kind = None if given is None else kind_of(Path(given).expanduser())
        found.append(Host(given, there, draft, kind))
    return found


def listed(asked: Sequence[str] | str, there: Sequence[Host]) -> list[Candidate]:
    """Every method once for each draft that it may use, the likeliest to pay first. asked: specs, or "all"."""
    spoken = [name for name, recipe in METHODS.items() if not (recipe.fills or recipe.paints)]
    names = spoken if isinstance(asked, str) else [*asked]
    rank = {name: at for at, name in enumerate(LIKELY)}
    names.sort(key=lambda name: rank.get(split(name).name, len(rank)))
    found: dict[Candidate, None] = {}
    for name in names:
        for host in there:
            recipe = pick(METHODS, split(name).name, "method")
            if recipe.name != PLAIN:
                found[Candidate(name, host.given if host.uses(recipe) else None)] = None
    return [*found]


def composed(one: Candidate, there: Sequence[Host], chosen: Chosen) -> Method:
    """Ready to decode, under the candidate's name. Raises what the composition refuses."""
    host = next(host for host in there if one.draft is None or host.given == one.draft)
    method = compose(
        one.method, host.target, host.draft, chosen.warp,
        constraint=chosen.constraint, guide=chosen.guide, verifier=one.verifier, policy=one.policy,
    )  # fmt: skip
    return replace(method, name=one.name)


def variants(one: Candidate, profile: Profile, passes: Passes, batches: Iterable[int], heat: float) -> list[Candidate]:
    """The same drafter with other knobs: the depths that should pay most, smaller trees, a policy that reads costs,
    and, where something is drawn, a verifier that keeps more."""
    recipe, spec = one.recipe, split(one.method)
    if recipe.drafter is None or spec.knobs or one.policy or not profile.depth:
        return []
    pace = split(recipe.policy)
    found = []
    if pace.name == "fixed":
        usual = int(pace.knobs.get("depth", 0))
        depths = {best_depth(passes, profile, batch, DEPTHS) for batch in batches} - {usual}
        found += [replace(one, method=f"{one.method}:depth={depth}") for depth in sorted(depths)]
    if pace.name == DYNAMIC:
        found += [replace(one, method=f"{one.method}:{knobs}") for knobs in TREES]
    found.append(replace(one, policy=COST_AWARE))
    if heat > 0 and pace.name == "fixed" and recipe.needs == NEEDS_DRAFT:
        found += [replace(each, verifier="block") for each in found[:1] or [one]]
    return found


def sole(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Without those that differ from an earlier one by their name alone: methods of one drafter under one policy."""
    seen: dict[Any, Candidate] = {}
    for one in candidates:
        recipe = one.recipe
        knobs = tuple(split(one.method).knobs.items())
        same = (recipe.drafter, head_of(recipe), knobs, one.draft, one.verifier or recipe.verifier, one.policy)
        seen.setdefault(same if one.policy else one, one)
    return [*seen.values()]

"""Every method by its command-line name. Tables, not a registry: one row per file.

Parts are named by module and imported when `compose` asks, so that a misspelt name is answered before torch loads.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Final

from decant.apps.catalog.canvases import CACHES, SCHEDULES
from decant.apps.catalog.choosing import CONSTRAINTS, SAMPLERS
from decant.apps.catalog.diffusion import FILLING, UNMASKERS
from decant.apps.catalog.drafters import DRAFTERS
from decant.apps.catalog.images import PAINTERS, PAINTING
from decant.apps.catalog.methods import METHODS as SPEAKING
from decant.apps.catalog.parts import DECODERS as LOOPS
from decant.apps.catalog.parts import POLICIES, VERIFIERS
from decant.apps.catalog.recipes import ALONE, DREAMING, RECIPES
from decant.apps.catalog.rows import (
    DEFAULT_VERIFIER,
    FOLDERS,
    NEEDS_DRAFT,
    NEEDS_HEAD,
    NEEDS_IMAGES,
    NEEDS_LAYERS,
    NEEDS_TREES,
    WIRED,
    Part,
    Recipe,
    Row,
)
from decant.apps.knobs import Kinds, Spec, knobs_of, split, values_of
from decant.errors import UnknownMethod

METHODS: Final = {**SPEAKING, **FILLING, **PAINTING}
DECODERS: Final = {**LOOPS, **PAINTERS}
CHOICES: Final = ("schedule", "cache")
"""Knobs of methods for models that fill in masks, which choose a part."""

__all__ = [
    "ALONE",
    "CACHES",
    "CONSTRAINTS",
    "DECODERS",
    "DEFAULT_VERIFIER",
    "DRAFTERS",
    "DREAMING",
    "FOLDERS",
    "METHODS",
    "NEEDS_DRAFT",
    "NEEDS_HEAD",
    "NEEDS_IMAGES",
    "NEEDS_LAYERS",
    "NEEDS_TREES",
    "POLICIES",
    "RECIPES",
    "SAMPLERS",
    "SCHEDULES",
    "UNMASKERS",
    "VERIFIERS",
    "WIRED",
    "Part",
    "Recipe",
    "check",
    "filling",
    "knobs_for",
    "loop_of",
    "pick",
    "preset",
]


def pick(table: Mapping[str, Row], name: str, role: str) -> Row:
    """The row called `name`, or UnknownMethod with the nearest ones."""
    if name in table:
        return table[name]
    near = get_close_matches(name.replace("_", "-"), table, n=3)
    said = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(table))}"
    raise UnknownMethod(f"no {role} is called {name!r}; {said}")


def knobs_for(recipe: Recipe, policy: str | None = None, spec: Spec | None = None) -> tuple[Kinds, Kinds]:
    """The knobs of a recipe's drafter, and those of the policy that paces it; or those of its decoder, and none.

    Of a method for models that fill in masks: those of its decoder and its parts, of which `spec` may choose others.
    """
    if recipe.fills:
        roles, _ = filling(recipe, spec or Spec(recipe.name, {}))
        kinds: dict[str, Any] = dict.fromkeys(CHOICES, str)
        for made in (loop_of(recipe), *roles.values()):
            kinds |= _knobs(made)
        return kinds, {}
    if recipe.decoder is not None:
        return _knobs(loop_of(recipe)), {}
    if recipe.drafter is None:
        return {}, {}
    drafter = pick(DRAFTERS, recipe.drafter, "drafter").get()
    pace = pick(POLICIES, split(policy or recipe.policy).name, "policy").get()
    return _knobs(drafter), knobs_of(pace)


def filling(recipe: Recipe, spec: Spec) -> tuple[Mapping[str, Any], Spec]:
    """Unmasker, schedule and refresh of a method for models that fill in masks, as far as its decoder takes them, and
    the knobs that choose none."""
    chosen = [spec.knobs.get(knob, getattr(recipe, knob)) for knob in CHOICES]
    taken = {field.name for field in fields(loop_of(recipe))}
    roles = {
        "unmasker": pick(UNMASKERS, str(recipe.unmasker), "unmasker").get(),
        "schedule": pick(SCHEDULES, chosen[0], "schedule").get(),
        "refresh": pick(CACHES, chosen[1], "cache").get(),
    }
    roles = {role: made for role, made in roles.items() if role in taken}
    return roles, Spec(spec.name, {knob: text for knob, text in spec.knobs.items() if knob not in CHOICES})


def loop_of(recipe: Recipe) -> Any:
    """The decoder of a method that has its own."""
    return pick(DECODERS, str(recipe.decoder), "decoder").get()


def preset(recipe: Recipe) -> Spec:
    """What a method's own name sets of its decoder."""
    return split(f"{recipe.name}:{recipe.knobs}" if recipe.knobs else recipe.name)


def _knobs(made: Any) -> Kinds:
    """Those of a drafter or a decoder, the folders that its other fields are read from among them."""
    knobs = knobs_of(made, dict.fromkeys(WIRED))
    names = [one.name for one in fields(made)] if is_dataclass(made) else []
    return knobs | {knob: str for knob, field in FOLDERS.items() if field in names}


def check(specs: Iterable[str], verifier: str | None = None, policy: str | None = None) -> None:
    """Raise for a name or a knob that is in no table, before a model is loaded; a knob imports the part it sets."""
    for table, role, spec in ((VERIFIERS, "verifier", verifier), (POLICIES, "policy", policy)):
        if spec is not None:
            part = pick(table, split(spec).name, role)
            if split(spec).knobs:
                values_of(split(spec), knobs_of(part.get()))
    for spec in specs:
        wanted = split(spec)
        recipe = pick(METHODS, wanted.name, "method")
        if wanted.knobs:
            mine, his = knobs_for(recipe, policy, wanted)
            values_of(wanted.parted(mine, his)[0], mine)
            values_of(wanted.parted(mine, his)[1], his)

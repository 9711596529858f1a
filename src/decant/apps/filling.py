"""From a name to a method for models that fill in masks.

A spec is the method's name, then knobs: `schedule=` and `cache=` choose those parts, every other belongs to the decoder
or to one of its parts: `threshold:tau=0.8:cache=dual:block=16`.
"""

from collections.abc import Mapping
from typing import Any, Final

from decant.apps.catalog import CHOICES, FOLDERS, METHODS, WIRED, Recipe, filling, knobs_for, loop_of
from decant.apps.knobs import Kinds, Spec, build, knobs_of, settled, values_of
from decant.apps.wiring import Wiring, wired
from decant.decoders.method import Method
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded

PLAIN: Final = "low-confidence"
"""What plain decoding is for such models: the surest place of a block, one a step."""


def refuse_strangers(recipe: Recipe, target: Loaded) -> None:
    """Raises IncompatibleParts where method and model are of different kinds."""
    if recipe.paints:
        raise IncompatibleParts(
            f"{recipe.name} makes images, and {target.name} is decoded as text here; take `decant generate "
            f"house:digits-ar --label 7` or `decant bench house:digits-ar --suite images`, or another method"
        )
    if recipe.fills and target.masked is None:
        raise IncompatibleParts(
            f"{recipe.name} is for models that fill in masks, and {target.name} speaks from left to right; take "
            f"house:diffusion, or another method"
        )
    if target.masked is not None and not recipe.fills and recipe.name != "plain":
        raise IncompatibleParts(
            f"{target.name} fills in masks, and {recipe.name} is for models that speak from left to right; take "
            f"threshold, or another method for such models (decant methods)"
        )


def filled(spec: Spec, recipe: Recipe, wiring: Wiring, name: str) -> Method:
    """The method. Raises BadInput for a knob, or for a setting that such models do not know."""
    if wiring.guide is not None or wiring.constrained():
        raise BadInput(
            f"{wiring.host.name} fills in masks, which has no order for guidance, penalties and constraints of texts "
            f"that are said from left to right; leave them out (whole texts follow a grammar with fill_grammar)"
        )
    recipe = recipe if recipe.fills else METHODS[PLAIN]
    roles, rest = filling(recipe, spec)
    rest = _as_read(rest, roles, wiring.masked())
    _refuse_orders(recipe, roles)
    loop = loop_of(recipe)
    values_of(spec, knobs_for(recipe, None, spec)[0])  # before any part is made: a knob of none of them
    parts = {}
    for role, made in roles.items():
        kinds = knobs_of(made, dict.fromkeys(WIRED))
        folders = {knob: text for knob, text in rest.knobs.items() if FOLDERS.get(knob) in wired(made)}
        parts[role] = build(rest.parted(kinds, rest.knobs)[0], made, kinds, wiring.given(made, folders))
    kinds = knobs_of(loop, dict.fromkeys(WIRED))
    decoder = build(rest.parted(kinds, rest.knobs)[0], loop, kinds, wiring.given(loop) | parts)
    # Plain decoding has the default schedule and cache: with others, an exact loop says what plain says with those.
    faithful = getattr(loop, "exact", False) or name.split(":")[0] in {"plain", PLAIN}
    if faithful and {*spec.knobs} <= {*_harmless(loop)}:
        return Method(name, decoder, "tokens")
    knobs: dict[str, Any] = {knob: spec.knobs.get(knob, getattr(recipe, knob)) for knob in CHOICES}
    for part in (decoder, *parts.values()):
        knobs |= settled(part, knobs_of(type(part), dict.fromkeys(WIRED)))
    return Method(name, decoder, None, knobs)


def _as_read(spec: Spec, roles: Mapping[str, Any], masked: Any) -> Spec:
    """Blocks as the model reads them, where a schedule asks and nobody says."""
    block = getattr(getattr(masked, "convention", None), "block", None)
    asks = "schedule" in roles and "block" in knobs_of(roles["schedule"], dict.fromkeys(WIRED))
    return Spec(spec.name, {"block": str(block)}).joined(spec) if block is not None and asks else spec


def _refuse_orders(recipe: Recipe, roles: Mapping[str, Any]) -> None:
    """Raises IncompatibleParts where a cache reads an order of places that the unmasker does not keep."""
    order = getattr(roles.get("refresh"), "order", None)
    if order is not None and order != recipe.unmasker:
        raise IncompatibleParts(
            f"{roles['refresh'].__name__} must know beforehand which place settles next, and {recipe.name} decides by "
            f"what it sees; take {order}:cache=dkv-greedy, or {recipe.name} with cache=dkv-decode"
        )


def _harmless(loop: Any) -> Kinds:
    """Knobs that change nothing of what is said: an exact decoder's own."""
    return knobs_of(loop, dict.fromkeys(WIRED)) if getattr(loop, "exact", False) else {}

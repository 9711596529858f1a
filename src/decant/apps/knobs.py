"""`name:knob=value:knob=value`, checked against the fields of the dataclass that it builds."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from math import inf
from types import NoneType, UnionType
from typing import Any, Literal, Union, final, get_args, get_origin, get_type_hints

from decant.errors import BadInput

Kinds = Mapping[str, Any]
"""Knob -> its type."""

YES = frozenset({"true", "yes", "on", "1"})
NO = frozenset({"false", "no", "off", "0"})


@final
@dataclass(frozen=True, slots=True)
class Spec:
    """A name and the knobs that were set, still as text."""

    name: str
    knobs: Mapping[str, str]

    def parted(self, mine: Kinds, other: Kinds) -> "tuple[Spec, Spec]":
        """What belongs to `mine`, and what only `other` knows; a knob of neither is refused."""
        for knob in self.knobs:
            if knob not in mine and knob not in other:
                raise _unknown(self.name, knob, [*mine, *other])
        kept = {knob: text for knob, text in self.knobs.items() if knob in mine}
        return Spec(self.name, kept), Spec(self.name, {k: t for k, t in self.knobs.items() if k not in kept})

    def joined(self, other: "Spec") -> "Spec":
        """This name; the other's knobs win."""
        return Spec(self.name, {**self.knobs, **other.knobs})


def split(spec: str) -> Spec:
    """Take `name:knob=value:...` apart. Raises BadInput for a knob without a value, or one set twice."""
    name, *settings = re.split(r"(?<!=house):", spec.strip())  # house:NAME is one value
    knobs: dict[str, str] = {}
    for setting in settings:
        knob, equals, text = setting.partition("=")
        knob = knob.strip().replace("-", "_")
        if not equals or not knob or not text.strip():
            raise BadInput(f"{spec!r} holds {setting!r}, which sets nothing; write {name}:knob=value")
        if knob in knobs:
            raise BadInput(f"{spec!r} sets {knob} twice; leave one")
        knobs[knob] = text.strip()
    if not name:
        raise BadInput(f"{spec!r} names nothing; write name or name:knob=value")
    return Spec(name, knobs)


def knobs_of(made: Callable[..., Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The knobs of a dataclass and their types; what is `given` otherwise, or cannot be written as text, is none."""
    if not is_dataclass(made):
        return {}
    hints = get_type_hints(made)
    return {
        field.name: hints[field.name]
        for field in fields(made)
        if field.init and field.name not in (given or {}) and _settable(hints[field.name])
    }


def values_of(spec: Spec, kinds: Kinds) -> dict[str, Any]:
    """The knobs of `spec`, converted. Raises BadInput for one that does not exist or fit."""
    for knob in spec.knobs:
        if knob not in kinds:
            raise _unknown(spec.name, knob, list(kinds))
    return {knob: _convert(text, kinds[knob], f"{spec.name}'s {knob}") for knob, text in spec.knobs.items()}


def build(spec: Spec, made: Callable[..., Any], kinds: Kinds, given: Mapping[str, Any] | None = None) -> Any:
    """Call `made` with the knobs of `spec`. Raises BadInput for one that does not exist or fit."""
    return made(**(given or {}), **values_of(spec, kinds))


def settled(part: Any, kinds: Kinds) -> dict[str, Any]:
    """The knobs of a part that was built, as they stand; JSON-ready, which knows no infinity."""
    found = {knob: getattr(part, knob) for knob in kinds}
    return {knob: str(one) if one in (inf, -inf) else one for knob, one in found.items()}


def _settable(kind: Any) -> bool:
    if get_origin(kind) in (Union, UnionType):
        return all(one is NoneType or _settable(one) for one in get_args(kind))
    return kind in (int, float, bool, str) or get_origin(kind) is Literal


def _unknown(name: str, knob: str, known: list[str]) -> BadInput:
    if not known:
        return BadInput(f"{name} has no knobs, but {knob!r} was set; leave it out")
    near = get_close_matches(knob, known, n=2, cutoff=0.7) or sorted(set(known))
    return BadInput(f"{name} has no knob {knob!r}; did you mean {' or '.join(near)}?")


def _convert(text: str, kind: Any, what: str) -> Any:
    """`text` as a value of `kind`; `what` names it in the error."""
    if get_origin(kind) in (Union, UnionType):
        if NoneType in get_args(kind) and text.lower() == "none":
            return None
        kinds = [one for one in get_args(kind) if one is not NoneType]
        return _convert(text, kinds[0], what)
    if get_origin(kind) is Literal:
        if text in get_args(kind):
            return text
        raise BadInput(f"{what} is one of {', '.join(map(str, get_args(kind)))}, got {text!r}")
    if kind is bool:
        if text.lower() in YES | NO:
            return text.lower() in YES
        raise BadInput(f"{what} is on or off, got {text!r}")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            number = "a whole number" if kind is int else "a number"
            raise BadInput(f"{what} is {number}, got {text!r}") from None
    return text

"""The rows of the tables: what a method, and a part of one, says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeVar, final

DEFAULT_VERIFIER: Final = "coupled"
NEEDS_DRAFT: Final = "a draft model"
NEEDS_TREES: Final = "tree masks"
NEEDS_HEAD: Final = "a trained head"
NEEDS_MASKS: Final = "a model that fills in masks"
NEEDS_IMAGES: Final = "a model of images"
NEEDS_LAYERS: Final = "decant's own forward pass"
WIRED: Final = frozenset({"coupled", "hindsight", "mask", "length"})
"""Fields that look like knobs and are none (`wiring` sets them): how a drafter draws follows from who verifies."""
FOLDERS: Final = {"head": "head", "router": "router", "filter": "filter", "store": "retriever"}
"""Knobs that say which folder a field is read from, which `wiring` fills: what was trained, or the texts to look in."""


@final
@dataclass(frozen=True, slots=True)
class Part:
    """One file of a role.

    home:   `module:Name`, below the package.
    needs:  what it cannot do without, "" for nothing.
    source: authors, year, arXiv id.
    by:     of a recipe: who teaches it, as `home` is written.
    """

    name: str
    summary: str
    home: str
    source: str
    needs: str = ""
    by: str = ""

    def get(self) -> Any:
        """The class, or the function, itself."""
        return _found(self.home)

    def runner(self) -> Any:
        """Who teaches a recipe: `(Asked, Told) -> Outcome` (`apps/teaching.py`)."""
        return _found(self.by)


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """One decoding method: a drafter with the policy and the verifier that suit it, or a decoder of its own.

    drafter:  None decodes plainly, unless there is a decoder.
    policy:   the default, as `--policy` would spell it; "" where nothing is drafted.
    needs:    what it cannot do without: "a draft model", "tree masks", or "".
    verifier: the default, as `--verifier` would spell it.
    decoder:  of methods that are no draft-and-verify loop.
    head:     the kind of trained head, where it is not the drafter's own.
    unmasker: of methods for models that fill in masks; schedule and cache are the defaults, as a knob would spell them.
    knobs:    of methods for models of images: what this name sets of its decoder, "calls=2"; what is asked for wins.
    """

    name: str
    summary: str
    source: str
    drafter: str | None = None
    policy: str = ""
    needs: str = ""
    verifier: str = DEFAULT_VERIFIER
    decoder: str | None = None
    head: str | None = None
    unmasker: str | None = None
    schedule: str = "blocks"
    cache: str = "none"
    knobs: str = ""

    @property
    def fills(self) -> bool:
        """Whether it is for models that fill in masks."""
        return self.unmasker is not None

    @property
    def paints(self) -> bool:
        """Whether it is for models of images alone."""
        return self.needs == NEEDS_IMAGES


def _found(home: str) -> Any:
    module, _, name = home.partition(":")
    return getattr(import_module(f"decant.{module}"), name)


Row = TypeVar("Row", Part, Recipe)


def table(*rows: Row) -> Mapping[str, Row]:
    """The rows by their names."""
    return {row.name: row for row in rows}

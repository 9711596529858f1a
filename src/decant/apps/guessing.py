"""What guessing costs on a machine that nobody has, by who guesses: `tune --simulate`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, final

from safetensors import SafetensorError, safe_open

from decant.apps.catalog import DRAFTERS, NEEDS_DRAFT, NEEDS_HEAD, NEEDS_LAYERS, Recipe
from decant.errors import BadInput, IncompatibleParts
from decant.models.heads.folder import NETS, find, kind_of
from decant.tune.hardware import Hardware
from decant.tune.predict import Drafting
from decant.tune.shape import Shape
from decant.tune.simulate import Load, drafting, head_seconds
from decant.types import CostCurve

EXIT: Final = 1 / 3  # of the layers, which guess before an early exit
ONCE: Final = frozenset({"medusa", "hidden-transfer", "parallel-prompt"})  # all levels at once
OUTPUT: Final = "lm_head.weight"
MAPS: Final = frozenset({"d2t", "t2d"})


@final
@dataclass(frozen=True, slots=True)
class Guesser:
    """Who can guess for a target. heads: folders of trained heads by kind."""

    target: Shape
    draft: Shape | None = None
    heads: Mapping[str, Path] = field(default_factory=dict)
    context: int = 1024

    def drafting(self, recipe: Recipe, machine: Hardware, batch: int, width: float = 1.0) -> Drafting | None:
        """Its cost there, with `width` guesses a level; None where the host looks them up. Raises BadInput or
        IncompatibleParts for what is missing or cannot be told."""
        if recipe.drafter is None:
            raise IncompatibleParts(f"{recipe.name} decodes in a loop of its own, which the cost model does not know")
        if recipe.needs == NEEDS_DRAFT:
            if self.draft is None:
                raise BadInput(f"{recipe.name} needs a draft model and none is named; give one with --draft")
            return drafting(machine, self.draft, [batch], self.context, width)
        if recipe.needs == NEEDS_LAYERS:
            first = replace(self.target, layers=math.ceil(EXIT * self.target.layers))
            return drafting(machine, first, [batch], self.context, width)
        if DRAFTERS[recipe.drafter].needs == NEEDS_HEAD:
            return self._head(recipe, machine, Load(batch, width, self.context))
        return None

    def _head(self, recipe: Recipe, machine: Hardware, load: Load) -> Drafting:
        """A head's weights are read once a level, or once a round where it guesses all levels together."""
        kind = recipe.head or str(recipe.drafter)
        kind = "ppd" if kind == "parallel-prompt" else kind
        if kind not in self.heads:
            raise BadInput(f"{recipe.name} needs a trained head and none of the kind {kind} is named in decant.json")
        seconds = head_seconds(machine, parameters(self.heads[kind], self.target), self.target.dtype, load)
        if recipe.drafter in ONCE:
            return Drafting(once=seconds)
        return Drafting(level=CostCurve((load.batch,), (seconds,)))


def heads_of(model: str, given: str | None = None) -> dict[str, Path]:
    """Folders of trained heads by kind: those that a model's decant.json names, and what was given, if it is one."""
    found = {kind: folder for kind in NETS if (folder := find(model, kind)) is not None}
    folder = None if given is None else Path(given).expanduser()
    kind = None if folder is None else kind_of(folder)
    return found if folder is None or kind is None else {**found, kind: folder}


def parameters(folder: Path, target: Shape) -> int:
    """Weights that a head reads: its own, and the target's output matrix where it has none. Raises BadInput."""
    file = folder / "model.safetensors"
    try:
        with safe_open(file, framework="pt") as weights:
            names = set(weights.keys()) - MAPS
            sizes = {name: math.prod(weights.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{file} cannot be read: {error}; give the folder of a trained head") from error
    return sum(sizes.values()) + (0 if OUTPUT in sizes else target.output_parameters)

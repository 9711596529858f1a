"""What a recipe for models that fill in masks is, and what it is given."""

from dataclasses import dataclass
from typing import Any, Protocol, final

from decant.distill.trainer import Batches, Training
from decant.models.masked.convention import Convention


@final
@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """network: of transformers, in float32. texts: step -> ids_BT, PAD behind, and weights_BT, 0 for what is given.
    micro: rows that are read at once."""

    network: Any
    convention: Convention
    texts: Batches
    micro: int = 16
    seed: int = 0


class FillingRecipe(Protocol):
    """Its fields are the knobs."""

    @property
    def block(self) -> int:
        """Places of a block; 0: the whole answer is one."""
        ...

    def convention(self, network: Any, name: str) -> Convention:
        """How the model reads a canvas; a causal one may be changed so that it can. Raises BadInput or
        IncompatibleParts for a model that this recipe cannot teach."""
        ...

    def training(self, material: Material) -> Training[Any, Any]:
        """What the trainer runs."""
        ...

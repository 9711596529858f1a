"""Checkpoints: what a run is at a step, written so that a kill, a full disk or a lost socket leaves the last one whole.

A checkpoint holds trained weights, optimisers, the step and what the parts remember, as plain tensors: a run goes on
with another number of processes. Weights that are frozen are not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from decant.disk import replacing
from decant.distill.parallel import like, whole
from decant.errors import BadInput

CHECKPOINT: Final = "checkpoint.pt"
BAD_BATCH: Final = "bad-batch.pt"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What moves: the model, and its optimisers."""

    model: nn.Module
    optimisers: Sequence[torch.optim.Optimizer]

    def snapshot(self, step: int, memory: Any) -> dict[str, Any]:
        """Plain tensors. Where the model is spread, all processes call this together."""
        kept = _frozen(self.model)
        weights = {name: whole(value) for name, value in self.model.state_dict().items() if name not in kept}
        return {"model": weights, "optimisers": [_gathered(one) for one in self.optimisers], "step": step} | {
            "memory": memory
        }

    def restore(self, found: dict[str, Any]) -> None:
        """Raises BadInput for another model's checkpoint."""
        try:
            load(self.model, found["model"])
            for optimiser, state in zip(self.optimisers, found["optimisers"], strict=True):
                optimiser.load_state_dict(_spread(state, optimiser))
        except (RuntimeError, ValueError, KeyError) as error:
            raise BadInput(
                f"the checkpoint is of another model or of other settings; give a new folder, or those it began with: "
                f"{error}"
            ) from error


def load(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Weights of a checkpoint into a model, spread or not. Raises KeyError where some are neither here nor frozen."""
    mine = model.state_dict()
    missing = [name for name in mine if name not in weights and name not in _frozen(model)]
    if missing:
        raise KeyError(f"it lacks {', '.join(missing[:3])}")
    model.load_state_dict({name: like(value, mine.get(name)) for name, value in weights.items()}, strict=False)
    if strange := [name for name in weights if name not in mine]:
        raise KeyError(f"it holds {', '.join(strange[:3])}, which the model does not have")


def read(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a run, on the CPU; None: there is none yet. Raises BadInput for a broken file."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its parts raise; the user needs the sentence
        raise BadInput(f"{path} cannot be read: {error}; remove it to begin anew") from error


def write(found: Any, path: Path) -> None:
    """A kill at any moment leaves a whole file. Raises BadInput where it cannot be written; what stood there before is
    whole."""
    with replacing(path) as part, part.open("wb") as file:
        torch.save(found, file)


def keep_bad(pieces: Sequence[Any], step: int, memory: Any, path: Path) -> None:
    """A step's pieces and what the parts remembered, as plain tensors: `torch.load(path)` reads them."""
    write({"step": step, "pieces": [_plain(piece) for piece in pieces], "memory": memory}, path)


def _plain(piece: Any) -> Any:
    if is_dataclass(piece):
        return {field.name: _plain(getattr(piece, field.name)) for field in fields(piece)}
    return piece


def _frozen(model: nn.Module) -> set[str]:
    """Every name of the weights that do not move; a weight may have two."""
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, weight in named if not weight.requires_grad}


def _gathered(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    found = optimiser.state_dict()
    kept = {place: {name: whole(value) for name, value in state.items()} for place, state in found["state"].items()}
    return {**found, "state": kept}


def _spread(found: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Moments lie as their weights do; a counter is one number."""
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    if not any(isinstance(weight, DTensor) for weight in weights):
        return found
    kept = {
        place: {
            name: like(value, weights[place]) if isinstance(value, Tensor) and value.dim() else value
            for name, value in state.items()
        }
        for place, state in found["state"].items()
    }
    return {**found, "state": kept}

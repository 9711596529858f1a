"""Several processes on one training: each reads its share of every step, gradients are summed, one of them writes.

`torchrun` and `accelerate launch` start the processes and say so in the environment; alone, nothing here does
anything. The loss of a step is divided by the weight of all rows of all processes, so the curve is one process's, up to
rounding. A model is copied to every process (DDP), or spread over them (`Settings.shard`, FSDP2): then each layer's
weights are gathered when they are needed.
Source: Li et al. 2020, arXiv:2006.15704 (DDP); Zhao et al. 2023, arXiv:2304.11277 (FSDP).
"""

import atexit
import os
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from decant.errors import BadInput, IncompatibleParts

ALONE: Final = "1"


def device() -> torch.device:
    """Where this process's model belongs: the accelerator of its number, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@final
@dataclass(frozen=True, slots=True)
class Team:
    """Process `rank` of `world`. A world of one needs no network."""

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether checkpoints, metrics and progress are this process's."""
        return self.rank == 0

    def total(self, values_X: Tensor) -> Tensor:
        """values_X summed over the processes, the same in all of them."""
        if self.world > 1:
            values_X = values_X.clone()
            distributed.all_reduce(values_X)
        return values_X

    def agree(self, number: int, where: torch.device) -> bool:
        """Whether all processes have the same number."""
        return self._extreme(number, where) == -self._extreme(-number, where)

    def levelled(self, pieces: Sequence[Any], where: torch.device) -> list[tuple[Any, float]]:
        """The pieces with a factor of one, filled up with a factor of zero to as many as the busiest process has: those
        that spread a model gather its layers together or not at all. Raises BadInput for a process without any."""
        most = self._extreme(len(pieces), where)
        if not pieces:
            raise BadInput(f"process {self.rank} of {self.world} has no rows; give a step at least {self.world} rows")
        return [(piece, 1.0) for piece in pieces] + [(pieces[-1], 0.0)] * (most - len(pieces))

    def _extreme(self, number: int, where: torch.device) -> int:
        found = torch.tensor(number, device=where)
        if self.world > 1:
            distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return int(found)  # sync: the host counts pieces


def join() -> Team:
    """The team that the launcher's environment describes; again: the same one. Raises BadInput where the environment is
    half set."""
    if distributed.is_initialized():
        return Team(distributed.get_rank(), distributed.get_world_size())
    if os.environ.get("WORLD_SIZE", ALONE) == ALONE:
        return Team()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise BadInput(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} and {', '.join(missing)} is not set; start with "
            f"torchrun or accelerate launch, or unset WORLD_SIZE"
        )
    place = device()
    if place.type == "cuda":
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    atexit.register(_leave)  # not before: the launcher's store remembers a group, and a second one would wait for ever
    return Team(distributed.get_rank(), distributed.get_world_size())


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


@final
class Lesson(nn.Module):
    """A training as a module, so that gradients are summed behind its forward."""

    def __init__(self, model: nn.Module, training: Any) -> None:
        super().__init__()
        self.model = model
        self.training_of = (training,)  # in a tuple: what it closes over is no weight of its own

    def forward(self, state: Any, step: int, piece: Any) -> Tensor:
        """Weighted nats, summed; of no piece, zero."""
        if piece is None:
            return sum((weight.sum() * 0.0 for weight in self.parameters()), torch.zeros(()))
        return self.training_of[0].nats(state, step, piece)


def spread(lesson: Lesson, team: Team, shard: bool) -> nn.Module:
    """The lesson as this team runs it; all begin with the first process's weights. Parameters of a sharded one are
    replaced in place, so optimisers come afterwards. Raises IncompatibleParts where a model cannot be sharded."""
    if team.world == 1:
        return lesson
    if not shard:
        with warnings.catch_warnings():  # newer versions call it by another name, older ones do not know that
            warnings.simplefilter("ignore", FutureWarning)
            # A piece may leave weights alone that another process's piece needs; nor do all have as many pieces.
            return DistributedDataParallel(lesson, broadcast_buffers=False, find_unused_parameters=True)
    if getattr(lesson.training_of[0], "speaker", None) is not None:
        raise IncompatibleParts(
            "a student that is spread over processes (shard) cannot write its own texts or be asked between steps: its "
            "layers are gathered for one pass at a time; take a recipe on texts of the data or of the teacher (hinton, "
            "taid, seqkd), or leave shard off"
        )
    weighting = getattr(lesson.training_of[0], "weighting", None)
    if getattr(weighting, "reruns", False):
        raise IncompatibleParts(
            f"{type(weighting).__name__} runs a layer of the student once more, and those of a student that is spread "
            f"over processes (shard) are gathered for its own pass alone; take another weighting, or leave shard off"
        )
    for weight in lesson.parameters():
        distributed.broadcast(weight.detach(), 0)
    layers = {name for part in lesson.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    for part in list(lesson.modules()):
        if type(part).__name__ in layers:
            fully_shard(part)
    fully_shard(lesson)
    return lesson


def unsummed(lesson: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Gradients of all pieces but the last stay here."""
    if isinstance(lesson, DistributedDataParallel) and not last:
        return lesson.no_sync()
    return nullcontext()


def whole(value: Any) -> Any:
    """A tensor that is spread, gathered (all processes call this together); anything else as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, model: Any) -> Tensor:
    """The whole tensor, spread as `model` is."""
    if not isinstance(model, DTensor):
        return value
    return distribute_tensor(value.to(model.device), model.device_mesh, model.placements)

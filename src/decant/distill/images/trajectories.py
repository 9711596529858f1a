"""Noise and the image that a teacher makes of it: what a student that jumps learns from.

Every pair is a label, a seed and ids: the noise is hashed from the seed, so that the same pair can be made again. Pairs
lie in shards, each written whole or not at all: a run that was killed, or one that wants more, goes on behind the last.
Source: Liu et al. 2024, arXiv:2412.17153 (Distilled Decoding 1).
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from decant.disk import replacing, write_text
from decant.errors import BadInput
from decant.images.jumping import flowed
from decant.images.normals import normals
from decant.images.seams import AnyTeacher
from decant.noise import Noise

FACTS: Final = "trajectories.json"
SHARD: Final = 2048  # pairs of a file, and of a pass of the teacher
STREAM: Final = "trajectory"  # another than pictures are made from: no seed of a user's meets a pair
APART: Final = 2**32  # between the seeds of two sets
CHECKED: Final = 64  # pairs that are made again where a run goes on
AGREES: Final = 0.99  # of their codes: another number of rows may tip one in thousands


@final
@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted. teacher: as the user named it. flow: steps of the solver. Raises BadInput for fewer than two
    pairs."""

    teacher: str
    pairs: int
    seed: int = 0
    flow: int = 20

    def __post_init__(self) -> None:
        if self.pairs < 2:
            raise BadInput(f"a student learns from one pair at least and is measured on another, got {self.pairs}")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Trajectories:
    """labels_N, seeds_N, int64; ids_NL, of any integer type. dims: of a code vector."""

    labels_N: Tensor
    seeds_N: Tensor
    ids_NL: Tensor
    dims: int

    def __len__(self) -> int:
        return len(self.labels_N)

    def eps(self) -> Tensor:
        """eps_NLC: the noise of each."""
        return normals(Noise(self.seeds_N, torch.zeros_like(self.seeds_N)), self.ids_NL.shape[1], self.dims, STREAM)

    def select(self, rows_R: Tensor) -> "Trajectories":
        """Some of them."""
        return Trajectories(self.labels_N[rows_R], self.seeds_N[rows_R], self.ids_NL[rows_R], self.dims)

    def to(self, device: torch.device | str) -> "Trajectories":
        """The same pairs there."""
        return Trajectories(self.labels_N.to(device), self.seeds_N.to(device), self.ids_NL.to(device), self.dims)


def made(teacher: AnyTeacher, labels_N: Tensor, seeds_N: Tensor, flow: int) -> Trajectories:
    """The image of each seed."""
    empty_NL = torch.empty(len(labels_N), teacher.layout.places, device=labels_N.device)
    pairs = Trajectories(labels_N, seeds_N, empty_NL, teacher.codes_VC.shape[1])
    return Trajectories(labels_N, seeds_N, flowed(teacher, labels_N, pairs.eps(), flow), pairs.dims)


def write(
    teacher: AnyTeacher, order: Order, folder: Path, told: Callable[[int, int], None] = lambda done, total: None
) -> Trajectories:
    """All pairs, those of an earlier run among them; labels by turns. told(pairs there, pairs wanted).

    Raises BadInput where the folder holds pairs of another order, or of a teacher that is another by now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _same(order, folder)
    device = teacher.codes_VC.device
    shards: list[Trajectories] = []
    for first in range(0, order.pairs, SHARD):
        number_N = torch.arange(first, min(order.pairs, first + SHARD), device=device)
        labels_N, seeds_N = number_N % teacher.classes, order.seed * APART + number_N
        path = folder / f"{first // SHARD:06d}.safetensors"
        shard = _read(path, teacher.codes_VC.shape[1]).to(device) if path.exists() else None
        if shard is not None and first == 0:
            _refuse_stranger(teacher, shard, order, folder)
        if shard is None or len(shard) < len(number_N):  # the last one of a run that wanted fewer is cut short
            shard = made(teacher, labels_N, seeds_N, order.flow)
            _put(shard, path, len(teacher.codes_VC))
        shards.append(shard.select(number_N - first))
        told(int(number_N[-1]) + 1, order.pairs)  # sync: progress is told on the host
    labels_N, seeds_N = (torch.cat([getattr(shard, name) for shard in shards]) for name in ("labels_N", "seeds_N"))
    return Trajectories(labels_N, seeds_N, torch.cat([shard.ids_NL for shard in shards]), shards[0].dims)


def _same(order: Order, folder: Path) -> None:
    """Note what the folder is for. Raises BadInput where it is for something else."""
    file, said = folder / FACTS, asdict(order)
    del said["pairs"]
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if before != said:
            raise BadInput(f"{folder} holds trajectories of {before}, not of {said}; give a new folder")
        return
    write_text(file, json.dumps(said) + "\n")


def _refuse_stranger(teacher: AnyTeacher, shard: Trajectories, order: Order, folder: Path) -> None:
    """A teacher that was trained on since makes other images of the same noise."""
    few = shard.select(torch.arange(min(CHECKED, len(shard)), device=shard.labels_N.device))
    again = made(teacher, few.labels_N, few.seeds_N, order.flow)
    agree = float((again.ids_NL == few.ids_NL).float().mean())  # sync: a run may have to stop
    if agree < AGREES:
        raise BadInput(
            f"{folder} holds trajectories of another {order.teacher}: of {len(few)} that were made again, {agree:.0%} "
            f"of the codes are the same; give a new folder"
        )


def _put(shard: Trajectories, path: Path, codes: int) -> None:
    narrow = torch.uint8 if codes <= 256 else torch.int32
    tensors = {"labels": shard.labels_N, "seeds": shard.seeds_N, "ids": shard.ids_NL.to(narrow)}
    with replacing(path) as part:
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, part)


def _read(path: Path, dims: int) -> Trajectories:
    try:
        parts = load_file(path)
        return Trajectories(parts["labels"], parts["seeds"], parts["ids"].long(), dims)
    except (OSError, SafetensorError, KeyError) as error:
        raise BadInput(f"{path} cannot be read: {error}; remove it, it is then made again") from error

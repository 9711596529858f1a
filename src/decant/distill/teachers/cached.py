"""Cached: what a teacher said of a data set, read from disk; the teacher itself is not needed any more.

Its best ids and all others together, so that forward KL is a lower bound of the whole one and equal to it where the
student spreads the rest as the teacher does. `distill/caching.py` writes the folder and tells its size beforehand.
Source: Arcee 2024, github.com/arcee-ai/DistillKit (best ids offline, a bucket for the others).
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import torch

from decant.distill.seams import Coarse
from decant.distill.shards import NARROW, Facts, Parts, Shard, checks, place
from decant.distill.texts import Positions, TextBatch
from decant.errors import BadInput


@final
@dataclass(frozen=True, eq=False)
class Cached:
    """folder: a finished cache. tokenizer: the student's, as `caching.tokenizer_hash` tells it.

    temperature: at which the student is taught; the cache was made at the same.
    Texts are found by their numbers, and every row is held against the ids that it follows.
    Raises BadInput for another tokenizer, another temperature, a cache that is not finished or is damaged.
    """

    folder: Path
    tokenizer: str
    temperature: float = 1.0

    gives: ClassVar[frozenset[str]] = frozenset({"law"})

    def __post_init__(self) -> None:
        facts = self.facts
        if facts.tokenizer != self.tokenizer:
            raise BadInput(
                f"{self.folder} holds ids of the tokenizer {facts.tokenizer}, and the student's is {self.tokenizer}; "
                f"write a cache with the student's tokenizer"
            )
        if facts.temperature != self.temperature:
            raise BadInput(
                f"{self.folder} was made at temperature {facts.temperature:g}, not {self.temperature:g}; train at "
                f"{facts.temperature:g}, or write a cache at {self.temperature:g}"
            )
        done = sum(place(self.folder, shard).exists() for shard in range(facts.shards))
        if done < facts.shards:
            raise BadInput(
                f"{self.folder} has {done} of {facts.shards} shards; write the cache again, it goes on where it ended"
            )

    @cached_property
    def facts(self) -> Facts:
        """What the cache says of itself."""
        return Facts.read(self.folder)

    def signal(self, batch: TextBatch, at: Positions) -> Coarse:
        """The rows of these positions, in memory. Raises BadInput for a text or a position that is not there."""
        numbers, rows = batch.numbers_B.tolist(), at.row_N.cpu().numpy()  # sync: the cache lies on the host
        ids_BT, places = batch.ids_BT.cpu().numpy(), at.at_N.cpu().numpy()
        found = [
            self._rows(number, places[rows == row], ids_BT[row].tolist())
            for row, number in enumerate(numbers)
            if (rows == row).any()
        ]
        each = [torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True)]
        ids_NK, logp_NK, rest_N = (part.to(batch.ids_BT.device) for part in each)
        return Coarse(ids_NK, logp_NK, rest_N, self.facts.vocab, self.facts.temperature)

    @cached_property
    def _shelves(self) -> dict[int, tuple[Shard, int, int]]:
        """Number of a text -> its shard and rows."""
        found: dict[int, tuple[Shard, int, int]] = {}
        for index in range(self.facts.shards):
            shard = Shard(place(self.folder, index))
            first = 0
            for number, stop in zip(*(shard.mapped[name].tolist() for name in ("number_S", "stop_S")), strict=True):
                found[number] = (shard, first, stop)
                first = stop
        return found

    def _rows(self, number: int, at_R: np.ndarray, ids: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """ids_RK, logp_RK, rest_R at the positions `at_R` of a text."""
        if number not in self._shelves:
            what = "a text that was written just now" if number < 0 else f"text {number}"
            raise BadInput(
                f"{self.folder} does not know {what}; it holds the {self.facts.texts} texts it was made of: train on "
                f"those, write a cache of these, or take a live or a remote teacher"
            )
        shard, first, stop = self._shelves[number]
        parts = shard.sound
        stored_R = parts["at_R"][first:stop].astype(np.int64)
        there_R = np.searchsorted(stored_R, at_R)
        missing = at_R[(there_R == len(stored_R)) | (stored_R[there_R.clip(max=len(stored_R) - 1)] != at_R)]
        if len(missing):
            raise BadInput(
                f"{self.folder} has no row at position {missing[0]} of text {number}, which ends behind position "
                f"{stored_R[-1]} or did not count there; write the cache with the weights and --length of this training"
            )
        there_R = there_R + first
        if (parts["check_R"][there_R] != checks(ids)[at_R]).any():
            raise BadInput(
                f"text {number} has other ids than when {self.folder} was written; train on the texts it was made "
                f"of, or write it anew"
            )
        logp_RK, rest_R = (parts[name][there_R].astype(np.float32) for name in ("logp_RK", "rest_R"))
        return _ids(parts, there_R), logp_RK, rest_R


def _ids(parts: Parts, there_R: np.ndarray) -> np.ndarray:
    low_RK = parts["low_RK"][there_R].astype(np.int64)
    return low_RK + NARROW * parts["high_RK"][there_R].astype(np.int64) if "high_RK" in parts else low_RK

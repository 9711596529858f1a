"""Who writes answers while training goes on: the student as it is now, alone or mixed with its teacher.

All answers of a step are written side by side (`models/fast/flock.py`), with counted noise: one number decides one
token, so that a seed writes the same answer in any company, up to the rounding of the products. They are written
plainly: the answers of a step share each pass, and a draft would have to be smaller than the student and follow it as
it changes. What a teacher answers beforehand is drafted, by the student (`apps/work.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, final, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.distill.seams import Speaker
from decant.errors import BadInput, IncompatibleParts
from decant.models.current import Body, Voice, at_rest, begin, current, ends, positions
from decant.noise import Noise
from decant.protocols import Warp

STREAM: Final = "rollout"
SHRINK: Final = 0.75  # of the texts that are written, the share below which the ended ones are put away
BLOCK: Final = 64  # ids: of a vocabulary of 4,096, as many blocks
LOOK: Final = 16  # tokens between two looks at an accelerator: has everything ended?


@runtime_checkable
class Mixes(Protocol):
    """A speaker that can let a teacher have its say."""

    def mixed(self, share: float) -> Speaker:
        """Token by token from share * p + (1 - share) * q. Raises IncompatibleParts where it knows no teacher."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Speaking:
    """A `seams.Speaker`.

    network: the student, as transformers has it; its mode and its weights stay as they are.
    ends:    ids that end an answer. warp: what a sampler does to logits; None: plain sampling.
    dtype:   of a rounded copy of the weights, which is faster on machines that multiply bfloat16; None: their own.
    batch:   answers that are written side by side, at most.
    teacher, share: whose say, and how much, in every token's law; see `mixed`.
    """

    network: Any
    ends: frozenset[int]
    warp: Warp | None = None
    dtype: torch.dtype | None = None
    batch: int = 256
    teacher: Body | None = None
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.batch < 1 or not 0 <= self.share <= 1:
            raise BadInput(f"batch is 1 or more and share lies in [0, 1], got {self.batch} and {self.share}")

    @classmethod
    def of(cls, network: Any, warp: Warp | None = None, teacher: Any = None) -> "Speaking":
        """With the ends that the network's folder names. teacher: a frozen network; what it packs lies in memory once
        more."""
        with at_rest(network):
            return cls(network, ends(network), warp, teacher=None if teacher is None else current(teacher))

    def mixed(self, share: float) -> "Speaking":
        """Token by token from share * p + (1 - share) * q; log-probabilities are of that mixture."""
        if self.teacher is None:
            raise IncompatibleParts("answers that a teacher mixes in need one in memory: give Speaking.of a teacher")
        return replace(self, share=share)

    def write(self, prompts: list[list[int]], seeds: list[int], limit: int) -> list[tuple[list[int], list[float]]]:
        """Of each prompt the answer's ids, its end included, and each id's log-probability before any warp.

        An answer has at most `limit` ids, and no more than the context holds. Raises BadInput for a prompt that is
        empty or fills the context.
        """
        found: list[tuple[list[int], list[float]]] = []
        if limit < 1 or len(prompts) != len(seeds):
            raise BadInput(
                f"{len(prompts)} prompts need as many seeds, got {len(seeds)}; limit {limit} must be above 0"
            )
        with at_rest(self.network), torch.inference_mode():
            bodies = [current(self.network, self.dtype)]  # once a rollout
            if self.teacher is not None and self.share:
                bodies.append(self.teacher)
            for first in range(0, len(prompts), self.batch):
                part = slice(first, first + self.batch)
                found += self._written(bodies, prompts[part], seeds[part], limit)
        return found

    def _written(
        self, bodies: list[Body], prompts: list[list[int]], seeds: list[int], limit: int
    ) -> list[tuple[list[int], list[float]]]:
        """One batch of answers."""
        device, most = self.network.device, positions(self.network)
        rooms = [min(limit, most - len(prompt)) for prompt in prompts]
        voices = [begin(body, prompts, max(*rooms, 1)) for body in bodies]
        length = max(rooms)
        u_BC = Noise.of(seeds, device).uniform(torch.arange(length, device=device).expand(len(seeds), -1), STREAM)
        ids_BC = torch.zeros(len(seeds), length, dtype=torch.int64, device=device)
        logp_BC = torch.zeros(len(seeds), length, device=device)
        ends_E = torch.tensor(sorted(self.ends), dtype=torch.int64, device=device)
        room_B = torch.tensor(rooms, device=device)
        row_R = torch.arange(len(seeds), device=device)
        going_R = torch.ones_like(row_R, dtype=torch.bool)
        look = 1 if device.type == "cpu" else LOOK
        for at in range(length):
            logp_RV = self._logp(voices)
            ids_R = _drawn(logp_RV if self.warp is None else self.warp(logp_RV).log_softmax(-1), u_BC[row_R, at])
            ids_BC[row_R, at] = ids_R
            logp_BC[row_R, at] = logp_RV.gather(-1, ids_R[:, None])[:, 0]
            going_R = going_R & ~torch.isin(ids_R, ends_E) & (at + 1 < room_B[row_R])
            if at % look == look - 1:
                left = int(going_R.sum())  # sync: texts that have ended need no more passes
                if not left:
                    break
                if left <= SHRINK * len(row_R):
                    keep_R = going_R.nonzero()[:, 0]
                    row_R, ids_R, going_R = row_R[keep_R], ids_R[keep_R], going_R[keep_R]
                    for voice in voices:
                        voice.keep(keep_R)
            if at + 1 < length:
                for voice in voices:
                    voice.say(ids_R)
        return self._cut(ids_BC, logp_BC, rooms)

    def _logp(self, voices: Sequence[Voice]) -> Tensor:
        """logp_RV of the next token, before any warp."""
        q_RV = voices[0].logits_BV.float().log_softmax(-1)
        if len(voices) == 1:
            return q_RV
        size = min(q_RV.shape[-1], voices[1].logits_BV.shape[-1])
        p_RV = torch.full_like(q_RV, -torch.inf)
        p_RV[:, :size] = voices[1].logits_BV[:, :size].float().log_softmax(-1)
        share = torch.tensor([self.share, 1 - self.share], device=q_RV.device).log()
        return torch.logaddexp(share[0] + p_RV, share[1] + q_RV)

    def _cut(self, ids_BC: Tensor, logp_BC: Tensor, rooms: list[int]) -> list[tuple[list[int], list[float]]]:
        """Each answer as far as its first end, or its room."""
        found = []
        for ids, logp, room in zip(ids_BC.tolist(), logp_BC.tolist(), rooms, strict=True):  # sync: texts are lists
            stop = next((at + 1 for at, token in enumerate(ids[:room]) if token in self.ends), room)
            found.append((ids[:stop], logp[:stop]))
        return found


def _drawn(logp_RV: Tensor, u_R: Tensor) -> Tensor:
    """ids_R: the id in whose stretch of [0, 1) each row's number falls; never one of probability 0.

    First the block of ids, then the id in it: sums over the whole vocabulary are a block's, and none is a running one.
    """
    wide_RV = pad(logp_RV, (0, -logp_RV.shape[-1] % BLOCK), value=-torch.inf).exp()
    probs_RKW = wide_RV.unflatten(-1, (-1, BLOCK))
    mass_RK = probs_RKW.sum(-1, dtype=torch.float64).cumsum(-1)
    aim_R1 = _below(u_R[:, None] * mass_RK[:, -1:], mass_RK)
    block_R1 = torch.searchsorted(mass_RK, aim_R1, right=True)
    before_R1 = pad(mass_RK, (1, 0)).gather(-1, block_R1)
    inside_RW = probs_RKW[torch.arange(len(u_R), device=u_R.device), block_R1[:, 0]].cumsum(-1, dtype=torch.float64)
    return (block_R1 * BLOCK + torch.searchsorted(inside_RW, _below(aim_R1 - before_R1, inside_RW), right=True))[:, 0]


def _below(aim_R1: Tensor, mass_RX: Tensor) -> Tensor:
    """Less than the whole mass, to which rounding may lift it: behind its end there is nothing."""
    return torch.minimum(aim_R1, torch.nextafter(mass_RX[:, -1:], mass_RX.new_zeros(())))

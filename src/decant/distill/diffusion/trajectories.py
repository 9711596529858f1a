"""How a model comes to its answers, and how fast it could: what it was sure of at each pass, and what was right.

The oracle settles whatever is right as soon as it is, and so needs fewer passes for the same answer.
Source: Bao et al. 2025, arXiv:2509.25188 (Learn2PD).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Fresh, MaskedLM
from decant.noise import Noise
from decant.schedules.blocks import Blocks
from decant.types import PAD
from decant.unmaskers.learn2pd import windows


@final
@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """A row is a pass over a block. sure_NW: as `learn2pd.windows` lays it out. right_NW: whether the guess is the
    answer's. asked_NW: open places; the others count for nothing."""

    sure_NW: Tensor
    right_NW: Tensor
    asked_NW: Tensor

    def __len__(self) -> int:
        return len(self.sure_NW)

    @classmethod
    def joined(cls, parts: Sequence["Examples"]) -> "Examples":
        """One after the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """canvas_BL: where the oracle ended. passes_B: how many it took."""

    examples: Examples
    canvas_BL: Tensor
    passes_B: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Trajectories:
    """reference: a place a step, greedily, in blocks of `block` places. batch: prompts that are answered together.
    told: is called with (prompts done, all prompts)."""

    reference: MaskedDiffusion[Any]
    block: int
    batch: int = 8
    device: torch.device | str = "cpu"
    told: Callable[[int, int], None] = lambda done, total: None

    def of(self, prompts: Sequence[list[int]]) -> tuple[Examples, int, int]:
        """Examples of all prompts, and passes: the reference's and the oracle's, summed over prompts."""
        parts, needed, plain = [], 0, 0
        for first in range(0, len(prompts), self.batch):
            some = [*prompts[first : first + self.batch]]
            prompt_BT = right_pad(some, self.device)
            answer_BL = self.answers(prompt_BT)
            found = replay(self.reference.masked, prompt_BT, answer_BL, self.block)
            parts.append(found.examples)
            needed += int(found.passes_B.sum())  # sync: a measurement
            plain += int((answer_BL != PAD).sum())  # sync: a measurement
            self.told(first + len(some), len(prompts))
        return Examples.joined(parts), plain, needed

    @torch.inference_mode()
    def answers(self, prompt_BT: Tensor) -> Tensor:
        """Whole canvases, end tokens and what stands behind them included."""
        mask = self.reference.masked.mask
        state = self.reference.start(prompt_BT, Noise.of([0] * len(prompt_BT), self.device))
        while bool((state.canvas_BL == mask).any()):  # sync: until nothing is open
            state, _ = self.reference.step(state)
        return state.canvas_BL


@torch.inference_mode()
def replay(masked: MaskedLM[Any], prompt_BT: Tensor, answer_BL: Tensor, block: int) -> Replayed:
    """The oracle, block after block: a pass settles all that is right; where nothing is, the block is filled in, for no
    later pass over it would say anything else."""
    schedule, rows = Blocks(masked.mask, block), []
    canvas_BL = answer_BL.where(answer_BL == PAD, masked.mask)
    passes_B = torch.zeros_like(answer_BL[:, 0])
    state = masked.start(prompt_BT, canvas_BL)
    while bool((canvas_BL == masked.mask).any()):  # sync: until nothing is open
        asked_BL = schedule.scope(None, canvas_BL).wanted_BL
        state, logits_NV = masked.predict(state, canvas_BL, Fresh.whole(canvas_BL), asked_BL)
        best_N = logits_NV.softmax(-1).max(-1)
        right_BL = torch.zeros_like(asked_BL).masked_scatter(asked_BL, best_N.indices == answer_BL[asked_BL])
        sure_BL = torch.zeros_like(answer_BL, dtype=torch.float32).masked_scatter(asked_BL, best_N.values)
        rows.append(_examples(canvas_BL, sure_BL, right_BL, asked_BL, (masked.mask, block)))
        stuck_B1 = ~right_BL.any(-1, keepdim=True)
        canvas_BL = answer_BL.where(right_BL | (asked_BL & stuck_B1), canvas_BL)
        passes_B = passes_B + asked_BL.any(-1)
    return Replayed(Examples.joined(rows), canvas_BL, passes_B)


def _examples(
    canvas_BL: Tensor, sure_BL: Tensor, right_BL: Tensor, asked_BL: Tensor, masks: tuple[int, int]
) -> Examples:
    """Of the blocks that were asked about. masks: the id of an open place, and how many places a block has."""
    mask, block = masks
    sure_BGW = windows(canvas_BL, sure_BL, mask, block)
    right_BGW, asked_BGW = (
        pad(part_BL, (0, -part_BL.shape[1] % block)).view(sure_BGW.shape) for part_BL in (right_BL, asked_BL)
    )
    active_BG = asked_BGW.any(-1)
    return Examples(sure_BGW[active_BG], right_BGW[active_BG], asked_BGW[active_BG])

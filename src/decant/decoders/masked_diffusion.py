"""Fill in a canvas: predict every open place, settle some, again.

Who settles (`Unmasker`), which may (`Schedule`) and what is computed anew (`Refresh`) are parts; what every composition
must keep is checked here: given places stay, open ones alone settle, and every step settles something.
Source: Nie et al. 2025, arXiv:2502.09992 (LLaDA); Sahoo et al. 2024, arXiv:2406.07524 (MDLM).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.permitted import admit, permitted
from decant.diffusion import MaskedLM, Outlook, Permits, Refresh, Reveal, Schedule, Turn, Unmasker, surest
from decant.noise import Noise
from decant.protocols import Warp
from decant.types import PAD, Step

C = TypeVar("C")  # what the model stored


@final
@dataclass(frozen=True, slots=True, eq=False)
class MaskedDiffusionState(Generic[C]):
    """canvas_BL: as it stands. given_BL: places that were never open. told_BL: places that a step has named."""

    context: C
    canvas_BL: Tensor
    given_BL: Tensor
    told_BL: Tensor
    unmasking: Any
    schedule: Any
    refresh: Any
    noise: Noise


@final
@dataclass(frozen=True, slots=True)
class MaskedDiffusion(Generic[C]):
    """length: places of an answer where the prompt holds no mask of its own. permits: the language of the answers."""

    masked: MaskedLM[C]
    unmasker: Unmasker[Any]
    schedule: Schedule[Any]
    refresh: Refresh[Any]
    warp: Warp
    length: int = 128
    permits: Permits | None = None

    def start(self, prompt_BT: Tensor, noise: Noise) -> MaskedDiffusionState[C]:
        """The answer begins at a prompt's first mask: what stands behind it is given, the masks are open.

        Raises BadInput for a canvas that can become no text of the language."""
        prompt_BT, canvas_BL = parted(prompt_BT, self.masked.mask, self.length)
        if self.permits is not None:
            admit(self.permits, canvas_BL)
        return MaskedDiffusionState(
            context=self.masked.start(prompt_BT, canvas_BL),
            canvas_BL=canvas_BL,
            given_BL=canvas_BL != self.masked.mask,
            told_BL=torch.zeros_like(canvas_BL, dtype=torch.bool),
            unmasking=self.unmasker.start(canvas_BL, noise),
            schedule=self.schedule.start(canvas_BL),
            refresh=self.refresh.start(canvas_BL, noise),
            noise=noise,
        )

    def step(self, state: MaskedDiffusionState[C]) -> tuple[MaskedDiffusionState[C], Step]:
        """One pass; what it settled."""
        scope = self.schedule.scope(state.schedule, state.canvas_BL)
        if self.unmasker.foresight:
            scope = replace(scope, wanted_BL=state.canvas_BL == self.masked.mask)
        fresh, refresh = self.refresh.fresh(state.refresh, state.canvas_BL, scope)
        if fresh.asked_BL is not None:
            scope = replace(scope, wanted_BL=scope.wanted_BL & fresh.asked_BL)
        context, logits_NV = self.masked.predict(state.context, state.canvas_BL, fresh, scope.wanted_BL)
        row_N, place_N = scope.wanted_BL.nonzero(as_tuple=True)  # sync: a pass has as many rows as were asked for
        seen = Outlook(state.canvas_BL, row_N, place_N, logits_NV, self.warp, state.noise)
        turn, schedule = self.schedule.turn(state.schedule, scope, seen)
        if fresh.asked_BL is not None:
            turn = replace(turn, eligible_BL=turn.eligible_BL & seen.asked_BL)
        seen = seen if turn.trust_N is None else replace(seen, trust_N=turn.trust_N)
        reveal, unmasking = self.unmasker.reveal(state.unmasking, seen, turn)
        reveal = progressing(reveal, seen, turn)
        if self.permits is not None:
            reveal = permitted(self.permits, reveal, seen, state.given_BL, self.masked.mask)
        canvas_BL = apply(reveal, seen, self.masked.mask, state.given_BL)
        step, told_BL = named(canvas_BL, state.told_BL, self.masked.mask, self.unmasker.takes_back)
        after = (context, canvas_BL, state.given_BL, told_BL, unmasking, schedule, refresh, state.noise)
        return MaskedDiffusionState(*after), step

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """What the model stores."""
        return self.masked.cache_bytes(tokens)


def parted(prompt_BT: Tensor, mask: int, length: int) -> tuple[Tensor, Tensor]:
    """prompt_BT up to the first mask, canvas_BL from there on; without a mask, `length` open places stand behind."""
    rows = [[token for token in row if token != PAD] for row in prompt_BT.tolist()]  # sync: once a request
    rows = [row if mask in row else row + [mask] * length for row in rows]
    firsts = [row.index(mask) for row in rows]

    def laid(parts: list[list[int]]) -> Tensor:
        width = max(map(len, parts))
        return torch.tensor([part + [PAD] * (width - len(part)) for part in parts], device=prompt_BT.device).view(
            len(parts), width
        )

    prompts = [row[:first] for row, first in zip(rows, firsts, strict=True)]
    return laid(prompts).long(), laid([row[first:] for row, first in zip(rows, firsts, strict=True)])


def progressing(reveal: Reveal, seen: Outlook, turn: Turn) -> Reveal:
    """With the surest eligible place of every request that has some, where nothing was chosen."""
    chosen_BL = reveal.settled_BL
    stuck_B = ~chosen_BL.any(-1) & turn.eligible_BL.any(-1)
    if reveal.again_BL is not None:
        stuck_B = stuck_B & ~reveal.again_BL.any(-1)
    first_BL = surest(seen.confidence_BL, turn.eligible_BL, 1) & stuck_B[:, None]
    return Reveal(seen.guess_BL.where(first_BL, reveal.tokens_BL), chosen_BL | first_BL, reveal.again_BL)


def apply(reveal: Reveal, seen: Outlook, mask: int, given_BL: Tensor) -> Tensor:
    """The canvas after it: open places alone settle, and given ones never open."""
    canvas_BL = seen.canvas_BL
    after_BL = reveal.tokens_BL.where(reveal.settled_BL & (canvas_BL == mask), canvas_BL)
    return after_BL if reveal.again_BL is None else after_BL.masked_fill(reveal.again_BL & ~given_BL, mask)


def named(canvas_BL: Tensor, told_BL: Tensor, mask: int, late: bool) -> tuple[Step, Tensor]:
    """What became final, as a step; late: nothing is, while a place of the request is open."""
    final_BL = (canvas_BL != mask) & (canvas_BL != PAD)
    if late:
        final_BL = final_BL & ~(canvas_BL == mask).any(-1, keepdim=True)
    new_BL = final_BL & ~told_BL
    width = max(1, int(new_BL.sum(-1).max()))  # sync: a step is as wide as it settled most
    order_BC = new_BL.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :width]
    there_BC = new_BL.gather(1, order_BC)
    step = Step(
        tokens_BC=canvas_BL.gather(1, order_BC).where(there_BC, PAD),
        positions_BC=order_BC.where(there_BC, PAD),
        drafted_BC=torch.zeros_like(there_BC),
    )
    return step, told_BL | new_BL

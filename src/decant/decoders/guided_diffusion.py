"""The masked model drafts every open place of a block; a small model, which speaks from left to right, reads the drafts
and says how many of them, from the left, it would have said too. Those settle, and one at least.

Lossy against both models: what settles is the masked model's, in the small model's order, with a context on the right
that is still open. At temperature zero this is the published method; elsewhere both models draw with the same numbers.
The published relaxed rule is `relaxed=0.5`. Stopping at an end token is the crank's.
Source: Hu et al. 2025, arXiv:2505.21467 (FlashDLM, Guided Diffusion).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.masked_diffusion import apply, named, parted
from decant.diffusion import MaskedLM, Outlook, Refresh, Reveal, Schedule
from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import take
from decant.protocols import LanguageModel, Warp
from decant.types import PAD, Draft, Step, Verdict

C = TypeVar("C")  # what the masked model stored
S = TypeVar("S")  # the small model's context


@final
@dataclass(frozen=True, slots=True, eq=False)
class GuidedDiffusionState(Generic[C, S]):
    """Of the masked model as in `MaskedDiffusionState`.

    reading: the small model's context: the prompt, and the answer up to its first open place. asked_B: passes of the
    small model so far, which no step counts.
    """

    context: C
    reading: S
    canvas_BL: Tensor
    given_BL: Tensor
    told_BL: Tensor
    schedule: Any
    refresh: Any
    noise: Noise
    asked_B: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """What the small model read of the drafts.

    sent_BN: the chain behind the first open place, as far as it read, PAD behind. kept_B: how much of it stands.
    passes_B: how many there were.
    """

    sent_BN: Tensor
    kept_B: Tensor
    passes_B: Tensor


@final
@dataclass(frozen=True, slots=True)
class GuidedDiffusion(Generic[C, S]):
    """chunk: places that the small model reads in one pass; it goes on while it agrees.

    relaxed: None keeps a draft that the small model would have said; a number keeps one of its two likeliest tokens, if
        it is at least so many times as likely as the likeliest, before any warp.
    length:  places of an answer where the prompt holds no mask of its own.
    """

    masked: MaskedLM[C]
    small: LanguageModel[S]
    schedule: Schedule[Any]
    refresh: Refresh[Any]
    warp: Warp
    chunk: int = 32
    relaxed: float | None = None
    length: int = 128

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.chunk < 1 or not (self.relaxed is None or 0 <= self.relaxed <= 1):
            raise BadInput(
                f"guided-diffusion needs a chunk of at least 1 place and relaxed in [0, 1] or none, got chunk "
                f"{self.chunk}, relaxed {self.relaxed}"
            )

    def start(self, prompt_BT: Tensor, noise: Noise) -> GuidedDiffusionState[C, S]:
        """Both models read the prompt. The small one raises BadInput for an empty one."""
        prompt_BT, canvas_BL = parted(prompt_BT, self.masked.mask, self.length)
        return GuidedDiffusionState(
            context=self.masked.start(prompt_BT, canvas_BL),
            reading=self.small.start(prompt_BT)[0],
            canvas_BL=canvas_BL,
            given_BL=canvas_BL != self.masked.mask,
            told_BL=torch.zeros_like(canvas_BL, dtype=torch.bool),
            schedule=self.schedule.start(canvas_BL),
            refresh=self.refresh.start(canvas_BL, noise),
            noise=noise,
            asked_B=torch.zeros_like(canvas_BL[:, 0]),
        )

    def step(self, state: GuidedDiffusionState[C, S]) -> tuple[GuidedDiffusionState[C, S], Step]:
        """One pass of the masked model; the small one reads as long as it agrees."""
        mask = self.masked.mask
        scope = self.schedule.scope(state.schedule, state.canvas_BL)
        fresh, refresh = self.refresh.fresh(state.refresh, state.canvas_BL, scope)
        context, logits_NV = self.masked.predict(state.context, state.canvas_BL, fresh, scope.wanted_BL)
        row_N, place_N = scope.wanted_BL.nonzero(as_tuple=True)  # sync: a pass has as many rows as were asked for
        seen = Outlook(state.canvas_BL, row_N, place_N, logits_NV, self.warp, state.noise)
        turn, schedule = self.schedule.turn(state.schedule, scope, seen)
        first_B = firsts(state.canvas_BL, mask)
        read = self._read(state, self._chain(seen, turn.eligible_BL, first_B), first_B)
        places_L = torch.arange(state.canvas_BL.shape[1], device=first_B.device)
        kept_BL = turn.eligible_BL & (places_L < (first_B + read.kept_B)[:, None])
        leftmost_BL = turn.eligible_BL & (turn.eligible_BL.cumsum(-1) == 1)
        settled_BL = kept_BL | (leftmost_BL & ~kept_BL.any(-1, keepdim=True))
        canvas_BL = apply(Reveal(seen.guess_BL, settled_BL), seen, mask, state.given_BL)
        step, told_BL = named(canvas_BL, state.told_BL, mask, late=False)
        reading = self.small.commit(state.reading, grown(canvas_BL, first_B, firsts(canvas_BL, mask), read.sent_BN))
        asked_B = state.asked_B + read.passes_B
        after = (context, reading, canvas_BL, state.given_BL, told_BL, schedule, refresh, state.noise, asked_B)
        return GuidedDiffusionState(*after), step

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Both models'."""
        return self.masked.cache_bytes(tokens) + self.small.cache_bytes(tokens)

    def _chain(self, seen: Outlook, eligible_BL: Tensor, first_B: Tensor) -> Tensor:
        """chain_BN: from the first open place to the last that may settle, drafts where places are open; it ends where
        one is open of which there is no draft."""
        drafted_BL = seen.guess_BL.where(eligible_BL, seen.canvas_BL)
        places_L = torch.arange(drafted_BL.shape[1], device=drafted_BL.device)
        last_B = places_L.where(eligible_BL, -1).amax(-1)
        place_BN = first_B[:, None] + places_L
        chain_BN = drafted_BL.gather(1, place_BN.clamp_max(len(places_L) - 1))
        ends_BN = (chain_BN == self.masked.mask) | (chain_BN == PAD) | (place_BN > last_B[:, None])
        return chain_BN.where(ends_BN.cumsum(-1) == 0, PAD)

    def _read(self, state: GuidedDiffusionState[C, S], chain_BN: Tensor, first_B: Tensor) -> Read:
        """Chunk by chunk, while something of a chain is left and the small model agrees."""
        kept_B, passes_B = torch.zeros_like(first_B), torch.zeros_like(first_B)
        sent_BN = chain_BN[:, :0]
        going_B = chain_BN[:, 0] != PAD
        for begin in range(0, chain_BN.shape[1], self.chunk):
            going_B = going_B & (chain_BN[:, begin] != PAD)
            if not going_B.any():  # sync: does anybody go on?
                break
            chunk_BN = chain_BN[:, begin : begin + self.chunk].where(going_B[:, None], PAD)
            sent_BN = torch.cat([sent_BN, chunk_BN], 1)
            logits_BNV = self.small.score(state.reading, Draft(sent_BN)).logits_BMV[:, begin : sent_BN.shape[1]].float()
            place_BN = first_B[:, None] + torch.arange(begin, sent_BN.shape[1], device=first_B.device)
            at_BN = place_BN.clamp_max(state.canvas_BL.shape[1] - 1)
            given_BN = state.canvas_BL.gather(1, at_BN) != self.masked.mask
            agrees_BN = given_BN | self._agrees(chunk_BN, logits_BNV, place_BN, state.noise)
            run_B = (agrees_BN & (chunk_BN != PAD)).long().cumprod(-1).sum(-1)
            kept_B = kept_B + run_B
            passes_B = passes_B + going_B
            going_B = going_B & (run_B == chunk_BN.shape[1])
        return Read(sent_BN, kept_B, passes_B)

    def _agrees(self, chunk_BN: Tensor, logits_BNV: Tensor, place_BN: Tensor, noise: Noise) -> Tensor:
        """bool_BN: which drafts the small model lets stand."""
        if self.relaxed is None:
            return noise.draw(self.warp(logits_BNV).softmax(-1), place_BN) == chunk_BN
        probs_BNV = logits_BNV.softmax(-1)
        best = probs_BNV.topk(2, -1)
        likely_BN = take(probs_BNV, chunk_BN) >= self.relaxed * best.values[..., 0]
        return (best.indices == chunk_BN[..., None]).any(-1) & likely_BN


def firsts(canvas_BL: Tensor, mask: int) -> Tensor:
    """place_B: the first open place; behind the last place where none is."""
    open_BL = canvas_BL == mask
    return open_BL.to(torch.int8).argmax(-1).where(open_BL.any(-1), (canvas_BL != PAD).sum(-1))


def grown(canvas_BL: Tensor, from_B: Tensor, to_B: Tensor, sent_BN: Tensor) -> Verdict:
    """The answer from one place up to another, as the small model commits it; sent_BN: what it read of these places."""
    width = max(1, int((to_B - from_B).max()))  # sync: as wide as the longest
    slots_C = torch.arange(width, device=canvas_BL.device)
    place_BC = from_B[:, None] + slots_C
    tokens_BC = canvas_BL.gather(1, place_BC.clamp_max(canvas_BL.shape[1] - 1)).where(place_BC < to_B[:, None], PAD)
    read_BC = torch.nn.functional.pad(sent_BN, (0, width), value=PAD)[:, :width] != PAD
    return Verdict(tokens_BC, slots_C.expand_as(tokens_BC).where(read_BC & (tokens_BC != PAD), PAD))

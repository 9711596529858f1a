"""Draft and verify without a second model: what a pass says of open places proposes the canvases of the next few steps,
one batched pass looks at all of them, and the longest run of right proposals is kept.

Its ids are those of `MaskedDiffusion` with one place a step (low-confidence) and the same schedule, cache and seeds, at
any temperature, since a guess is keyed by its place. A proposal counts where its whole canvas, and what the schedule
works on there, is what that decoder would have reached. Behind a cache, a proposal is looked at only where its pass
writes all that the passes left out would have written. A step is one pass, of as many rows as there are proposals, and
settles between one place and `drafts`: where compute is the bottleneck, nothing is won. Rows in company may differ in
their last bits from rows alone, and flip a tie: `apart` gives each its own pass.
Source: Wu and Zhang 2025, arXiv:2510.00294 (FreeDave).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.masked_diffusion import apply, named, parted, progressing
from decant.diffusion import Fresh, MaskedLM, Outlook, Refresh, Schedule, Scope, Turn, ranked, surest
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Warp
from decant.types import PAD, Step, join_rows, select_rows

C = TypeVar("C")  # what the model stored


@final
@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a request is after a step.

    canvas_BL: as it stands. guess_BL, turn_BL: what is expected to settle next, and how many steps from here (1 is the
    next step); PAD elsewhere.
    """

    canvas_BL: Tensor
    guess_BL: Tensor
    turn_BL: Tensor
    schedule: Any
    refresh: Any


@final
@dataclass(frozen=True, slots=True, eq=False)
class FreeDaveState(Generic[C]):
    """given_BL: places that were never open. told_BL: places that a step has named."""

    context: C
    standing: Standing
    given_BL: Tensor
    told_BL: Tensor
    noise: Noise

    @property
    def canvas_BL(self) -> Tensor:
        """As it stands."""
        return self.standing.canvas_BL


@final
@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A canvas that is looked at. there_B: of which requests; nothing is wanted of the others.

    refresh: what the cache remembers behind its pass.
    """

    canvas_BL: Tensor
    there_B: Tensor
    scope: Scope
    fresh: Fresh
    refresh: Any


def arrived(canvas_BL: Tensor, reached_BL: Tensor) -> Tensor:
    """bool_B: whether a proposal is what a step led to, in every place."""
    return (canvas_BL == reached_BL).all(-1)


def anywhere(canvas_BL: Tensor, reached_BL: Tensor) -> Tensor:
    """bool_B: the planted fault, every proposal is right."""
    return torch.ones_like(canvas_BL[:, 0], dtype=torch.bool)


@final
@dataclass(frozen=True, slots=True)
class FreeDave(Generic[C]):
    """drafts: canvases of one pass at most; 1 is the plain loop. apart: a pass for each, to compare bits.

    length: places of an answer where the prompt holds no mask of its own. right: whether a proposal is.
    """

    masked: MaskedLM[C]
    schedule: Schedule[Any]
    refresh: Refresh[Any]
    warp: Warp
    drafts: int = 4
    apart: bool = False
    length: int = 128
    right: Callable[[Tensor, Tensor], Tensor] = arrived

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.drafts < 1:
            raise BadInput(f"freedave looks at one canvas or more in a pass, not {self.drafts}")

    def start(self, prompt_BT: Tensor, noise: Noise) -> FreeDaveState[C]:
        """As `MaskedDiffusion.start`; nothing is proposed yet."""
        prompt_BT, canvas_BL = parted(prompt_BT, self.masked.mask, self.length)
        nothing_BL = torch.full_like(canvas_BL, PAD)
        schedule, refresh = self.schedule.start(canvas_BL), self.refresh.start(canvas_BL, noise)
        return FreeDaveState(
            context=self.masked.start(prompt_BT, canvas_BL),
            standing=Standing(canvas_BL, nothing_BL, nothing_BL, schedule, refresh),
            given_BL=canvas_BL != self.masked.mask,
            told_BL=torch.zeros_like(canvas_BL, dtype=torch.bool),
            noise=noise,
        )

    def step(self, state: FreeDaveState[C]) -> tuple[FreeDaveState[C], Step]:
        """One pass; the right proposals, and what it settles behind the last of them."""
        proposals = self._proposals(state.standing)
        contexts, logits = self._looked(state.context, proposals)
        right_B, standing = self._kept(state, proposals, logits)
        there_KB = torch.stack([proposal.there_B for proposal in proposals])
        requests_B = torch.arange(len(right_B), device=right_B.device)
        row_KB = there_KB.flatten().cumsum(0).view_as(there_KB) - 1
        step, told_BL = named(standing.canvas_BL, state.told_BL, self.masked.mask, late=False)
        turn_BC = state.standing.turn_BL.gather(1, step.positions_BC.clamp_min(0))
        guessed_BC = (turn_BC > 0) & (turn_BC <= right_B[:, None]) & (step.positions_BC != PAD)
        context = select_rows(contexts, row_KB[right_B, requests_B])
        after = FreeDaveState(context, standing, state.given_BL, told_BL, state.noise)
        return after, replace(step, drafted_BC=guessed_BC)

    def careless(self) -> "FreeDave[C]":
        """The same, which keeps every proposal: what a proof must catch."""
        return replace(self, right=anywhere)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """What the model stores, once for each canvas."""
        return self.drafts * self.masked.cache_bytes(tokens)

    def _proposals(self, standing: Standing) -> list[Proposal]:
        """The canvas as it stands, then the canvas after each expected step."""
        turn_BL, refresh, found = standing.turn_BL, standing.refresh, list[Proposal]()
        there_B = torch.ones_like(turn_BL[:, 0], dtype=torch.bool)
        before_BW = None
        for number in range(self.drafts):
            expected_BL = (turn_BL > 0) & (turn_BL <= number)
            canvas_BL = standing.guess_BL.where(expected_BL, standing.canvas_BL)
            scope = self.schedule.scope(standing.schedule, canvas_BL)
            fresh, refresh = self.refresh.fresh(refresh, canvas_BL, scope)
            writes_BW = written(fresh, scope)
            if before_BW is not None:
                there_B = there_B & (turn_BL == number).any(-1) & scope.wanted_BL.any(-1)
                there_B = there_B & ~(before_BW & ~writes_BW).any(-1)
                if not there_B.any():  # sync: a pass has as many rows as there are canvases
                    break
            before_BW = writes_BW if before_BW is None else before_BW | writes_BW
            scope = replace(scope, wanted_BL=scope.wanted_BL & there_B[:, None])
            found.append(Proposal(canvas_BL, there_B, scope, fresh, refresh))
        return found

    def _looked(self, context: C, proposals: list[Proposal]) -> tuple[C, list[Tensor]]:
        """What the model stored of each canvas, proposal by proposal, and logits_NV of each proposal."""
        rows = [proposal.there_B.nonzero()[:, 0] for proposal in proposals]  # sync: as many rows as canvases
        rows_R = torch.cat(rows)
        pairs = list(zip(proposals, rows, strict=True))
        canvas_RL = torch.cat([one.canvas_BL[rows_P] for one, rows_P in pairs])
        prompt_R = torch.cat([one.fresh.prompt_B[rows_P] for one, rows_P in pairs])
        answer_RL = torch.cat([one.fresh.answer_BL[rows_P] for one, rows_P in pairs])
        wanted_RL = torch.cat([one.scope.wanted_BL[rows_P] for one, rows_P in pairs])
        # All copies are made before any pass writes.
        copies: C = select_rows(context, rows_R)
        contexts, logits = list[C](), list[Tensor]()
        passes = [len(rows_P) for rows_P in rows] if self.apart else [len(rows_R)]
        for rows_P in torch.arange(len(rows_R), device=rows_R.device).split(passes):
            fresh = Fresh(prompt_R[rows_P], answer_RL[rows_P])
            part: C = select_rows(copies, rows_P)
            part, logits_NV = self.masked.predict(part, canvas_RL[rows_P], fresh, wanted_RL[rows_P])
            contexts.append(part)
            logits.append(logits_NV)
        counts = [int(one.scope.wanted_BL.sum()) for one in proposals]  # sync: how many places each asks about
        return reduce(join_rows, contexts), list(torch.cat(logits).split(counts))

    def _kept(
        self, state: FreeDaveState[C], proposals: list[Proposal], logits: list[Tensor]
    ) -> tuple[Tensor, Standing]:
        """How many proposals behind the first, which is the canvas itself, are right, and where that leads."""
        schedule, mask = state.standing.schedule, self.masked.mask
        right_B, holds_B = torch.zeros_like(state.canvas_BL[:, 0]), torch.ones_like(proposals[0].there_B)
        reached, led = state.canvas_BL, list[Standing]()
        for number, (proposal, logits_NV) in enumerate(zip(proposals, logits, strict=True)):
            canvas_BL = proposal.canvas_BL
            if number:
                holds_B = holds_B & proposal.there_B & self.right(canvas_BL, reached)
                holds_B = holds_B & same(self.schedule.scope(schedule, canvas_BL), proposal.scope)
                right_B = right_B + holds_B
            row_N, place_N = proposal.scope.wanted_BL.nonzero(as_tuple=True)  # sync: as many rows as were asked for
            seen = Outlook(canvas_BL, row_N, place_N, logits_NV, self.warp, state.noise)
            turn, schedule = self.schedule.turn(schedule, proposal.scope, seen)
            seen = seen if turn.trust_N is None else replace(seen, trust_N=turn.trust_N)
            reveal = progressing(ranked(seen, turn, seen.confidence_BL, per_step=1), seen, turn)
            reached = apply(reveal, seen, mask, state.given_BL)
            turn_BL = self._expected(seen, turn, reached)
            guess_BL = seen.guess_BL.where(turn_BL != PAD, PAD)
            led.append(Standing(reached, guess_BL, turn_BL, schedule, proposal.refresh))
        at_B = right_B * len(right_B) + torch.arange(len(right_B), device=right_B.device)
        return right_B, select_rows(reduce(join_rows, led), at_B)

    def _expected(self, seen: Outlook, turn: Turn, reached_BL: Tensor) -> Tensor:
        """turn_BL: in which of the next steps each place would settle, if passes said the same again."""
        left_BL = turn.eligible_BL & (reached_BL == self.masked.mask)
        quota: Tensor | int = 1 if turn.quota_B is None else turn.quota_B
        turn_BL = torch.full_like(reached_BL, PAD)
        for number in range(self.drafts - 1, 0, -1):
            turn_BL = turn_BL.masked_fill(surest(seen.confidence_BL, left_BL, number * quota), number)
        return turn_BL


def written(fresh: Fresh, scope: Scope) -> Tensor:
    """bool_BW: the prompt, its last token, each place: what a pass may store. A model whose rows speak of the place
    behind them also computes the row in front of a wanted place."""
    front_BL = scope.wanted_BL.roll(-1, dims=1)
    front_BL[:, -1] = False
    last_B = fresh.prompt_B | scope.wanted_BL[:, 0]
    return torch.cat([fresh.prompt_B[:, None], last_B[:, None], fresh.answer_BL | scope.wanted_BL | front_BL], 1)


def same(scope: Scope, other: Scope) -> Tensor:
    """bool_B: whether both work on the same places and want the same."""
    blocks_B = (scope.block_BL == other.block_BL).all(-1)
    return blocks_B & (scope.wanted_BL == other.wanted_BL).all(-1)

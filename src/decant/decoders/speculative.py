"""Draft, score, verify, commit. The whole of speculative decoding is `step`.

Source: Leviathan et al. 2023, arXiv:2211.17192; trees: Miao et al. 2023, arXiv:2305.09781.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.saying import Logprobs, told
from decant.drafting.forced import forced
from decant.errors import IncompatibleParts
from decant.noise import Noise
from decant.protocols import Cached, Constraint, Drafter, Forces, LanguageModel, Learner, Policy, Verifier, Warp
from decant.types import PAD, Draft, Step, Taps

C = TypeVar("C")  # the target's context
D = TypeVar("D")  # the drafter's state
P = TypeVar("P")  # the policy's state


@final
@dataclass(frozen=True, slots=True, eq=False)
class SpeculativeState(Generic[C, D, P]):
    """What each part remembers between steps."""

    context: C
    drafting: D
    pacing: P
    constraint: Any
    noise: Noise


@final
@dataclass(frozen=True, slots=True)
class Speculative(Generic[C, D, P]):
    """A composition of a target, a drafter, a verifier and a policy; none knows the others.

    logprobs: what its steps tell beside tokens; None: nothing.
    """

    target: LanguageModel[C]
    drafter: Drafter[D]
    verifier: Verifier
    policy: Policy[P]
    warp: Warp
    constraint: Constraint[Any]
    logprobs: Logprobs | None = None

    def start(self, prompt_BT: Tensor, noise: Noise) -> SpeculativeState[C, D, P]:
        """Prefill; prompt_BT is right-padded with PAD."""
        context, prefill = self.target.start(prompt_BT, self._taps)
        return SpeculativeState(
            context=context,
            drafting=self.drafter.start(prompt_BT, prefill),
            pacing=self.policy.start(batch=len(prompt_BT)),
            constraint=self.constraint.start(prompt_BT),
            noise=noise,
        )

    def step(self, state: SpeculativeState[C, D, P]) -> tuple[SpeculativeState[C, D, P], Step]:
        """Between one token and a whole draft plus one of every request.

        Raises IncompatibleParts before the first token when these parts can never work together.
        """
        draft = self._drafted(state)
        self._refuse_impossible(draft)
        scores = self.target.score(state.context, draft)
        logits_BMV = self.constraint.adjust(state.constraint, draft, scores.logits_BMV.float())
        target_BMV = self.warp(logits_BMV).softmax(-1)
        verdict = self.verifier.verify(draft.guesses, target_BMV, state.noise)

        slots_C = torch.arange(verdict.tokens_BC.shape[1], device=verdict.tokens_BC.device)
        positions_BC = (state.noise.root_B[:, None] + slots_C).where(verdict.tokens_BC != PAD, PAD)
        step = Step(verdict.tokens_BC, positions_BC, verdict.nodes_BC != PAD)
        return SpeculativeState(
            context=self.target.commit(state.context, verdict),
            drafting=self.drafter.observe(state.drafting, draft, verdict, scores),
            pacing=self.policy.observe(state.pacing, draft.guesses, verdict, scores),
            constraint=self.constraint.observe(state.constraint, verdict, scores),
            noise=state.noise.advance(verdict.committed_B),
        ), told(self.logprobs, step, verdict, scores.logits_BMV, logits_BMV, self.warp)

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk with the target, which is the dear one; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T, self._taps)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The target's and the drafter's."""
        drafter = self.drafter.cache_bytes(tokens) if isinstance(self.drafter, Cached) else 0
        return self.target.cache_bytes(tokens) + drafter

    def warmed(self, state: SpeculativeState[C, D, P]) -> "Speculative[C, D, P]":
        """This decoder, whose drafter starts from what it learnt in `state`, if it is one that learns."""
        if not isinstance(self.drafter, Learner):
            return self
        return replace(self, drafter=self.drafter.warmed(state.drafting))

    def _drafted(self, state: SpeculativeState[C, D, P]) -> Draft:
        """What the drafter guesses; in front of a chain, what the constraint forces."""
        shape = self.policy.shape(state.pacing)
        draft = self.drafter.draft(state.drafting, shape, self.warp, state.noise, state.context)
        plain = not draft.branches and draft.probe_BN is None and "fixed" in self.verifier.accepts
        if not (plain and isinstance(self.constraint, Forces)):
            return draft
        depth = shape.depth if shape.budget is None else min(shape.depth, shape.budget)
        return forced(draft, self.constraint.forced(state.constraint, depth))

    @property
    def _taps(self) -> Taps:
        return self.drafter.taps | self.policy.taps

    def _refuse_impossible(self, draft: Draft) -> None:
        drafter, verifier, target = (type(part).__name__ for part in (self.drafter, self.verifier, self.target))
        if draft.branches and not self.target.trees:
            raise IncompatibleParts(
                f"{drafter} drafts trees, but this {target} model cannot score one; take a drafter of chains "
                f"(prompt-lookup, draft-model)"
            )
        if draft.branches and not self.verifier.trees:
            raise IncompatibleParts(
                f"{verifier} verifies chains, but {drafter} drafted a tree; take the verifier coupled or tree-rejection"
            )
        if draft.tokens_BN.shape[1] and draft.siblings not in self.verifier.accepts:
            raise IncompatibleParts(
                f"{verifier} cannot judge {draft.siblings.replace('_', ' ')} siblings, which {drafter} drafts; "
                f"it accepts {', '.join(sorted(self.verifier.accepts))}"
            )

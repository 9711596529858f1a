"""Big little decoder: the small model speaks until it is unsure; the large one looks over what it said, and goes on.

Lossy, and batches may be ragged. At temperature zero this is the published method; elsewhere each model's argmax is its
draw with plain decoding's noise. A rollback needs both a token that the target finds unlikely and another one that it
would rather say; the authors' code looks at the first unlikely token only, and forgets the call if those two agree.

Source: Kim et al. 2023, arXiv:2302.07863.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import take
from decant.protocols import Constraint, LanguageModel, Warp
from decant.types import PAD, Draft, Step, Verdict

T = TypeVar("T")  # the target's context
S = TypeVar("S")  # the small model's context


@final
@dataclass(frozen=True, slots=True, eq=False)
class BiLDState(Generic[T, S]):
    """What is remembered between steps."""

    large: T
    small: S
    constraint: Any
    noise: Noise


@final
@dataclass(frozen=True, slots=True)
class BiLD(Generic[T, S]):
    """A step is a run of the small model and one look of the target, whose own token ends it. The first token of a
    text is the target's.

    fallback: the small model hands over where its largest probability, before any warp, is below this.
    rollback: nats; a token that the target finds less likely than that is replaced by the target's own, and what
        follows it is dropped. inf: never.
    most:     tokens of one run.
    """

    target: LanguageModel[T]
    small: LanguageModel[S]
    warp: Warp
    constraint: Constraint[Any]
    fallback: float = 0.6
    rollback: float = 5.0
    most: int = 10

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.fallback <= 1 or not self.rollback >= 0 or self.most < 0:
            raise BadInput(
                f"bild needs a fallback in [0, 1], a rollback of at least 0 nats and runs of at least 0 tokens, got "
                f"fallback {self.fallback}, rollback {self.rollback}, most {self.most}"
            )

    def start(self, prompt_BT: Tensor, noise: Noise) -> BiLDState[T, S]:
        """Both models read the prompt."""
        return BiLDState(
            self.target.start(prompt_BT)[0], self.small.start(prompt_BT)[0], self.constraint.start(prompt_BT), noise
        )

    def step(self, state: BiLDState[T, S]) -> tuple[BiLDState[T, S], Step]:
        """Between one token and a whole run plus one of every request."""
        run = self._run(state)
        scores = self.target.score(state.large, run)
        logits_BMV = self.constraint.adjust(state.constraint, run, scores.logits_BMV.float())
        verdict = self._judged(run, logits_BMV, state.noise)
        slots_C = torch.arange(verdict.tokens_BC.shape[1], device=verdict.tokens_BC.device)
        positions_BC = (state.noise.root_B[:, None] + slots_C).where(verdict.tokens_BC != PAD, PAD)
        return BiLDState(
            large=self.target.commit(state.large, verdict),
            small=self.small.commit(state.small, verdict),
            constraint=self.constraint.observe(state.constraint, verdict, scores),
            noise=state.noise.advance(verdict.committed_B),
        ), Step(verdict.tokens_BC, positions_BC, verdict.nodes_BC != PAD)

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk with the target, which is the dear one; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Both models'."""
        return self.target.cache_bytes(tokens) + self.small.cache_bytes(tokens)

    def _run(self, state: BiLDState[T, S]) -> Draft:
        """What the small model says while it is sure; nothing at the very beginning of a text."""
        draft = Draft.nothing(len(state.noise.root_B), state.noise.root_B.device)
        sure_B = state.noise.root_B > 0
        for depth in range(self.most):
            if not sure_B.any():  # sync: does anybody go on?
                break
            logits_BV = self.small.score(state.small, draft).logits_BMV[:, depth].float()
            sure_B = sure_B & (logits_BV.softmax(-1).amax(-1) >= self.fallback)
            at_B = torch.full_like(state.noise.root_B, depth)
            said_B = state.noise.draw(self.warp(logits_BV).softmax(-1), at_B).where(sure_B, PAD)
            draft = Draft(torch.cat([draft.tokens_BN, said_B[:, None]], 1))
        # A last column in which nobody was sure any longer would cost the target a row.
        width = int((draft.tokens_BN != PAD).sum(-1).amax()) if draft.tokens_BN.numel() else 0  # sync: as above
        return Draft(draft.tokens_BN[:, :width])

    def _judged(self, run: Draft, logits_BMV: Tensor, noise: Noise) -> Verdict:
        """The run up to its first token that is rolled back, then the target's own."""
        slots_M = torch.arange(logits_BMV.shape[1], device=logits_BMV.device)
        own_BM = noise.draw(self.warp(logits_BMV).softmax(-1), slots_M[None])
        nats_BN = -take(logits_BMV[:, :-1].log_softmax(-1), run.tokens_BN)
        # A token of probability 0, which a constraint forbids, goes back at every threshold.
        unlikely_BN = (nats_BN > self.rollback) | (nats_BN == math.inf)
        stays_BN = (run.tokens_BN != PAD) & ~(unlikely_BN & (own_BM[:, :-1] != run.tokens_BN))
        kept_B = stays_BN.long().cumprod(-1).sum(-1)
        return Verdict.of_chain(run.tokens_BN, kept_B, own_BM.gather(1, kept_B[:, None]).squeeze(1))

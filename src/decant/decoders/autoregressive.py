"""One token a step: the decoder against which every other decoder is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

import torch

from decant.decoders.saying import Logprobs, told
from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel, Warp
from decant.types import Draft, Step, Verdict

C = TypeVar("C")  # the target's context


@final
@dataclass(frozen=True, slots=True, eq=False)
class AutoregressiveState(Generic[C]):
    """What is remembered between steps."""

    context: C
    constraint: Any
    noise: Noise


@final
@dataclass(frozen=True, slots=True)
class Autoregressive(Generic[C]):
    """Score the root, draw one token, commit it. logprobs: what its steps tell beside tokens; None: nothing."""

    target: LanguageModel[C]
    warp: Warp
    constraint: Constraint[Any]
    logprobs: Logprobs | None = None

    def start(self, prompt_BT: torch.Tensor, noise: Noise) -> AutoregressiveState[C]:
        """Prefill; prompt_BT is right-padded with PAD."""
        return AutoregressiveState(self.target.start(prompt_BT)[0], self.constraint.start(prompt_BT), noise)

    def step(self, state: AutoregressiveState[C]) -> tuple[AutoregressiveState[C], Step]:
        """One token of every request."""
        draft = Draft.nothing(len(state.noise.seed_B), state.noise.seed_B.device)
        scores = self.target.score(state.context, draft)
        logits_B1V = self.constraint.adjust(state.constraint, draft, scores.logits_BMV.float())
        target_B1V = self.warp(logits_B1V).softmax(-1)
        tokens_B1 = state.noise.draw(target_B1V, torch.zeros_like(state.noise.root_B)[:, None])
        nobody_B1 = torch.full_like(tokens_B1, -1)
        verdict = Verdict(tokens_B1, nobody_B1)
        step = Step(tokens_B1, state.noise.root_B[:, None], nobody_B1 >= 0)
        return AutoregressiveState(
            context=self.target.commit(state.context, verdict),
            constraint=self.constraint.observe(state.constraint, verdict, scores),
            noise=state.noise.advance(verdict.committed_B),
        ), told(self.logprobs, step, verdict, scores.logits_BMV, logits_B1V, self.warp)

    def prepare(self, prompt_1T: torch.Tensor) -> bool:
        """Read one more chunk; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The target's."""
        return self.target.cache_bytes(tokens)

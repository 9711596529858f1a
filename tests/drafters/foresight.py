"""A toy target that knows riders: what it says at one is what it would say so many greedy tokens further on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import PAD, Draft, Scores, Taps, Verdict


@dataclass(frozen=True)
class ToyRiders:
    """Beside a vocabulary."""

    first: int
    depth: int = 3
    copies: int = 1

    def dressed(self, model: MarkovLM) -> "Foreseeing":
        return Foreseeing(model, self)


@dataclass(frozen=True, eq=False)
class Foreseeing:
    """`lm`, dressed. late: how far beside the truth its riders guess. apart: how much more each copy gives id 0 than
    the one before; their mean is right."""

    lm: MarkovLM
    riders: ToyRiders
    late: int = 0
    apart: float = 0.0

    @property
    def vocab(self) -> int:
        return self.lm.vocab

    @property
    def trees(self) -> bool:
        return self.lm.trees

    def start(self, prompt_BT: Tensor, taps: Taps = Taps()) -> tuple[MarkovContext, Scores]:  # noqa: B008  (frozen)
        return self.lm.start(prompt_BT, taps)

    def score(self, context: MarkovContext, draft: Draft) -> Scores:
        scores = self.lm.score(context, draft.guesses)
        if draft.probe_BN is None or draft.parents_BN is None:
            return scores
        end_B1 = (context.tokens_BT != PAD).sum(-1, keepdim=True) - 1
        before_B1 = context.tokens_BT.gather(1, (end_B1 - 1).clamp_min(0)).where(end_B1 > 0, self.vocab)
        rows_BM = torch.cat([context.tokens_BT.gather(1, end_B1), draft.tokens_BN], dim=1).clamp(0, self.vocab - 1)
        above_BM, probe_BM = pad(draft.parents_BN + 1, (1, 0)), pad(draft.probe_BN, (1, 0), value=False)
        before_BM = torch.cat([before_B1, rows_BM.gather(1, above_BM[:, 1:])], dim=1)
        node_BM = torch.arange(above_BM.shape[1]).expand_as(above_BM)
        depth_BM = torch.zeros_like(node_BM)
        for _ in range(self.riders.depth):
            rides_BM = probe_BM.gather(1, node_BM)
            depth_BM, node_BM = depth_BM + rides_BM, torch.where(rides_BM, above_BM.gather(1, node_BM), node_BM)
        which_BM = (pad(draft.tokens_BN, (1, 0)) - self.riders.first).clamp_min(0)
        place_BM, copy_BM = which_BM % self.riders.depth, which_BM // self.riders.depth
        real_BM = probe_BM & (pad(draft.tokens_BN, (1, 0)) != PAD)
        assert (place_BM + 1 == depth_BM)[real_BM].all(), "a rider hangs behind those of its own copy, in order"
        a, b = before_BM.gather(1, node_BM), rows_BM.gather(1, node_BM)
        said_BMV = self._ahead(a, b, (place_BM + 1 + self.late).where(real_BM, 0))
        said_BMV[..., 0] += self.apart * (copy_BM - (self.riders.copies - 1) / 2)
        return replace(scores, logits_BMV=torch.where(real_BM[..., None], said_BMV, scores.logits_BMV))

    def _ahead(self, a: Tensor, b: Tensor, steps: Tensor) -> Tensor:
        """Logits so many greedy tokens behind a pair."""
        for step in range(int(steps.max()) if steps.numel() else 0):
            next_token = self.lm.logits_UVV[a, b].argmax(-1)
            going = steps > step
            a, b = b.where(going, a), next_token.where(going, b)
        return self.lm.logits_UVV[a, b].clone()

    def commit(self, context: MarkovContext, verdict: Verdict) -> MarkovContext:
        return self.lm.commit(context, verdict)

    def tokens(self, context: MarkovContext) -> Tensor:
        return self.lm.tokens(context)

    def prepare(self, prompt_1T: Tensor, taps: Taps = Taps()) -> bool:  # noqa: B008  (frozen)
        return True

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        return self.lm.cache_bytes(tokens)


def foreseeing(vocab: int = 5, depth: int = 3, copies: int = 1, late: int = 0) -> Foreseeing:
    """Over the toy target of the laws."""
    return Foreseeing(MarkovLM.random(vocab=vocab, seed=0), ToyRiders(vocab, depth, copies), late)

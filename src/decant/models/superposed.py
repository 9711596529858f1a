"""Several texts in one pass: a row's embedding is a weighted sum of the embeddings of their last tokens.

Attention and norms then see one text that is all of them a little: the logits are what follows the mixture.
Source: Shen et al. 2024, arXiv:2405.18400.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from decant.models.causal import Causal, resized
from decant.models.context import Context
from decant.models.spans import Span
from decant.types import PAD, Draft, Verdict


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Committed texts, and mixed rows behind them, which lie in the cache like the nodes of a draft.

    mixed: how many, of every request.
    """

    context: Context
    mixed: int = 0

    def select(self, rows_R: Tensor) -> "Mixture":
        """The requests `rows_R`, without mixed rows: requests leave between two mixtures."""
        return Mixture(self.context.select(rows_R))

    def join(self, other: "Mixture") -> "Mixture":
        """These requests, then the other's."""
        return Mixture(self.context.join(other.context))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Superposed:
    """`model`, fed with mixtures."""

    model: Causal

    @property
    def vocab(self) -> int:
        """How many logits a row has."""
        return self.model.vocab

    def start(self, prompt_BT: Tensor) -> Mixture:
        """Cache prompt[:-1]."""
        return Mixture(self.model.start(prompt_BT)[0])

    def root(self, context: Mixture) -> Tensor:
        """logits_BV that follow the text itself."""
        nothing = Draft.nothing(len(context.context.lengths), self.model.network.device)
        return self.model.score(context.context, nothing).logits_BMV[:, 0]

    def mixed(self, context: Mixture, tokens_BK: Tensor, weights_BK: Tensor) -> tuple[Mixture, Tensor]:
        """One row behind those so far, the sum over K of weight times embedding; and logits_BV that follow it.

        weights_BK: sum to one. Call `root` first.
        """
        network, text = self.model.network, context.context
        each_BKD = network.embedded(tokens_BK)
        fed_BD = (weights_BK[..., None].to(each_BKD.dtype) * each_BKD).sum(1)
        text.cache.claim([length + context.mixed for length in text.lengths])
        spans = [
            Span(request, length + context.mixed, tokens_BK[request, :1], length, fed_QD=fed_BD[request, None])
            for request, length in enumerate(text.lengths)
        ]
        out = network.score(text.cache, spans, (), self.model.rows, self.model.steady)
        return replace(context, mixed=context.mixed + 1), resized(out.logits_RV, self.vocab)

    def commit(self, context: Mixture, tokens_BC: Tensor) -> Mixture:
        """The text goes on with these tokens; mixed rows are dropped."""
        verdict = Verdict(tokens_BC, torch.full_like(tokens_BC, PAD))
        return Mixture(self.model.commit(context.context, verdict))

    def tokens(self, context: Mixture) -> Tensor:
        """tokens_BT: prompt and committed ids, right-padded with PAD."""
        return self.model.tokens(context.context)

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk of a prompt in advance; whether `start` has at most a chunk left to read."""
        return self.model.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The model's own."""
        return self.model.cache_bytes(tokens)

"""Language models small enough to know everything about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from decant.numerics import append, chain_parents
from decant.types import PAD, Draft, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True, eq=False)
class MarkovContext:
    """tokens_BT: prompt and committed ids, right-padded; layers: whose hidden states were asked for."""

    tokens_BT: Tensor
    layers: tuple[int, ...] = ()


@final
@dataclass(frozen=True, slots=True, eq=False)
class MarkovLM:
    """The next token depends on the last two, so that a row shifted by one or a stale token shows.

    logits_UVV: [a, b] scores what follows a, then b; the last a, index V, stands for "b is the first token".
    trees:      whether it takes drafts that branch; set it to False to play a recurrent model.

    A hidden state of layer l is the one-hot of the row's token, rolled by l. Absent nodes score garbage, as real
    models' do, and no token is ever pending: the context is the text.
    """

    logits_UVV: Tensor
    trees: bool = True

    @classmethod
    def random(cls, vocab: int, seed: int, spread: float = 2.0) -> "MarkovLM":
        """Normal logits with standard deviation `spread`."""
        generator = torch.Generator().manual_seed(seed)
        return cls(spread * torch.randn(vocab + 1, vocab, vocab, generator=generator))

    def blurred(self, seed: int, by: float = 1.0) -> "MarkovLM":
        """A model that nearly agrees with this one: normal noise on every logit."""
        generator = torch.Generator().manual_seed(seed)
        return MarkovLM(self.logits_UVV + by * torch.randn(self.logits_UVV.shape, generator=generator), self.trees)

    @property
    def vocab(self) -> int:
        """How many logits a row has."""
        return self.logits_UVV.shape[-1]

    def start(self, prompt_BT: Tensor, taps: Taps = Taps()) -> tuple[MarkovContext, Scores]:  # noqa: B008  (frozen)
        """What was tapped of prompt[:-1]; the rows beside padding hold garbage, but for the best ids, which are PAD."""
        read_BT = prompt_BT[:, :-1]
        before_BT = torch.cat([torch.full_like(prompt_BT[:, :1], self.vocab), read_BT], dim=1)[:, : read_BT.shape[1]]
        logits_BTV = self.logits_UVV[before_BT.clamp_min(0), read_BT.clamp_min(0)]
        top_BTK = None
        if taps.top:
            read_to_BT = prompt_BT[:, 1:] != PAD  # the last token of each request is its root, which is not read
            top_BTK = logits_BTV.topk(min(taps.top, self.vocab), -1).indices.where(read_to_BT[..., None], PAD)
        dense_BMV = logits_BTV if taps.logits else logits_BTV[:, :0]
        return MarkovContext(prompt_BT, taps.layers), Scores(
            dense_BMV, self._hidden(read_BT, taps.layers), top_BTK, taps.layers
        )

    def score(self, context: MarkovContext, draft: Draft) -> Scores:
        """Row 0 follows the root, row i + 1 follows node i."""
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        end_B1 = (context.tokens_BT != PAD).sum(-1, keepdim=True) - 1
        root_B1 = context.tokens_BT.gather(1, end_B1)
        before_B1 = context.tokens_BT.gather(1, (end_B1 - 1).clamp_min(0)).where(end_B1 > 0, self.vocab)
        rows_BM = torch.cat([root_B1, draft.tokens_BN], dim=1).clamp_min(0)
        before_BM = torch.cat([before_B1, rows_BM.gather(1, parents_BN + 1)], dim=1)
        return Scores(self.logits_UVV[before_BM, rows_BM], self._hidden(rows_BM, context.layers), layers=context.layers)

    def commit(self, context: MarkovContext, verdict: Verdict) -> MarkovContext:
        """The text with what was committed."""
        return MarkovContext(append(context.tokens_BT, verdict.tokens_BC), context.layers)

    def tokens(self, context: MarkovContext) -> Tensor:
        """tokens_BT: the text."""
        return context.tokens_BT

    def prepare(self, prompt_1T: Tensor, taps: Taps = Taps()) -> bool:  # noqa: B008  (frozen)
        """There is nothing to read in advance."""
        return True

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The texts themselves."""
        return 8 * sum(tokens)

    def _hidden(self, rows_BM: Tensor, layers: tuple[int, ...]) -> Tensor | None:
        if not layers:
            return None
        rolled = [(rows_BM.clamp_min(0) + layer) % self.vocab for layer in layers]
        return torch.cat([one_hot(ids_BM, self.vocab) for ids_BM in rolled], -1).float()

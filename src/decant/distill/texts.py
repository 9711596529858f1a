"""What is trained on: texts with a weight on each token, batches of them, and the positions that count."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Text:
    """One row of training.

    ids:     prompt and answer, or any text.
    weights: of predicting each id from those before it; 0 for what is given (prompts, other speakers).
    prompt:  how many ids were given before the first that is learnt; an answer may be written anew behind them.
    domain:  a number that the data set gives; number: which text of it this is, -1: none, it was written just now.
    logp:    of each id, by whoever drew it, in nats; empty where nobody knows.
    """

    ids: list[int]
    weights: list[float]
    prompt: int = 0
    domain: int = 0
    number: int = -1
    logp: list[float] = field(default_factory=list)

    @classmethod
    def answer(cls, ids: list[int], start: int, number: int = -1, domain: int = 0) -> "Text":
        """What stands behind `start` is learnt."""
        return cls(ids, [0.0] * start + [1.0] * (len(ids) - start), start, domain, number)

    def teaches(self, length: int) -> bool:
        """Whether anything counts within so many tokens; the first has nothing before it."""
        return any(self.weights[1:length])


@final
@dataclass(frozen=True, slots=True, eq=False)
class TextBatch:
    """Texts padded on the right with id 0 and weight 0. Every tensor leads with B.

    numbers_B, prompts_B, domains_B: as in `Text`. logp_BT: 0 where nobody knows.
    """

    ids_BT: Tensor
    weights_BT: Tensor
    prompts_B: Tensor
    domains_B: Tensor
    numbers_B: Tensor
    logp_BT: Tensor

    def __len__(self) -> int:
        return len(self.ids_BT)

    @property
    def weight(self) -> Tensor:
        """The sum that a mean divides by; the first token of a row has nothing before it."""
        return self.weights_BT[:, 1:].sum()

    def text(self, row: int) -> Text:
        """A row without its padding, as far as its last weight."""
        weights = self.weights_BT[row].tolist()  # sync: texts are cut on the host
        end = max((at + 1 for at, weight in enumerate(weights) if weight), default=0)
        logp = self.logp_BT[row, :end].tolist()
        return Text(
            ids=self.ids_BT[row, :end].tolist(),
            weights=weights[:end],
            prompt=int(self.prompts_B[row]),
            domain=int(self.domains_B[row]),
            number=int(self.numbers_B[row]),
            logp=logp if any(logp) else [],
        )


def padded(texts: Sequence[Text], length: int) -> TextBatch:
    """Each text cut behind `length` tokens. Raises BadInput for no texts."""
    if not texts:
        raise BadInput("a batch needs at least one text")
    width = min(length, max(len(text.ids) for text in texts))

    def laid(rows: Sequence[Sequence[float]], kind: torch.dtype) -> Tensor:
        return torch.tensor([[*row[:width], *[0] * (width - len(row))] for row in rows], dtype=kind)

    return TextBatch(
        ids_BT=laid([text.ids for text in texts], torch.int64),
        weights_BT=laid([text.weights for text in texts], torch.float32),
        prompts_B=torch.tensor([text.prompt for text in texts]),
        domains_B=torch.tensor([text.domain for text in texts]),
        numbers_B=torch.tensor([text.number for text in texts]),
        logp_BT=laid([text.logp for text in texts], torch.float32),
    )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """The N positions that count, in the order of rows: position `at` of a row predicts its id at `at` + 1.

    label_N: that id; weight_N: its weight, above zero.
    """

    row_N: Tensor
    at_N: Tensor
    label_N: Tensor
    weight_N: Tensor

    @classmethod
    def of(cls, batch: TextBatch) -> "Positions":
        """The only place that shifts. Raises BadInput for a batch in which nothing counts."""
        row_N, at_N = (batch.weights_BT[:, 1:] > 0).nonzero(as_tuple=True)  # sync: how many depends on the texts
        if not len(row_N):
            raise BadInput("a batch in which no position has a weight teaches nothing; give longer rows")
        return cls(row_N, at_N, batch.ids_BT[row_N, at_N + 1], batch.weights_BT[row_N, at_N + 1])

    def __len__(self) -> int:
        return len(self.row_N)

    def texts(self) -> list[tuple[int, slice, int]]:
        """(row, its positions among the N, how many tokens they reach over) of each text in which something counts."""
        rows, counts_R = self.row_N.unique_consecutive(return_counts=True)
        ends_R = counts_R.cumsum(0)
        reach_R = self.at_N[ends_R - 1] + 1
        found = torch.stack([rows, ends_R - counts_R, ends_R, reach_R], 1).tolist()  # sync: texts are read one by one
        return [(row, slice(first, end), reach) for row, first, end, reach in found]

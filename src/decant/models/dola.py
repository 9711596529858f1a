"""DoLa: what the last layer says and an earlier one does not yet, among the tokens that the last finds plausible.

Of the candidate layers, each row takes the one that is furthest from the last, by the Jensen-Shannon divergence. The
authors' code puts the output matrix on a layer's state as it is (`normed` False); with the final norm before it, as
here by default, the exit speaks as in an early exit. Their code averages the choice over a batch; here no request knows
of another.
Source: Chuang et al. 2023, arXiv:2309.03883.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, cast, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput, IncompatibleParts
from decant.models.causal import Causal, resized
from decant.models.context import Context
from decant.models.fast.lean import Lean
from decant.models.powers import plausible, powers, refuse_alpha
from decant.models.prefixes import Prefixes
from decant.models.rows import RowClass
from decant.models.spans import Span
from decant.types import Draft, Scores, Taps, Verdict

Bucket = Literal["low", "high"]
DEEPEST = 20  # layers that the half of a model spans, at most


@final
@dataclass(frozen=True, slots=True, eq=False)
class Dola:
    """`model`, which is lean (`of` sees to it), against its own earlier layers: a `LanguageModel`.

    layers: the candidates: behind so many layers; 0 is the embedding.
    alpha:  tokens that the last layer finds less than alpha times as likely as its likeliest are forbidden.
    normed: whether a candidate's state passes the final norm.

    One product with the output matrix more for each candidate. What is tapped of a prompt is the model's own.
    """

    model: Causal
    layers: tuple[int, ...]
    alpha: float = 0.1
    normed: bool = True

    @classmethod
    def of(
        cls,
        model: Causal,
        name: str,
        layers: Bucket | Sequence[int] = "high",
        alpha: float = 0.1,
        normed: bool = True,
    ) -> "Dola":
        """layers: candidates, or the half of the layers to take every second one of.

        Raises IncompatibleParts for a model that runs through transformers, whose layers cannot be asked; BadInput
        unless candidates ascend within the layers and 0 <= alpha <= 1.
        """
        network = model.network
        if not isinstance(network, Lean):
            raise IncompatibleParts(
                f"DoLa asks the layers of decant's own forward pass, but {name} ({network.architecture}) runs through "
                f"transformers; take guidance or contrastive decoding with a smaller model"
            )
        last = len(network.layers)
        tied = bool(network.config.get_text_config().tie_word_embeddings)
        chosen = bucket(layers, last, tied) if isinstance(layers, str) else tuple(layers)
        if not chosen or chosen[0] < 0 or chosen[-1] > last or any(low >= high for low, high in pairwise(chosen)):
            raise BadInput(f"DoLa's candidates ascend from 0 to at most the {last} layers of {name}, got {chosen}")
        refuse_alpha(alpha)
        return cls(model, chosen, alpha, normed)

    @property
    def vocab(self) -> int:
        """How many logits a row has."""
        return self.model.vocab

    @property
    def trees(self) -> bool:
        """The model's own."""
        return self.model.trees

    def start(self, prompt_BT: Tensor, taps: Taps = Taps()) -> tuple[Context, Scores]:  # noqa: B008  (frozen)
        """As the model does. Candidates are tapped from the first draft on, for no row of a prompt is asked of them."""
        context, prefill = self.model.start(prompt_BT, taps)
        return replace(context, taps=context.taps | Taps(self.layers)), prefill

    def score(self, context: Context, draft: Draft) -> Scores:
        """Row 0 follows the root, row i + 1 follows node i. Among the tapped layers are the candidates."""
        scores = self.model.score(context, draft)
        logits_BMV = scores.logits_BMV.float()
        said_BMV = contrast(logits_BMV, self._exits(scores, logits_BMV), self.alpha)
        return replace(scores, logits_BMV=said_BMV)

    def commit(self, context: Context, verdict: Verdict) -> Context:
        """As the model does."""
        return self.model.commit(context, verdict)

    def tokens(self, context: Context) -> Tensor:
        """tokens_BT: prompt and committed ids, right-padded with PAD."""
        return self.model.tokens(context)

    def prepare(self, prompt_1T: Tensor, taps: Taps = Taps()) -> bool:  # noqa: B008  (frozen)
        """Read one more chunk of a prompt in advance; whether `start` has at most a chunk left to read."""
        return self.model.prepare(prompt_1T, taps)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The model's own."""
        return self.model.cache_bytes(tokens)

    def spans(self, context: Context, draft: Draft, done: int | None) -> list[Span]:
        """The model's own: early exits draft in the same cache."""
        return self.model.spans(context, draft, done)

    @property
    def network(self) -> Lean:
        """The model's own."""
        return cast("Lean", self.model.network)

    @property
    def context(self) -> int:
        """Positions that the model was made for."""
        return self.model.context

    @property
    def rows(self) -> RowClass | None:
        """The model's own."""
        return self.model.rows

    @property
    def prefixes(self) -> Prefixes | None:
        """The model's own."""
        return self.model.prefixes

    def _exits(self, scores: Scores, logits_BMV: Tensor) -> Iterator[Tensor]:
        """logits_BMV of each candidate, one at a time: of a large vocabulary each is large."""
        for layer in self.layers:
            if layer == len(self.network.layers):  # what is tapped of it has passed the norm
                yield logits_BMV
                continue
            hidden_BMD = scores.hidden((layer,))
            logits_RV = resized(self._spoken(hidden_BMD.flatten(0, 1)).float(), self.vocab)
            yield logits_RV.view_as(logits_BMV)

    def _spoken(self, hidden_RD: Tensor) -> Tensor:
        """logits_RV of such rows; in exact mode in blocks that the class holds, each filled up if short."""
        rows, lone = self.model.rows, self.network.lone
        if rows is None:
            return self._filled(hidden_RD, lone)
        parts_RD = hidden_RD.split(rows.columns(1))
        return torch.cat([self._filled(part_RD, rows.fill(1, len(part_RD))) for part_RD in parts_RD])

    def _filled(self, hidden_RD: Tensor, least: int) -> Tensor:
        filled_RD = pad(hidden_RD, (0, 0, 0, max(0, least - len(hidden_RD))))
        return self.network.head(self.network.norm(filled_RD) if self.normed else filled_RD)[: len(hidden_RD)]


def bucket(half: Bucket, last: int, tied: bool) -> tuple[int, ...]:
    """Every second layer of the lower or the upper half of `last` layers, as in transformers.

    tied: whether the output matrix is the embedding: the lowest exits then repeat the token itself, and are left out.
    Raises BadInput for another half.
    """
    if half == "high":
        return tuple(range(max(last // 2, last - DEEPEST), last, 2))
    if half != "low":
        raise BadInput(f"DoLa's candidates are low, high or a list of layers, got {half!r}")
    first = min(2, last - 1) if tied else 0
    return tuple(range(first, min(last // 2, DEEPEST), 2)) or (first,)


def contrast(logits_XV: Tensor, exits: Iterable[Tensor], alpha: float) -> Tensor:
    """log of last / earlier, logits_XV: the earlier is, row by row, the first of those exits, each logits_XV, that are
    furthest from the last."""
    # float64: which exit is taken must not hang on the order of a sum.
    law_XV = logits_XV.double().softmax(-1)
    furthest_X1, chosen_XV = None, logits_XV
    for exit_XV in exits:
        exit_law_XV = exit_XV.double().softmax(-1)
        # The entropy of the last layer itself is in every divergence: it decides nothing.
        apart_X1 = (_entropy((law_XV + exit_law_XV) / 2) - _entropy(exit_law_XV) / 2)[..., None]
        if furthest_X1 is None:
            furthest_X1, chosen_XV = apart_X1, exit_XV
            continue
        chosen_XV = torch.where(apart_X1 > furthest_X1, exit_XV, chosen_XV)
        furthest_X1 = torch.maximum(apart_X1, furthest_X1)
    said_XV = powers(logits_XV.log_softmax(-1), 1.0, chosen_XV.log_softmax(-1), -1.0)
    return plausible(said_XV, logits_XV, alpha)


def _entropy(law_XV: Tensor) -> Tensor:
    """nats_X."""
    return torch.special.entr(law_XV).sum(-1)

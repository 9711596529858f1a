"""Superposed decoding: several drafts of the next words at one pass a token, fed with a mixture of their last tokens.

The model sees one text that is all drafts a little, so its law is theirs in common; n-grams tell which token belongs to
which draft. Lossy: meant for suggestions, of which the best is the text. The authors count n-grams in ten billion
tokens; here they come from the text so far and from what is given.

Source: Shen et al. 2024, arXiv:2405.18400.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Generic, Protocol, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.ngrams import LONGEST, NGrams, blended
from decant.errors import BadInput
from decant.noise import Noise
from decant.types import PAD, Step

C = TypeVar("C")  # the mixer's context

WEIGHTS: Final = (0.01, 0.04, 0.15, 0.18, 0.12)  # of contexts of one to five tokens, as published
assert len(WEIGHTS) == LONGEST


class Mixer(Protocol[C]):
    """A language model that can be fed with mixtures of tokens."""

    @property
    def vocab(self) -> int: ...

    def start(self, prompt_BT: Tensor) -> C: ...

    def root(self, context: C) -> Tensor:
        """logits_BV that follow the text."""
        ...

    def mixed(self, context: C, tokens_BK: Tensor, weights_BK: Tensor) -> tuple[C, Tensor]:
        """One more row, a weighted sum of tokens, behind those so far; and logits_BV that follow it."""
        ...

    def commit(self, context: C, tokens_BC: Tensor) -> C:
        """The text goes on with these tokens, mixed rows are dropped."""
        ...

    def tokens(self, context: C) -> Tensor:
        """tokens_BT: the text."""
        ...

    def prepare(self, prompt_1T: Tensor) -> bool: ...

    def cache_bytes(self, tokens: Sequence[int]) -> int: ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class SuperposedState(Generic[C]):
    """What is remembered between steps."""

    context: C
    noise: Noise


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """Drafts in the making. alive: those that go on; over: those that met an end token; both best first.

    text_BL, done_B: the draft that was the best of all when it ended, and whether there is one.
    """

    alive_BKL: Tensor
    alive_BK: Tensor
    over_BKL: Tensor
    over_BK: Tensor
    text_BL: Tensor
    done_B: Tensor


@final
@dataclass(frozen=True, slots=True)
class Superposed(Generic[C]):
    """A step is a stretch of `length` tokens: `drafts` of them are written, the best is the text, and the next stretch
    starts from it alone. With one draft and alpha 0 this is greedy decoding. No warp: it has a temperature of its own.

    alpha:   how much n-grams count, against the model.
    keep:    tokens of a law that are looked at.
    penalty: nats, for a draft none of whose tokens any n-gram has seen.
    ends:    ids that end a draft.
    grams:   n-grams of a corpus; those of the text itself come on top.
    """

    mixer: Mixer[C]
    drafts: int = 3
    length: int = 16
    alpha: float = 0.54
    temperature: float = 0.06
    keep: int = 9
    penalty: float = 200.0
    ends: frozenset[int] = frozenset()
    grams: NGrams = field(default_factory=NGrams)

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 1 <= self.drafts <= self.keep or self.length < 1 or not 0 <= self.alpha < 1 or self.temperature <= 0:
            raise BadInput(
                f"superposed needs 1 to keep={self.keep} drafts, a length of at least 1, an alpha in [0, 1) and a "
                f"temperature above 0, got drafts {self.drafts}, length {self.length}, alpha {self.alpha}, "
                f"temperature {self.temperature}"
            )
        if self.drafts >= self.mixer.vocab:
            raise BadInput(f"{self.drafts} drafts need more than {self.mixer.vocab} tokens to choose from; take fewer")

    def start(self, prompt_BT: Tensor, noise: Noise) -> SuperposedState[C]:
        """Read the prompt."""
        return SuperposedState(self.mixer.start(prompt_BT), noise)

    def step(self, state: SuperposedState[C]) -> tuple[SuperposedState[C], Step]:
        """Up to `length` tokens of every request: fewer where the best draft ends. All drafts are told, whose worth is
        in nats of the blend, no likelihood."""
        texts = [[token for token in row if token != PAD] for row in self.mixer.tokens(state.context).tolist()]
        tables = [(self.grams, NGrams.of([text])) for text in texts]
        context, logits_BV = state.context, self.mixer.root(state.context)
        search = self._fresh(logits_BV)
        for at in range(self.length):
            if at:
                last_BK = search.alive_BKL[:, :, at - 1].clamp_min(0)  # an absent draft weighs nothing
                weights_BK = search.alive_BK.softmax(-1).nan_to_num()  # nan where every draft has ended
                context, logits_BV = self.mixer.mixed(context, last_BK, weights_BK)
            logp_BW, ids_BW = self._likely(logits_BV)
            step_BKW = logp_BW[:, None].expand(-1, self.drafts, -1)
            if at:
                grams_BKW = self._grams(texts, tables, search.alive_BKL[:, :, :at], ids_BW)
                step_BKW = self._blend(step_BKW, grams_BKW.to(logp_BW.device))
            search = self._chosen(search, step_BKW, ids_BW, at)
            if bool(search.done_B.all()):  # sync: does any draft go on?
                break
        tokens_BC = torch.where(search.done_B[:, None], search.text_BL, search.alive_BKL[:, 0])
        tokens_BC = tokens_BC[:, : int((tokens_BC != PAD).sum(-1).amax())]
        drafts_BKL, scores_BK = _best(
            torch.cat([search.alive_BKL, search.over_BKL], 1), torch.cat([search.alive_BK, search.over_BK], 1)
        )
        slots_C = torch.arange(tokens_BC.shape[1], device=tokens_BC.device)
        positions_BC = (state.noise.root_B[:, None] + slots_C).where(tokens_BC != PAD, PAD)
        after = SuperposedState(
            context=self.mixer.commit(context, tokens_BC),
            noise=state.noise.advance((tokens_BC != PAD).sum(-1)),
        )
        step = Step(tokens_BC, positions_BC, torch.zeros_like(tokens_BC, dtype=torch.bool))
        return after, replace(step, drafts_BKL=drafts_BKL, worth_BK=scores_BK)

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk; whether `start` has at most a chunk left."""
        return self.mixer.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The model's."""
        return self.mixer.cache_bytes(tokens)

    def _fresh(self, logits_BV: Tensor) -> _Search:
        """One empty draft: the others are too unlikely to have children."""
        shape, device = (len(logits_BV), self.drafts, self.length), logits_BV.device
        nobody_BKL = torch.full(shape, PAD, dtype=torch.int64, device=device)
        none_BK = torch.full(shape[:2], -math.inf, device=device)
        first_BK = none_BK.index_fill(1, torch.zeros(1, dtype=torch.int64, device=none_BK.device), 0.0)
        never_B = torch.zeros(len(nobody_BKL), dtype=torch.bool, device=none_BK.device)
        return _Search(nobody_BKL, first_BK, nobody_BKL, none_BK, nobody_BKL[:, 0], never_B)

    def _likely(self, logits_BV: Tensor) -> tuple[Tensor, Tensor]:
        """logp_BW and ids_BW of the likeliest tokens, whose law sums to one."""
        logp_BV = (logits_BV.float() / self.temperature).log_softmax(-1)
        logp_BW, ids_BW = logp_BV.topk(min(self.keep, logp_BV.shape[-1]), -1)
        return logp_BW.log_softmax(-1), ids_BW

    def _grams(
        self, texts: list[list[int]], tables: list[tuple[NGrams, NGrams]], drafts_BKL: Tensor, ids_BW: Tensor
    ) -> Tensor:
        """grams_BKW, on the host: how well each token follows each draft, by n-grams."""
        ids = ids_BW.tolist()  # sync: tables are on the host
        return torch.tensor(
            [
                [blended(pair, [*text[-LONGEST:], *draft], row, WEIGHTS) for draft in drafts]
                for pair, text, drafts, row in zip(tables, texts, drafts_BKL.tolist(), ids, strict=True)
            ]
        )

    def _blend(self, logp_BKW: Tensor, grams_BKW: Tensor) -> Tensor:
        """(1 - alpha) log p + alpha log n-gram; a draft of which no n-gram knows anything pays instead."""
        if self.alpha == 0:
            return logp_BKW
        known_BK1 = (grams_BKW > 0).any(-1, keepdim=True)
        model_BKW = (1 - self.alpha) * logp_BKW
        return torch.where(known_BK1, model_BKW + self.alpha * grams_BKW.log(), model_BKW - self.penalty)

    def _chosen(self, search: _Search, step_BKW: Tensor, ids_BW: Tensor, at: int) -> _Search:
        """Of the best pairs of a draft and a token those that end leave; the `drafts` best others go on."""
        pairs_BX = (search.alive_BK[..., None] + step_BKW).flatten(1)
        ends_E = torch.tensor(sorted(self.ends), dtype=torch.int64, device=ids_BW.device)
        end_BX = (ids_BW[..., None] == ends_E).any(-1).repeat(1, self.drafts)
        least_B1 = pairs_BX.topk(min(2 * self.drafts, pairs_BX.shape[1]), -1).values[:, -1:]
        alive_BKL, alive_BK = self._longer(search, pairs_BX.masked_fill(end_BX, -math.inf), ids_BW, at)
        new_BKL, new_BK = self._longer(
            search, pairs_BX.masked_fill(~end_BX | (pairs_BX < least_B1), -math.inf), ids_BW, at
        )
        over_BKL, over_BK = _best(torch.cat([search.over_BKL, new_BKL], 1), torch.cat([search.over_BK, new_BK], 1))
        wins_B = (new_BK[:, 0] > -math.inf) & (new_BK[:, 0] >= alive_BK[:, 0]) & ~search.done_B
        text_BL = torch.where(wins_B[:, None], new_BKL[:, 0], search.text_BL)
        return _Search(alive_BKL, alive_BK, over_BKL, over_BK, text_BL, search.done_B | wins_B)

    def _longer(self, search: _Search, pairs_BX: Tensor, ids_BW: Tensor, at: int) -> tuple[Tensor, Tensor]:
        """The best drafts that are one token longer, and their scores."""
        width = ids_BW.shape[1]
        scores_BK, pair_BK = pairs_BX.topk(self.drafts, -1)
        longer_BKL = search.alive_BKL.gather(1, (pair_BK // width)[..., None].expand(-1, -1, self.length)).clone()
        longer_BKL[:, :, at] = ids_BW.gather(1, pair_BK % width)
        return longer_BKL.where(scores_BK[..., None] > -math.inf, PAD), scores_BK


def _best(drafts_BXL: Tensor, scores_BX: Tensor) -> tuple[Tensor, Tensor]:
    """The better half of two lists, best first."""
    scores_BK, at_BK = scores_BX.topk(scores_BX.shape[1] // 2, -1)
    return drafts_BXL.gather(1, at_BK[..., None].expand(-1, -1, drafts_BXL.shape[-1])), scores_BK

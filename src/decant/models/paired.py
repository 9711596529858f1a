"""Two sides of each request, blended into one law: a continuation behind two prompts, or in two models, or both.

Drafters and verifiers see one `LanguageModel`: every draft is scored on both sides, and what is committed goes to both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, cast, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from decant.errors import BadInput, IncompatibleParts
from decant.models.causal import Causal
from decant.models.network import Network
from decant.models.other_prompts import OtherPrompt
from decant.models.padded import Padded
from decant.models.prefixes import Prefixes
from decant.models.rows import RowClass
from decant.models.sides import Apart, Sides, Together
from decant.protocols import LanguageModel
from decant.types import PAD, Draft, Scores, Taps, Verdict

S = TypeVar("S")  # what is remembered of both sides

Blend = Callable[[Tensor, Tensor], Tensor]
"""(logits_XV, other_logits_XV) -> logits_XV, float32, pointwise in X. A constant added to a row of either must
not matter."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Paired(Generic[S]):
    """The two sides, blended: a `LanguageModel`.

    prompt: what the other side reads in place of a request's prompt.

    Whatever is tapped, of drafts and of prompts, is the own side's: a hidden state belongs to one model, and of a
    prompt's logits and best ids drafters take hints, which are not worth a second pass. Twice the cache and twice the
    rows of a model. Raises IncompatibleParts for sides of different vocabularies.
    """

    sides: Sides[S]
    blend: Blend
    prompt: OtherPrompt

    def __post_init__(self) -> None:
        own, other = self.sides.model.vocab, self.sides.other.vocab
        if own != other:
            raise IncompatibleParts(
                f"two models are blended token by token, but one has {own} logits and the other {other}; take two of "
                f"one tokenizer, and one number of logits"
            )

    @property
    def vocab(self) -> int:
        """How many logits a row has."""
        return self.sides.model.vocab

    @property
    def trees(self) -> bool:
        """Whether both sides take drafts that branch."""
        return self.sides.model.trees and self.sides.other.trees

    def start(self, prompt_BT: Tensor, taps: Taps = Taps()) -> tuple[S, Scores]:  # noqa: B008  (frozen)
        """Cache both prompts but their last tokens. Raises BadInput for a prompt that a model cannot hold."""
        return self.sides.start(prompt_BT, self._others(prompt_BT), taps)

    def score(self, context: S, draft: Draft) -> Scores:
        """Row 0 follows both roots, row i + 1 follows node i."""
        scores, other_BMV = self.sides.score(context, draft)
        return replace(scores, logits_BMV=self.blend(scores.logits_BMV.float(), other_BMV.float()))

    def commit(self, context: S, verdict: Verdict) -> S:
        """Keep the accepted path on both sides."""
        return self.sides.commit(context, verdict)

    def tokens(self, context: S) -> Tensor:
        """tokens_BT: the requests' own prompts and committed ids, right-padded with PAD."""
        return self.sides.tokens(context)

    def prepare(self, prompt_1T: Tensor, taps: Taps = Taps()) -> bool:  # noqa: B008  (frozen)
        """Read one more chunk of a prompt in advance; whether `start` has at most a chunk of each left to read."""
        return self.sides.prepare(prompt_1T, self._others(prompt_1T), taps)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Of both sides, at most."""
        return self.sides.cache_bytes(tokens, [count + self.prompt.longer for count in tokens])

    @property
    def network(self) -> Network:
        """The own side's."""
        return _loaded(self.sides.model).network

    @property
    def context(self) -> int:
        """Positions of a request, so that neither side overflows."""
        return min(_loaded(self.sides.model).context, _loaded(self.sides.other).context - self.prompt.longer)

    @property
    def rows(self) -> RowClass | None:
        """The own side's, where both are exact."""
        return _loaded(self.sides.model).rows if _loaded(self.sides.other).rows is not None else None

    @property
    def prefixes(self) -> Prefixes | None:
        """The own side's."""
        return _loaded(self.sides.model).prefixes

    def _others(self, prompt_BT: Tensor) -> Tensor:
        """The other prompts, right-padded. Raises BadInput for one that is longer than its rule promises."""
        owns = [row_T[row_T != PAD].tolist() for row_T in prompt_BT]  # sync: a rule sees ids
        others = [list(self.prompt(own)) for own in owns]
        for own, other in zip(owns, others, strict=True):
            if len(other) > len(own) + self.prompt.longer:
                raise BadInput(
                    f"the other prompt has {len(other)} tokens beside a prompt of {len(own)}, but its rule promises at "
                    f"most {self.prompt.longer} more; correct what it says of `longer`"
                )
        rows = [torch.tensor(other, dtype=torch.int64, device=prompt_BT.device) for other in others]
        return pad_sequence(rows, batch_first=True, padding_value=PAD)


def one_model(model: LanguageModel) -> Sides:
    """Both sides in `model`; in one pass, unless its requests share a grid."""
    return Apart(model, model) if isinstance(getattr(model, "network", None), Padded) else Together(model)


def _loaded(model: LanguageModel) -> Causal:
    """What an application loads, and wrappers of it, have a network and its facts; a toy has not."""
    return cast("Causal", model)

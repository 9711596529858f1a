"""Online speculative decoding: the draft model learns from every correction, between requests.

The draft's weights change, the output's law does not: a verifier trusts no draft. Lessons are given in `warmed`, when a
request has ended. Others that run beside it go on with the new weights over keys of the old ones: they may guess worse.

The card's public code takes the target's distribution from the position of the corrected token itself; what predicts a
token lies one position earlier, and that is what is learnt here.
Source: Liu et al. 2023, arXiv:2310.07177.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.drafting.growing import evaluated, grown
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import LanguageModel, Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict, join_rows, select_rows


class Tutor(Protocol):
    """A model that can be taught: `models.tutor.Tutor`."""

    @property
    def model(self) -> LanguageModel[Any]:
        """What drafts, with the weights of now."""
        ...

    def taught(self, tokens_BT: Tensor, at_BP: Tensor, ids_BPK: Tensor, probs_BPK: Tensor, seconds: float) -> Self:
        """After one lesson, of so many seconds at most; this one stays as it is."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What the target put where a draft had ended or gone wrong.

    at_BP:     length of the text that it follows; PAD where there is none.
    ids_BPK, probs_BPK: the target's best ids there before any warp, and their probabilities.
    """

    at_BP: Tensor
    ids_BPK: Tensor
    probs_BPK: Tensor

    def select(self, rows_R: Tensor) -> "Lessons":
        """Those of some requests."""
        return Lessons(self.at_BP[rows_R], self.ids_BPK[rows_R], self.probs_BPK[rows_R])

    def join(self, other: "Lessons") -> "Lessons":
        """These requests, then the other's."""
        width = max(self.at_BP.shape[1], other.at_BP.shape[1])
        one, two = self._of(width), other._of(width)
        return Lessons(*(torch.cat(pair) for pair in zip(one, two, strict=True)))

    def _of(self, width: int) -> tuple[Tensor, Tensor, Tensor]:
        more = width - self.at_BP.shape[1]
        ids_BPK, probs_BPK = (pad(part, (0, 0, 0, more)) for part in (self.ids_BPK, self.probs_BPK))
        return pad(self.at_BP, (0, more), value=PAD), ids_BPK, probs_BPK


@final
@dataclass(frozen=True, slots=True, eq=False)
class OnlineState:
    """context: the draft model's; length_B: tokens of each text; lessons: of this request, the last few."""

    context: Any
    length_B: Tensor
    lessons: Lessons

    def select(self, rows_R: Tensor) -> "OnlineState":
        """Some requests."""
        return OnlineState(select_rows(self.context, rows_R), self.length_B[rows_R], self.lessons.select(rows_R))

    def join(self, other: "OnlineState") -> "OnlineState":
        """These requests, then the other's."""
        return OnlineState(
            join_rows(self.context, other.context),
            torch.cat([self.length_B, other.length_B]),
            self.lessons.join(other.lessons),
        )


@final
@dataclass(frozen=True, slots=True)
class Online:
    """`draft-model`, whose model is taught between requests.

    top:  ids of the target's distribution that a lesson keeps: 12 bytes each.
    lessons: kept of a request; the last count.
    seconds: of learning after a request, at most; a server learns on a thread of its own meanwhile.
    Raises BadInput for a top or lessons below 1, or seconds below 0.
    """

    tutor: Tutor
    coupled: bool = True
    top: int = 32
    lessons: int = 256
    seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.top < 1 or self.lessons < 1 or not self.seconds >= 0:
            raise BadInput(
                f"online needs top >= 1, lessons >= 1 and seconds >= 0, got top {self.top}, lessons {self.lessons}, "
                f"seconds {self.seconds}"
            )

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target but the rows that it drafted."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> OnlineState:
        """The model's own context, and no lesson yet."""
        batch, top = len(prompt_BT), min(self.top, prefill.logits_BMV.shape[-1])
        none_BPK = prompt_BT.new_empty(batch, 0, top)
        lessons = Lessons(prompt_BT.new_empty(batch, 0), none_BPK, none_BPK.float())
        return OnlineState(self.tutor.model.start(prompt_BT)[0], (prompt_BT != PAD).sum(-1), lessons)

    def draft(self, state: OnlineState, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """As the model of now would."""
        model = self.tutor.model
        return grown(lambda tree: model.score(state.context, tree).logits_BMV, shape, warp, noise, self.coupled)

    def observe(self, state: OnlineState, draft: Draft, verdict: Verdict, scores: Scores) -> OnlineState:
        """Note what the target thought behind the last guess that it kept."""
        kept_B = verdict.accepted_B
        end_B1 = verdict.nodes_BC.gather(1, (kept_B - 1).clamp_min(0)[:, None]).where(kept_B[:, None] > 0, PAD)
        logits_BV = scores.logits_BMV[torch.arange(len(kept_B), device=kept_B.device), end_B1.squeeze(1) + 1]
        probs_BK, ids_BK = logits_BV.float().softmax(-1).topk(state.lessons.ids_BPK.shape[2], dim=-1)
        lessons = Lessons(
            torch.cat([state.lessons.at_BP, (state.length_B + kept_B)[:, None]], 1)[:, -self.lessons :],
            torch.cat([state.lessons.ids_BPK, ids_BK[:, None]], 1)[:, -self.lessons :],
            torch.cat([state.lessons.probs_BPK, probs_BK[:, None]], 1)[:, -self.lessons :],
        )
        context = self.tutor.model.commit(state.context, evaluated(draft, verdict))
        return OnlineState(context, state.length_B + verdict.committed_B, lessons)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The model's own."""
        return self.tutor.model.cache_bytes(tokens)

    def warmed(self, state: OnlineState) -> "Online":
        """This drafter, after the lessons of `state`."""
        tokens_BT = self.tutor.model.tokens(state.context)
        with torch.inference_mode(False), torch.enable_grad():
            lessons = state.lessons
            lesson = (tokens_BT, lessons.at_BP, lessons.ids_BPK, lessons.probs_BPK)
            return replace(self, tutor=self.tutor.taught(*lesson, self.seconds))

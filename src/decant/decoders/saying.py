"""What was thought beside what was said: log-probabilities of each chosen token and of the likeliest in its place, and
drafts that might have been said instead.

Source of the first: the `logprobs` of the OpenAI API, https://platform.openai.com/docs/api-reference/completions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import along_path, take
from decant.protocols import Warp
from decant.types import PAD, Step, Verdict


@final
@dataclass(frozen=True, slots=True)
class Logprobs:
    """Which log-probabilities are wanted. Raises BadInput for a negative count.

    top:       how many of the likeliest tokens at each position, beside the chosen one.
    processed: of the law that is drawn from, behind constraint and warp; else of the model's own.
    """

    top: int = 0
    processed: bool = False

    def __post_init__(self) -> None:
        if self.top < 0:
            raise BadInput(f"logprobs is 0 (the chosen token alone) or more, got {self.top}")


@final
@dataclass(frozen=True, slots=True)
class Logprob:
    """What was thought of one output token.

    logp: of the token itself, in nats.
    top:  (id, logp) of the likeliest, best first; fewer than asked for where the others are forbidden.
    """

    logp: float
    top: tuple[tuple[int, float], ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Suggestion:
    """One of several drafts of a text from one output position on.

    score: the higher the better; of what scale, the decoder knows. text: where somebody has spelt it.
    """

    position: int
    tokens: list[int]
    score: float
    text: str = ""

    def spelt(self, said: list[int], decode: Callable[[list[int]], str]) -> "Suggestion":
        """With its text, behind what was said."""
        front = said[: self.position]
        return replace(self, text=decode(front + self.tokens)[len(decode(front)) :])


def wanted(top: int | None, processed: bool) -> Logprobs | None:
    """From two settings. Raises BadInput where it is said which, but not that there shall be any."""
    if top is None and processed:
        raise BadInput("processed_logprobs says which log-probabilities, and logprobs how many; give both or neither")
    return None if top is None else Logprobs(top, processed)


def told(asked: Logprobs | None, step: Step, verdict: Verdict, raw_BMV: Tensor, ready_BMV: Tensor, warp: Warp) -> Step:
    """The step with what is asked of it; nothing is computed where nothing is.

    raw_BMV:   the target's logits, rows as in `LanguageModel.score`.
    ready_BMV: the same behind the constraint.
    """
    if asked is None:
        return step
    rows_BCV = along_path(ready_BMV if asked.processed else raw_BMV, verdict.nodes_BC).float()
    logp_BCV = (warp(rows_BCV) if asked.processed else rows_BCV).log_softmax(-1)
    top_BCK = likeliest_ids(logp_BCV, asked.top)
    return replace(
        step,
        logp_BC=take(logp_BCV, verdict.tokens_BC),
        top_BCK=top_BCK,
        top_logp_BCK=logp_BCV.gather(-1, top_BCK),
    )


def likeliest_ids(logp_XV: Tensor, count: int) -> Tensor:
    """ids_XK of the largest float32 entries, best first; of equal ones the smaller id, which topk alone leaves open."""
    bits_XV = logp_XV.contiguous().view(torch.int32)
    order_XV = (bits_XV ^ ((bits_XV >> 31) & 0x7FFFFFFF)).long()  # as integers in the order of the floats
    ids_V = torch.arange(logp_XV.shape[-1], device=logp_XV.device)
    return ((order_XV << 32) - ids_V).topk(count, dim=-1).indices


def rows_of(step: Step) -> Iterator[tuple[list[int], list[int], list[bool], list[Logprob], list[Suggestion]]]:
    """Of each request the tokens of a step, PAD behind, their positions, which were guessed, what was thought of them,
    if asked, and what might have been said instead, if the decoder knows."""
    tokens = step.tokens_BC.tolist()  # sync: may a text end?
    rows = zip(tokens, step.positions_BC.tolist(), step.drafted_BC.tolist(), _suggestions(step), strict=True)
    if step.logp_BC is None or step.top_BCK is None or step.top_logp_BCK is None:
        yield from ((*row, [], others) for *row, others in rows)
        return
    values = step.logp_BC.tolist(), step.top_BCK.tolist(), step.top_logp_BCK.tolist()
    for (*row, others), logps, tops, top_logps in zip(rows, *values, strict=True):
        places = zip(row[0], logps, tops, top_logps, strict=True)
        thought = [Logprob(logp, _allowed(top, top_logp)) for one, logp, top, top_logp in places if one != PAD]
        yield (*row, thought, others)


def _suggestions(step: Step) -> list[list[Suggestion]]:
    """Of each request; none where it said nothing."""
    if step.drafts_BKL is None or step.worth_BK is None:
        return [[] for _ in step.tokens_BC]
    rows = zip(step.positions_BC.tolist(), step.drafts_BKL.tolist(), step.worth_BK.tolist(), strict=True)
    return [
        [
            Suggestion(min(at for at in positions if at != PAD), [token for token in draft if token != PAD], score)
            for draft, score in zip(drafts, scores, strict=True)
            if score > -torch.inf and any(at != PAD for at in positions)
        ]
        for positions, drafts, scores in rows
    ]


def _allowed(ids: list[int], logps: list[float]) -> tuple[tuple[int, float], ...]:
    return tuple((one, logp) for one, logp in zip(ids, logps, strict=True) if logp > -torch.inf)

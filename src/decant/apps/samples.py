"""Many samples of one prompt, and the answer that they vote for.

Source: Brown et al. 2024, arXiv:2407.21787 (repeated sampling); Agarwal et al. 2025, arXiv:2505.18149 (first finish);
Kang et al. 2025, arXiv:2502.18581 (self-certainty, Borda).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Unpack, final, get_args

from decant.apps.api import Choosing, More
from decant.apps.catalog import check
from decant.apps.choosing import refuse_stops
from decant.apps.guidance import Guidance
from decant.apps.opening import Opening
from decant.apps.prompts import chat_prompt, encode, text_prompt
from decant.apps.sampling import Sampling
from decant.apps.session import Limits, Model, Session, open_session
from decant.decoders.generate import Output
from decant.decoders.many import everything, finished, first_finish, many, seeds_of
from decant.decoders.rescoring import Judged, rescored
from decant.decoders.stopping import Reason, Stopping
from decant.decoders.text import TextStream
from decant.decoders.voting import best, borda, majority, weighted
from decant.errors import BadInput
from decant.models.dola import Bucket
from decant.protocols import Warp

Vote = Literal["majority", "certainty", "borda", "likelihood"]
"""One vote a sample; weighed by self-certainty; by its rank; the answer of the likeliest sample."""

VOTES: Final[tuple[str, ...]] = get_args(Vote)


@final
@dataclass(frozen=True, slots=True)
class Poll:
    """How many samples are drawn, when that is enough, and how they vote.

    power:   of a Borda vote; 0 is the majority.
    first:   stop when so many samples have finished with an answer, which alone vote; None: all go on to their ends.
    pattern: regular expression of an answer: its first group, else all of it, where it matches last; None: the text.
    Raises BadInput for what cannot be asked.
    """

    count: int = 16
    vote: Vote = "majority"
    power: float = 1.0
    first: int | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadInput(f"the number of samples is 1 or more, got {self.count}")
        if self.vote not in VOTES:
            raise BadInput(f"no vote is called {self.vote!r}; take {', '.join(VOTES[:-1])} or {VOTES[-1]}")
        if not self.power >= 0:
            raise BadInput(f"the power of a Borda vote is 0 or more, got {self.power}; 0 is the majority")
        if self.first is not None and not 1 <= self.first <= self.count:
            raise BadInput(f"of {self.count} samples the first 1 to {self.count} can be waited for, got {self.first}")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise BadInput(f"the answer's pattern {self.pattern!r} is no regular expression: {error}") from None

    def answer(self, text: str) -> str | None:
        """What a text votes for, blanks around it left out; None: it says nothing."""
        said = text
        if self.pattern is not None:
            matches = list(re.finditer(self.pattern, text))
            # An optional group may match nothing.
            said = (matches[-1][1 if matches[-1].re.groups else 0] or "") if matches else ""
        return said.strip() or None

    def votes(self, answers: Sequence[str | None], judged: Sequence[Judged]) -> dict[str, float]:
        """Weights of the different answers, the winner first."""
        if self.vote == "majority":
            return majority(answers)
        if self.vote == "likelihood":
            return best(answers, [one.mean_logp for one in judged])
        certainty = [one.mean_certainty for one in judged]
        return weighted(answers, certainty) if self.vote == "certainty" else borda(answers, certainty, self.power)


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """One sample.

    text:      without special tokens, cut in front of a stop string.
    tokens:    output ids, an end token included.
    reason:    as a completion's; None: it was stopped, since others had finished.
    logp:      nats of each token under the target, led by whatever leads it, before any constraint and warp.
    certainty: mean over its places of KL(uniform || law), nats.
    answer:    what it votes for; None: it has no vote.
    """

    text: str
    tokens: list[int]
    reason: Reason | None
    logp: list[float]
    certainty: float
    answer: str | None

    @property
    def mean_logp(self) -> float:
        """Nats of a token."""
        return Judged(self.logp, []).mean_logp


@final
@dataclass(frozen=True, slots=True)
class Samples:
    """All samples of a prompt.

    votes: weight of each different answer, the winner first.
    steps: target calls that all of them shared, the prompt's and the rescoring's left out.
    """

    samples: list[Sample]
    votes: dict[str, float]
    steps: int

    @property
    def answer(self) -> str | None:
        """The winner; None where no sample has an answer."""
        return next(iter(self.votes), None)

    @property
    def best(self) -> Sample | None:
        """Of the samples with the winning answer the likeliest a token."""
        agreeing = [one for one in self.samples if one.answer is not None and one.answer == self.answer]
        return max(agreeing, key=lambda one: one.mean_logp, default=None)


def samples(
    model: Model,
    prompt: str | list[dict[str, str]],
    n: int = 16,
    *,
    vote: Vote = "majority",
    power: float = 1.0,
    first: int | None = None,
    answer: str | None = None,
    draft: Model | None = None,
    method: str = "plain",
    verifier: str | None = None,
    policy: str | None = None,
    max_tokens: int = 128,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    sampler: Sequence[Warp] | None = None,
    constraint: Choosing | None = None,
    guidance: float | None = None,
    negative_prompt: str | None = None,
    contrast: Model | None = None,
    contrast_beta: float | None = None,
    dola: Bucket | None = None,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    dtype: str = "auto",
    device: str = "auto",
    exact: Literal["auto", "on", "off"] = "off",
    **more: Unpack[More],
) -> Samples:
    """Draw `n` samples of one prompt, text or messages, as one batch that reads it once, and let them vote.

    vote, power, first, answer: as in `Poll`.
    temperature: by default the model's own, or 1 where the model's own is greedy.
    sampler, constraint, guidance ... dola, and the other settings of the sampler: as in `generate`.
    Sample i is what plain decoding says with the seed sample_seed(seed, i). Raises DecantErrors.
    """
    poll = Poll(n, vote, power, first, answer)
    check([method], verifier, policy)
    asked = text_prompt(prompt, "the prompt") if isinstance(prompt, str) else chat_prompt(prompt, "the prompt")
    limits = Limits(max_tokens, (stop,) if isinstance(stop, str) else tuple(stop))
    refuse_stops(constraint, limits.stop)
    leading = Guidance(guidance, negative_prompt, contrast, contrast_beta, dola)
    session = open_sampling(
        model, draft, Sampling(temperature, top_k, top_p, min_p, **more), Opening(dtype, device, exact), poll,
        method=method, verifier=verifier, policy=policy, warps=sampler, constraint=constraint, guidance=leading,
    )  # fmt: skip
    return drawn(session, encode([asked], session.led)[0], poll, seed, limits)


def open_sampling(
    model: Model, draft: Model | None, sampling: Sampling, opening: Opening, poll: Poll, **how: Any
) -> Session:
    """A session whose samples differ. how: as in `open_session`; warps, where there are any, decide whether they do.

    Raises BadInput where several are asked of a temperature of 0.
    """
    target = opening.target(model)
    if poll.count > 1 and sampling.temperature == 0:
        raise BadInput(
            f"at temperature 0 all {poll.count} samples are the same; give a temperature above 0, or ask for one"
        )
    greedy = sampling.temperature is None and not sampling.settled(target.defaults).temperature
    if not greedy or how.get("warps") is not None:
        return open_session(target, draft, sampling, opening, **how)
    session = open_session(target, draft, replace(sampling, temperature=1.0), opening, **how)
    assert session.chosen is not None
    applied = (replace(one, origin="default") if one.name == "temperature" else one for one in session.chosen.applied)
    return replace(session, chosen=replace(session.chosen, applied=tuple(applied)))


def drawn(session: Session, prompt: list[int], poll: Poll, seed: int, limits: Limits, rescore: bool = True) -> Samples:
    """The samples of one prompt. rescore: read them once more for log-probabilities, which some votes need.

    Raises BadInput for a prompt without room behind it.
    """
    target = session.led
    room = min(limits.max_tokens, target.model.context - len(prompt))
    decode, device = target.after(prompt), target.model.network.device
    stopping = Stopping(room, target.ends, limits.stop, decode)

    def text(tokens: list[int]) -> str:
        return TextStream(decode, limits.stop).feed(tokens, done=True)

    def answers(tokens: list[int]) -> bool:
        return poll.answer(text(tokens)) is not None

    enough = everything if poll.first is None else first_finish(poll.first, answers)
    *_, last = many(
        session.method.decoder, prompt, seeds_of(seed, poll.count), stopping,
        enough=enough, batch=_held(session, poll.count), device=device,
    )  # fmt: skip
    outputs = last.outputs
    judged = [Judged([], []) for _ in outputs]
    if rescore:
        judged = rescored(target.model, prompt, [output.tokens for output in outputs], device)
    voting = _voters(outputs, poll, answers)
    texts = [text(output.tokens) for output in outputs]
    said = [poll.answer(one) if at in voting else None for at, one in enumerate(texts)]
    found = [
        Sample(one, output.tokens, output.reason, judge.logp, judge.mean_certainty, answer)
        for one, output, judge, answer in zip(texts, outputs, judged, said, strict=True)
    ]
    return Samples(found, poll.votes(said, judged), last.steps)


def _voters(outputs: Sequence[Output], poll: Poll, answers: Callable[[list[int]], bool]) -> set[int]:
    """Of a search that was stopped the first to finish, no more; else all that have ended."""
    done = finished(outputs, answers)
    if poll.first is not None and len(done) >= poll.first:
        return set(done[: poll.first])
    return {at for at, output in enumerate(outputs) if output.reason is not None}


def _held(session: Session, count: int) -> int:
    """How many samples may run at a time: all, or as many as exact mode holds, also while some leave."""
    rows, network = session.led.model.rows, session.led.model.network
    if rows is not None:
        for requests in range(2, count + 1):
            if not network.holds(rows, requests):
                return requests - 1
    return count

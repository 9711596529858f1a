"""Domain knowledge-guided sampling: texts come more often from the domains in which the student lags its teacher.

Every `every` steps both models' losses are measured on a few texts of each domain; h_i is the ratio of perplexities,
and r moves to (1 - smooth) / N + smooth * h r / sum(h r). The structure is the paper's, the exact update is not
verified.
Source: Liu et al. 2024, arXiv:2407.16154 (DDK).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

from decant.distill.measure import own_nats
from decant.distill.seams import Rollouts, Speaker
from decant.distill.texts import Text, TextBatch
from decant.distill.trainer import Share
from decant.distill.writing import drawn
from decant.errors import BadInput


class Lag(Protocol):
    """How far both are, by domain."""

    def student(self) -> list[float]:
        """Mean nats a token of each domain, now."""
        ...

    def teacher(self) -> list[float]:
        """The same, of the teacher."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A `Lag` by reading. texts: a few held-out ones of each domain; pupil, master: networks; rows: read at once."""

    texts: Sequence[Sequence[Text]]
    pupil: Any
    master: Any
    rows: int = 8
    length: int = 512

    def student(self) -> list[float]:
        """Mean nats a token of each domain, now."""
        return self._nats(self.pupil)

    def teacher(self) -> list[float]:
        """The same, of the teacher."""
        return self._nats(self.master)

    def _nats(self, network: Any) -> list[float]:
        return [own_nats(network, texts, self.rows, self.length) for texts in self.texts]


@final
@dataclass(frozen=True, slots=True, eq=False)
class DDK:
    """domains: whose texts, one part a domain. lag: what measures, the same in all processes.

    every:  steps between two measurements. smooth: how far r may leave the uniform mixture.
    most:   h is at most this: a domain that the teacher knows by heart must not take all. seed: of the draws.
    """

    domains: Sequence[Rollouts[Any]]
    lag: Lag
    every: int = 1000
    smooth: float = 0.5
    most: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.domains or self.every < 1 or not 0 <= self.smooth <= 1 or self.most < 1:
            raise BadInput(
                f"DDK needs domains, every >= 1, smooth in [0, 1], most >= 1: got {len(self.domains)} domains, "
                f"{self.every}, {self.smooth}, {self.most}"
            )

    def start(self) -> dict[str, Any]:
        """mixture: r. teacher: its losses, measured once."""
        count = len(self.domains)
        parts = [domain.start() for domain in self.domains]
        return {"mixture": [1 / count] * count, "teacher": None, "domains": parts}

    def batch(self, state: dict[str, Any], step: int, share: Share, student: Speaker) -> tuple[TextBatch, dict]:
        """A step is one domain's, drawn from r."""
        if step % self.every == 0:
            teacher = state["teacher"] or self.lag.teacher()
            mixture = self.moved(state["mixture"], self.lag.student(), teacher)
            state = {**state, "mixture": mixture, "teacher": teacher}
        rng = drawn(self.seed, step, "ddk")
        chosen = rng.choices(range(len(self.domains)), weights=state["mixture"])[0]
        found, inner = self.domains[chosen].batch(state["domains"][chosen], step, share, student)
        parts = [inner if place == chosen else old for place, old in enumerate(state["domains"])]
        return found, {**state, "domains": parts}

    def observe(self, state: dict[str, Any], step: int, steps: int, nats: float) -> dict[str, Any]:
        """Each domain's own."""
        pairs = zip(self.domains, state["domains"], strict=True)
        return {**state, "domains": [domain.observe(inner, step, steps, nats) for domain, inner in pairs]}

    def moved(self, mixture: Sequence[float], student: Sequence[float], teacher: Sequence[float]) -> list[float]:
        """r after a measurement; both in nats a token."""
        gaps = [
            min(math.exp(min(own - theirs, 700.0)), self.most) for own, theirs in zip(student, teacher, strict=True)
        ]
        worth = [gap * part for gap, part in zip(gaps, mixture, strict=True)]
        return [(1 - self.smooth) / len(worth) + self.smooth * one / sum(worth) for one in worth]

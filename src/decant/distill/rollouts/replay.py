"""Adaptive off-policy: student samples come as often as the student seems to need them, and are used again from a
buffer, more and more as training goes on.

phi, the share of student samples, starts at `first` and grows by `grow` whenever the loss is worse by `slack` than when
it last grew; what is compared moves only then. Of these steps a share that falls in a straight line writes new answers.
Source: Ko et al. 2024, arXiv:2402.03898 (DistiLLM).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, final

from decant.distill.seams import Rollouts, Speaker
from decant.distill.texts import Text, TextBatch
from decant.distill.trainer import Share
from decant.distill.writing import Writing, drawn, side_by_side
from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Replay:
    """given: the data set, whose prompts are answered too.

    capacity: answers kept; the oldest leave. Until they are so many, every student step writes.
    every:    steps between two looks at the loss. validation: what measures it then, the same in all processes; None:
        the mean of the training's own nats since the last look, which tells less where steps differ in whose text they
        read.
    With several processes each writes the answers of all, so that their buffers are the same.
    """

    given: Rollouts[Any]
    writing: Writing = field(default_factory=Writing)
    capacity: int = 1000
    first: float = 0.0
    grow: float = 0.1
    slack: float = 0.1
    every: int = 100
    validation: Callable[[], float] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if min(self.capacity, self.every) < 1 or not (0 <= self.first <= 1 and 0 <= self.grow <= 1):
            raise BadInput(f"capacity and every are 1 or more, first and grow lie in [0, 1]: {self}")

    def start(self) -> dict[str, Any]:
        """phi: the share of student samples. total: steps of the run, once known."""
        state = {"phi": self.first, "worst": None, "nats": 0.0, "seen": 0, "total": 0, "buffer": []}
        return {**state, "given": self.given.start()}

    def batch(self, state: dict[str, Any], step: int, share: Share, student: Speaker) -> tuple[TextBatch, dict]:
        """New answers, old ones, or the data set's."""
        rng = drawn(self.writing.seed, step, "replay")
        phi, buffer, draw = state["phi"], state["buffer"], rng.random()
        if draw >= phi:
            found, inner = self.given.batch(state["given"], step, share, student)
            return found, {**state, "given": inner}
        asked, inner = self.given.batch(state["given"], step, Share(), student)
        if len(buffer) < self.capacity or draw < phi * (1 - step / max(state["total"], step + 1)):
            texts = self.writing.answered(asked, step, Share(), student)
            buffer = [*buffer, *map(asdict, texts)][-self.capacity :]
        else:
            texts = [Text(**buffer[place]) for place in rng.choices(range(len(buffer)), k=len(asked))]
        return side_by_side([texts[row] for row in share.mine(len(texts))]), {**state, "given": inner, "buffer": buffer}

    def observe(self, state: dict[str, Any], step: int, steps: int, nats: float) -> dict[str, Any]:
        """phi grows where the loss did."""
        inner = self.given.observe(state["given"], step, steps, nats)
        state = {**state, "given": inner, "total": steps, "nats": state["nats"] + nats, "seen": state["seen"] + 1}
        if state["seen"] < self.every:
            return state
        loss = state["nats"] / state["seen"] if self.validation is None else self.validation()
        worst, phi = state["worst"], state["phi"]
        if worst is None:
            worst = loss
        elif loss >= worst + self.slack:
            phi, worst = min(phi + self.grow, 1.0), loss
        return {**state, "phi": phi, "worst": worst, "nats": 0.0, "seen": 0}

"""Student samples at some steps, the data set at the others: one draw a step, a hash, so that all processes agree.

Source: Agarwal et al. 2023, arXiv:2306.13649 (GKD).
"""

from dataclasses import dataclass
from typing import Any, final

from decant.distill.seams import Rollouts, Speaker
from decant.distill.texts import TextBatch
from decant.distill.trainer import Share
from decant.distill.writing import drawn
from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Mixture:
    """given, own: batches of a step; `own` at the share `lmbda` of all steps.

    last: what `lmbda` has become in a straight line by the last step; None: it stays.
    """

    given: Rollouts[Any]
    own: Rollouts[Any]
    lmbda: float = 0.5
    last: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for share in (self.lmbda, self.lmbda if self.last is None else self.last):
            if not 0 <= share <= 1:
                raise BadInput(f"lmbda is a share of the steps, between 0 and 1, not {share}")

    def kinds(self) -> list[tuple[Rollouts[Any], float]]:
        """What a step may be, and its share of all steps."""
        own = (self.lmbda + (self.lmbda if self.last is None else self.last)) / 2
        return [(part, share) for part, share in ((self.given, 1 - own), (self.own, own)) if share]

    def start(self) -> dict[str, Any]:
        """lmbda: of the next step."""
        return {"given": self.given.start(), "own": self.own.start(), "lmbda": self.lmbda}

    def batch(self, state: dict[str, Any], step: int, share: Share, student: Speaker) -> tuple[TextBatch, dict]:
        """0 is the data set exactly; at 1 every step is the student's own."""
        name = "own" if drawn(self.seed, step, "mixture").random() < state["lmbda"] else "given"
        found, inner = getattr(self, name).batch(state[name], step, share, student)
        return found, {**state, name: inner}

    def observe(self, state: dict[str, Any], step: int, steps: int, nats: float) -> dict[str, Any]:
        """Both go on."""
        last = self.lmbda if self.last is None else self.last
        return {
            "given": self.given.observe(state["given"], step, steps, nats),
            "own": self.own.observe(state["own"], step, steps, nats),
            "lmbda": self.lmbda + (last - self.lmbda) * min(1.0, (step + 1) / max(steps - 1, 1)),
        }

"""How fast a method would be, from what a pass costs and which guesses stand: arithmetic, no model.

    speed-up = tokens a call x plain(batch) / (target(batch, rows) + drafting(batch, depth) + overhead)

A pure function of a `Passes` (measured, or computed for a machine that nobody has), a `Profile` (measured on prompts)
and a batch.
Source: Leviathan et al. 2023, arXiv:2211.17192, theorem 3.8, with curves in place of their constant costs.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, final

from decant.errors import BadInput
from decant.types import CostCurve

FREE: Final = CostCurve((1,), (0.0,))  # guesses that cost nothing


@final
@dataclass(frozen=True, slots=True)
class Passes:
    """Seconds of one pass of a model: for each batch, a curve over the rows of each request, the root's included.

    crank: seconds of a step beside the passes, whoever decodes (warps, draws, bookkeeping).
    Raises BadInput for no curve.
    """

    curves: Mapping[int, CostCurve]
    crank: float = 0.0

    def __post_init__(self) -> None:
        if not self.curves or min(self.curves) < 1:
            raise BadInput(
                "a prediction needs the cost of a pass at one batch or more; measure them with bench --costs"
            )

    def seconds(self, batch: int, rows: float = 1.0) -> float:
        """Of one pass. Between two measured batches on the line through them; outside, all rows count alike, at the
        nearest batch."""
        known = sorted(self.curves)
        at = bisect_left(known, batch)
        if at < len(known) and known[at] == batch:
            return _between(self.curves[batch], rows)
        if at in (0, len(known)):
            near = known[min(at, len(known) - 1)]
            return _between(self.curves[near], rows * batch / near)
        low, high = known[at - 1 : at + 1]
        share = (batch - low) / (high - low)
        return (1 - share) * _between(self.curves[low], rows) + share * _between(self.curves[high], rows)

    def plain(self, batch: int) -> float:
        """Seconds of a step of plain decoding, which gives every request one token."""
        return self.seconds(batch) + self.crank


@final
@dataclass(frozen=True, slots=True)
class Drafting:
    """Seconds of guessing: `once` a round, and for every level a pass over so many requests.

    level: seconds by the number of requests in the batch; one point where it does not depend on it.
    """

    once: float = 0.0
    level: CostCurve = FREE

    def seconds(self, batch: int, depth: float) -> float:
        """Of one round."""
        return self.once + depth * self.level.seconds(batch)


@final
@dataclass(frozen=True, slots=True)
class Profile:
    """What a method's guesses are worth, by level; all are means over the steps of requests.

    kept[i]:  the share of steps in which i + 1 guesses or more stood. It never rises.
    nodes[i]: guesses offered at level i + 1: at most 1 of a chain, which may be shorter; more of a tree.
    riding:   rows that ride in every pass and are never accepted.
    overhead: seconds of a step beyond those of plain decoding, in neither model.

    Raises BadInput where these are no such shares.
    """

    kept: tuple[float, ...]
    nodes: tuple[float, ...]
    drafting: Drafting = Drafting()
    riding: float = 0.0
    overhead: float = 0.0

    def __post_init__(self) -> None:
        falling = all(one >= two for one, two in zip(self.kept, self.kept[1:], strict=False))
        if len(self.kept) != len(self.nodes) or not falling or not all(0 <= share <= 1 for share in self.kept):
            raise BadInput(
                f"a profile holds, of every level, a share of kept guesses that never rises and a number of nodes; got "
                f"kept {self.kept} and nodes {self.nodes}"
            )

    @classmethod
    def chain(cls, rate: float, depth: int, drafting: Drafting = Drafting()) -> "Profile":
        """Of a chain whose guesses stand independently at `rate` each: the closed form of Leviathan et al."""
        return cls(tuple(rate**level for level in range(1, depth + 1)), (1.0,) * depth, drafting)

    @property
    def depth(self) -> int:
        """How many levels there are."""
        return len(self.kept)

    @property
    def rows(self) -> float:
        """Mean rows of a request in a pass, the root's included."""
        return 1 + sum(self.nodes) + self.riding

    @property
    def tokens(self) -> float:
        """Mean tokens of a call, the target's own included."""
        return 1 + sum(self.kept)

    def to(self, depth: int) -> "Profile":
        """With so many levels: the first ones, or more, in which guesses stand as they last did behind kept ones."""
        kept, nodes = list(self.kept[:depth]), list(self.nodes[:depth])
        if kept:
            before = kept[-2] if len(kept) > 1 else 1.0
            rate = kept[-1] / before if before else 0.0
            for _ in range(depth - len(kept)):
                kept.append(kept[-1] * rate)
                nodes.append(nodes[-1])
        return replace(self, kept=tuple(kept), nodes=tuple(nodes))

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kept": [round(share, 4) for share in self.kept],
            "nodes": [round(count, 3) for count in self.nodes],
            "riding": round(self.riding, 3),
            "draft_ms": {
                "once": round(1e3 * self.drafting.once, 4),
                "level": round(1e3 * self.drafting.seconds(1, 1) - 1e3 * self.drafting.once, 4),
            },
            "overhead_ms": round(1e3 * self.overhead, 4),
        }


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """What one step of a method is expected to cost, and what it brings.

    tokens: of a request, the target's own included. target, drafting, other, plain: seconds; plain is a whole step of
    plain decoding.
    """

    tokens: float
    target: float
    drafting: float
    other: float
    plain: float

    @property
    def seconds(self) -> float:
        """Of one step."""
        return self.target + self.drafting + self.other

    @property
    def speedup(self) -> float:
        """Over plain decoding of the same batch."""
        return self.tokens * self.plain / self.seconds

    def facts(self) -> dict[str, float]:
        """JSON-ready."""
        return {
            "speedup": round(self.speedup, 4),
            "tokens_a_call": round(self.tokens, 4),
            "target_ms": round(1e3 * self.target, 4),
            "draft_ms": round(1e3 * self.drafting, 4),
            "other_ms": round(1e3 * self.other, 4),
            "plain_ms": round(1e3 * self.plain, 4),
        }


def predict(passes: Passes, profile: Profile, batch: int = 1) -> Prediction:
    """Of a method with this profile. A round in which nothing is guessed costs a plain step and its overhead."""
    return Prediction(
        tokens=profile.tokens,
        target=passes.seconds(batch, profile.rows),
        drafting=profile.drafting.seconds(batch, profile.depth),
        other=passes.crank + profile.overhead,
        plain=passes.plain(batch),
    )


def best_depth(passes: Passes, profile: Profile, batch: int, depths: Iterable[int]) -> int:
    """The depth with the highest predicted speed-up; of equal ones the smallest. Raises BadInput for none."""
    asked = sorted(set(depths))
    if not asked:
        raise BadInput("there is no depth to choose from; name at least one")
    return max(asked, key=lambda depth: (predict(passes, profile.to(depth), batch).speedup, -depth))


def _between(curve: CostCurve, rows: float) -> float:
    """A mean number of rows is some passes of one row less and some of one more."""
    low = math.floor(rows)
    share = rows - low
    return (1 - share) * curve.seconds(low) + (share * curve.seconds(low + 1) if share else 0.0)

"""Bars on confidence and entropy: each against its rule in words, neutral settings, planted bugs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn
from decant.errors import BadInput
from decant.noise import Noise
from decant.unmaskers.confident import Confident
from decant.unmaskers.entropy import Entropy
from decant.unmaskers.entropy_threshold import EntropyThreshold
from decant.unmaskers.factor import Factor
from decant.unmaskers.hierarchical import Hierarchical
from decant.unmaskers.local_leap import LocalLeap
from decant.unmaskers.threshold import Threshold
from tests.unmaskers.outlooks import Rule, arbitrary, check_choice, chosen, sure


def confidence(seen: Outlook) -> Tensor:
    return seen.confidence_BL


def doubt(seen: Outlook) -> Tensor:
    return seen.table(seen.entropy_N, 0.0)


def leaping(tau: float, relaxed: float, window: int) -> Rule:
    def rule(told: dict[int, float]) -> set[int]:
        anchors = [place for place, value in told.items() if value >= tau]
        near = {place for place in told for anchor in anchors if abs(place - anchor) <= window}
        return {place for place, value in told.items() if value >= (relaxed if place in near else tau)}

    return rule


def halving(tau: float, low: float) -> Rule:
    def rule(told: dict[int, float]) -> set[int]:
        runs: list[list[int]] = []
        for place in sorted(told):
            if runs and runs[-1][-1] == place - 1:
                runs[-1].append(place)
            else:
                runs.append([place])
        tops = [max(run, key=lambda place: (told[place], -place)) for run in runs]
        return {place for place in told if told[place] > tau} | {place for place in tops if told[place] > low}

    return rule


def counting(factor: float) -> Rule:
    def rule(told: dict[int, float]) -> set[int]:
        order = sorted(told, key=lambda place: (-told[place], place))
        kept = [n for n in range(1, len(order) + 1) if told[order[n - 1]] >= 1 - factor / (n + 1)]
        return set(order[: max(kept, default=0)])

    return rule


def certain(bar: float) -> Rule:
    def rule(told: dict[int, float]) -> set[int]:
        least = min(told, key=lambda place: (told[place], place), default=None)
        return {place for place, nats in told.items() if nats <= bar or place == least}

    return rule


CASES: list[tuple[Any, Rule, Callable[[Outlook], Tensor]]] = [
    (LocalLeap(), leaping(0.9, 0.75, 4), confidence),
    (LocalLeap(0.8, 0.3, 1), leaping(0.8, 0.3, 1), confidence),
    (LocalLeap(0.97, 0.5, 40), leaping(0.97, 0.5, 40), confidence),
    (Hierarchical(), halving(0.9, 0.4), confidence),
    (Hierarchical(0.99, 0.0), halving(0.99, 0.0), confidence),
    (Factor(), counting(1.0), confidence),
    (Factor(0.3), counting(0.3), confidence),
    (Factor(2.5), counting(2.5), confidence),
    (EntropyThreshold(), certain(0.5), doubt),
    (EntropyThreshold(0.05), certain(0.05), doubt),
]


@pytest.mark.parametrize(("unmasker", "rule", "values"), CASES, ids=lambda case: repr(case)[:40])
def test_each_obeys_its_rule(unmasker: Any, rule: Rule, values: Callable[[Outlook], Tensor]) -> None:
    check_choice(unmasker, rule, values)


@dataclass(frozen=True)
class ByRank:
    """The planted bug: a neighbour is the next open place, however far away."""

    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        settled_BL = torch.zeros_like(turn.eligible_BL)
        for row, eligible_L in enumerate(turn.eligible_BL):
            places = eligible_L.nonzero()[:, 0]
            found = leaping(0.9, 0.75, 4)(dict(enumerate(seen.confidence_BL[row, places].tolist())))
            settled_BL[row, places[list(found)]] = True
        return Reveal(seen.guess_BL, settled_BL), None


@dataclass(frozen=True)
class OldAnchors(ByRank):
    """The planted bug: settled places are anchors too."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        anchors = replace(turn, eligible_BL=turn.eligible_BL | ~seen.asked_BL)
        surer = replace(seen)
        surer.__dict__["confidence_BL"] = seen.confidence_BL.masked_fill(~seen.asked_BL, 1.0)
        reveal, _ = LocalLeap().reveal(None, surer, anchors)
        return Reveal(reveal.tokens_BL, reveal.settled_BL & turn.eligible_BL), None


@dataclass(frozen=True)
class AllTies(ByRank):
    """The planted bug: every place of the whole canvas that is as sure as the surest of it, run or no run."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        return Reveal(seen.guess_BL, seen.confidence_BL == seen.confidence_BL.amax(-1, keepdim=True)), None


@dataclass(frozen=True)
class OneShort(ByRank):
    """The planted bug: where all pass, the last does not settle."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        reveal, _ = Factor(2.5).reveal(None, seen, turn)
        every_B1 = (reveal.settled_BL == turn.eligible_BL).all(-1, keepdim=True)
        least_BL = seen.confidence_BL == seen.confidence_BL.where(turn.eligible_BL, 2).amin(-1, keepdim=True)
        return Reveal(reveal.tokens_BL, reveal.settled_BL & ~(every_B1 & least_BL)), None


@pytest.mark.parametrize(
    ("bug", "rule"),
    [
        (ByRank(), leaping(0.9, 0.75, 4)),
        (OldAnchors(), leaping(0.9, 0.75, 4)),
        (AllTies(), halving(0.9, 0.4)),
        (OneShort(), counting(2.5)),
        (Threshold(0.5), certain(0.5)),
    ],
    ids=lambda case: type(case).__name__,
)
def test_planted_bugs_are_caught(bug: Any, rule: Rule) -> None:
    with pytest.raises(AssertionError, match="the rule settles"):
        check_choice(bug, rule, doubt if isinstance(bug, Threshold) else confidence)


@pytest.mark.parametrize(
    ("neutral", "reference"),
    [
        (LocalLeap(window=0), Threshold()),
        (LocalLeap(relaxed=0.9), Threshold()),
        (EntropyThreshold(-1.0), Entropy()),
    ],
    ids=repr,
)
def test_neutral_settings(neutral: Any, reference: Any) -> None:
    for seed in range(4):
        seen, turn = arbitrary(seed)
        assert chosen(neutral, seen, turn) == chosen(reference, seen, turn)


def test_a_leap_by_hand() -> None:
    seen = sure([0.8, 0.8, 0, 0.95, 0.7, 0, 0.76, 0.8, 0.76])
    assert chosen(LocalLeap(), seen) == [{0, 1, 3, 6, 7}]
    assert chosen(LocalLeap(window=2), seen) == [{1, 3}]
    assert chosen(LocalLeap(window=3), seen) == [{0, 1, 3, 6}]
    assert chosen(LocalLeap(), sure([0.8, 0.85, 0.8])) == [set()]
    block = Turn(seen.asked_BL & (torch.arange(9) > 3))
    assert chosen(LocalLeap(), seen, block) == [set()], "an anchor outside of the block"


def test_a_hierarchy_by_hand() -> None:
    assert chosen(Hierarchical(), sure([0.5, 0.6, 0.6, 0, 0.45, 0, 0.3, 0.2, 0, 0.95, 0.92])) == [{1, 4, 9, 10}]


def test_trust_counts() -> None:
    seen = replace(sure([0.95, 0.93]), trust_N=torch.tensor([1.0, 0.5]))
    for unmasker in (LocalLeap(0.9, 0.9), Factor(), Confident(11, 0.9), EntropyThreshold(0.6)):
        assert chosen(unmasker, seen) == [{0}]


@pytest.mark.parametrize(
    ("made", "settings", "message"),
    [
        (LocalLeap, {"relaxed": 0.95}, "tau, 0.9, at most; got 0.95"),
        (LocalLeap, {"window": -1}, "0 or more, got -1"),
        (Hierarchical, {"low": 0.95}, "between 0 and tau, 0.9, got 0.95"),
        (Factor, {"factor": -0.5}, "factor is 0 or more, got -0.5"),
        (EntropyThreshold, {"bar": math.nan}, "bar is a number of nats, got nan"),
        (Confident, {"mask": 3, "tau": 0.0}, "tau is a probability above 0, got 0"),
        (Confident, {"mask": 3, "steps": 0}, "steps is 1 or more, got 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(made: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        made(**settings)

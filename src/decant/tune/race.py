"""Which contender is fastest, as far as the noise lets it be told: successive halving on paired log ratios.

A turn is one group of prompts, decoded by plain decoding and by every contender that is left, in an order that moves on
by one each turn. A contender's ratio to plain is taken within the turn, so that drift of the machine and the difficulty
of a prompt cancel. Prompts are a sample of prompts like them: turns of one group count as one value, their mean.
What is chosen is timed once more against plain, and only those turns say how much faster it is: the best of many looks
better than it is in the turns that it was chosen by.
Source: Jamieson and Talwalkar 2016, arXiv:1502.07943 (successive halving); Stein 1945, doi:10.1214/aoms/1177731088 (as
many confirming turns as the spread asks for, settled beforehand).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from decant.decoders.method import PLAIN
from decant.errors import BadInput
from decant.tune.interval import Interval, interval

FEW: Final = 3  # groups below which turns themselves are the sample
AROUND: Final = 2  # rounds of all groups, at most: more tells of the clock, not of prompts
SHORT: Final = 12  # turns that are allowed in any case


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """score: seconds a token, or what else is to be small. seconds: of the budget."""

    score: float
    seconds: float


Measure = Callable[[str, int], Sample]
"""(contender or "plain", turn) -> what it took for the turn's group, `turn % groups`."""


@final
@dataclass(frozen=True, slots=True)
class Contender:
    """parts: how much there is to it beside the model; of equal ones the simplest is taken."""

    name: str
    parts: int = 1


@final
@dataclass(frozen=True, slots=True)
class Rules:
    """How long a race lasts.

    groups:     how many groups of prompts there are.
    budget:     seconds of measuring in all, as samples count them.
    confirming: the share of it that the one that was chosen is timed with, alone.
    least:      turns before anybody is left behind for being slower.
    level:      of every interval.
    precision:  of the confirmed log ratio: a half width that is good enough.
    margin:     log ratio below which a simpler contender that cannot be told from the leader is taken instead.

    Raises BadInput for a budget of nothing, or shares out of range.
    """

    groups: int
    budget: float
    confirming: float = 0.25
    least: int = 3
    level: float = 0.95
    precision: float = 0.03
    margin: float = 0.02

    def __post_init__(self) -> None:
        if self.groups < 1 or self.least < 2 or not self.budget > 0 or not 0 < self.confirming < 1:
            raise BadInput(
                f"a race needs groups >= 1, least >= 2, a budget above 0 and 0 < confirming < 1; got {self.groups}, "
                f"{self.least}, {self.budget:g} and {self.confirming:g}"
            )

    @property
    def longest(self) -> int:
        """Turns of a phase, at most."""
        return max(AROUND * self.groups, SHORT)


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """What the race found of one contender. speedup: log ratio to plain. left: why it did not stay to the end."""

    name: str
    speedup: Interval
    turns: int
    left: str | None


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """winner: a contender, or "plain". speedup: its log ratio to plain, confirmed; None where plain won in the race.
    tied: who cannot be told from the winner. why: a sentence. standings: the fastest first. spent: seconds."""

    winner: str
    speedup: Interval | None
    tied: tuple[str, ...]
    why: str
    standings: tuple[Standing, ...]
    spent: float


@final
@dataclass(slots=True)
class Track:
    """A race that runs."""

    contenders: Sequence[Contender]
    measure: Measure
    rules: Rules
    alive: list[str] = field(default_factory=list)
    times: dict[str, dict[int, float]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    turn: int = 0
    spent: float = 0.0
    last: float = 0.0

    def run(self) -> None:
        """One turn of all that are left, and of plain."""
        names = [PLAIN, *self.alive]
        begin = self.turn % len(names)
        before = self.spent
        for name in names[begin:] + names[:begin]:
            sample = self.measure(name, self.turn)
            self.times.setdefault(name, {})[self.turn] = math.log(sample.score)
            self.seconds[name] = self.seconds.get(name, 0.0) + sample.seconds
            self.spent += sample.seconds
        self.last = self.spent - before
        self.turn += 1

    def gap(self, name: str, other: str = PLAIN, since: int = 0) -> Interval:
        """By how much `name` is faster, as a log ratio over the turns from `since` on that both ran."""
        mine, theirs = self.times.get(name, {}), self.times.get(other, {})
        both = [turn for turn in mine if turn in theirs and turn >= since]
        values = [theirs[turn] - mine[turn] for turn in both]
        if self.rules.groups < FEW:
            return interval(values, self.rules.level)
        by_group: dict[int, list[float]] = {}
        for turn, value in zip(both, values, strict=True):
            by_group.setdefault(turn % self.rules.groups, []).append(value)
        return interval([sum(each) / len(each) for each in by_group.values()], self.rules.level)

    @property
    def leader(self) -> str:
        """The fastest on average of those that are left."""
        return max(self.alive, key=lambda name: self.gap(name).mean)

    def drop_slower(self) -> None:
        """Those that are slower than the leader by more than the margin, their whole interval: looks at every turn add
        up, and who is hardly slower may be the simpler one."""
        leader = self.leader
        for name in self.alive[:]:
            if name != leader and self.gap(name, leader).high < -self.rules.margin:
                self._drop(name, f"slower than {leader} beyond the noise")

    def halve(self) -> None:
        """The slower half, for want of time; two stay."""
        ranked = sorted(self.alive, key=lambda name: -self.gap(name).mean)
        for name in ranked[max(2, math.ceil(len(ranked) / 2)) :]:
            self._drop(name, "in the slower half when the time was up")

    def _drop(self, name: str, why: str) -> None:
        self.alive.remove(name)
        self.left[name] = why


def race(contenders: Sequence[Contender], measure: Measure, rules: Rules) -> Outcome:
    """Run it. It asks for no time but that of the samples, so equal samples give an equal outcome."""
    track = Track(contenders, measure, rules, [one.name for one in contenders])
    if not track.alive:
        return Outcome(PLAIN, None, (), "there is nothing else that could run here", (), 0.0)
    _select(track)
    ranked = sorted(track.alive, key=lambda name: -track.gap(name).mean)
    chosen, tied = _simplest(track, ranked)
    if all(track.gap(name).high < 0 for name in ranked):
        return _outcome(track, PLAIN, None, (), "every other way was slower than plain decoding, beyond the noise")
    begin = track.turn
    _confirm(track, chosen)
    found = track.gap(chosen, since=begin)
    if not found.low > 0:
        turns = track.turn - begin
        more = "" if turns >= rules.longest else "; a larger budget would tell more"
        why = f"{chosen} was not faster than plain decoding beyond the noise of {turns} turns{more}"
        return _outcome(track, PLAIN, None, (chosen,), why)
    leader = ranked[0]
    why = f"{chosen} was ahead" if chosen == leader else f"{chosen} is simpler than {leader}, which is no faster"
    if tied:
        why += f"; it cannot be told from {', '.join(tied)}"
    return _outcome(track, chosen, found, tied, why)


def _select(track: Track) -> None:
    """Turns until the time for them is spent; who is behind leaves as soon as that is sure, or when time is short."""
    rules = track.rules
    budget = (1 - rules.confirming) * rules.budget
    rungs = max(1, math.ceil(math.log2(len(track.alive))))
    rung = 1
    while True:
        track.run()
        if track.turn >= rules.least:
            track.drop_slower()
        while track.spent >= budget * rung / rungs and rung < rungs:
            track.halve()
            rung += 1
        over = track.spent + track.last > budget or track.turn >= rules.longest
        alone = len(track.alive) == 1 and track.turn >= rules.least
        hopeless = track.turn >= rules.least and all(track.gap(name).high < 0 for name in track.alive)
        if over or alone or hopeless:
            return


def _simplest(track: Track, ranked: list[str]) -> tuple[str, tuple[str, ...]]:
    """Who is taken of those that are left, and who cannot be told from it."""
    leader, parts = ranked[0], {one.name: one.parts for one in track.contenders}
    near = [name for name in ranked if track.gap(leader, name).mean < track.rules.margin]
    chosen = min(near, key=lambda name: (parts[name], ranked.index(name)))
    gaps = {name: track.gap(chosen, name) for name in ranked if name != chosen}
    return chosen, tuple(name for name, gap in gaps.items() if gap.low <= 0 <= gap.high or name in near)


def _confirm(track: Track, chosen: str) -> None:
    """Turns of the chosen one and plain alone: their number is settled beforehand, by the spread and the time left."""
    rules, seen = track.rules, track.gap(chosen)
    track.alive = [chosen]
    values = min(track.turn, rules.groups) if rules.groups >= FEW else track.turn
    asked = values * (seen.half / rules.precision) ** 2 if math.isfinite(seen.half) else rules.longest
    each = (track.seconds[chosen] + track.seconds[PLAIN]) / track.turn
    paid = (rules.budget - track.spent) / each if each else rules.longest
    for _ in range(max(rules.least, math.floor(min(rules.longest, max(asked, 2 * rules.least), paid)))):
        track.run()


def _outcome(track: Track, winner: str, found: Interval | None, tied: tuple[str, ...], why: str) -> Outcome:
    standings = [
        Standing(one.name, track.gap(one.name), len(track.times[one.name]), track.left.get(one.name))
        for one in track.contenders
    ]
    standings.sort(key=lambda one: -one.speedup.mean)
    return Outcome(winner, found, tied, why, tuple(standings), track.spent)

"""Two networks in turns: how often each moves, what a rest is, and that a kill changes nothing."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from decant.distill.images.alternating import Pair, Phase, Schedule, alternate
from decant.distill.settings import Settings
from decant.errors import BadInput

PHASES = (
    Phase("tuning", 3, 1, generator=False),
    Phase("alternating", 7, 4, generator=True, begins="anew"),
    Phase("alignment", 4, 2, generator=False, begins="mean"),
    Phase("alternating", 6, 2, generator=True),
)
SCHEDULE = Schedule(PHASES, generator=0.01, guidance=0.02, warmup=2, ema=0.9)


def network(seed: int) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(2, 2)


def pair() -> Pair:
    return Pair(network(0), network(1), network(2).requires_grad_(False))


@dataclass
class Chase:
    """Guidance goes where the generator is, the generator away from it. It may die in a turn, or lose its mind."""

    pair: Pair
    dies: int | None = None
    raves: float = 1.0
    calls: Counter[str] = field(default_factory=Counter)
    turn: int = 0

    def guidance(self, phase: Phase, drawing: Generator) -> Tensor:
        self.calls[phase.name] += 1
        x_B2 = torch.randn(4, 2, generator=drawing)
        loss = (self.pair.guidance(x_B2) - self.pair.generator(x_B2).detach()).square().mean() + 1
        return loss * self.raves ** self.calls[phase.name]

    def generator(self, drawing: Generator) -> Tensor:
        self.calls["generator"] += 1
        if self.calls["generator"] == self.dies:
            raise KeyboardInterrupt
        x_B2 = torch.randn(4, 2, generator=drawing)
        return (self.pair.generator(x_B2) - self.pair.guidance(x_B2).detach() - 1).square().mean()


def settings(schedule: Schedule, every: int = 4) -> Settings:
    return Settings(steps=schedule.turns, save_every=every, report_every=5, quiet=True)


def state(two: Pair) -> list[Tensor]:
    return [*two.generator.parameters(), *two.guidance.parameters(), *two.mean.parameters()]


def test_each_moves_as_often_as_it_should(tmp_path: Path) -> None:
    two = pair()
    chase = Chase(two)
    alternate(two, chase, SCHEDULE, settings(SCHEDULE), tmp_path)
    assert chase.calls == {"tuning": 3, "alternating": 7 * 4 + 6 * 2, "alignment": 4 * 2, "generator": 13}


def test_a_generator_that_rests_does_not_move(tmp_path: Path) -> None:
    """Not by a bit, and the guidance network does; its running mean is what it begins the rest as."""
    two, seen = pair(), {}

    def saved(turn: int) -> None:
        seen[turn] = [weight.clone() for weight in state(two)]

    alternate(two, Chase(two), SCHEDULE, settings(SCHEDULE, every=1), tmp_path, saved)
    for before, after in ((1, 3), (11, 14)):
        assert all(torch.equal(one, two) for one, two in zip(seen[before][:2], seen[after][:2], strict=True))
        assert not torch.equal(seen[before][2], seen[after][2])
    assert torch.equal(seen[14][0], seen[10][4])
    assert not torch.equal(seen[10][0], seen[10][4])


def test_they_begin_as_one_network(tmp_path: Path) -> None:
    two = pair()
    begun = Schedule((Phase("alternating", 1, 1, generator=True, begins="anew"),), generator=0.0, guidance=0.0)
    alternate(two, Chase(two), begun, settings(begun), tmp_path)
    assert torch.equal(two.generator.weight, network(1).weight)  # pyright: ignore[reportArgumentType]
    assert torch.equal(two.mean.weight, network(1).weight)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("dies", [1, 6, 9])
def test_a_kill_changes_nothing(dies: int, tmp_path: Path) -> None:
    """It dies in the midst of a turn, between two checkpoints; the same weights, and every metric once."""
    whole, cut = pair(), pair()
    alternate(whole, Chase(whole), SCHEDULE, settings(SCHEDULE), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        alternate(cut, Chase(cut, dies), SCHEDULE, settings(SCHEDULE), tmp_path / "cut")
    again = pair()
    alternate(again, Chase(again), SCHEDULE, settings(SCHEDULE), tmp_path / "cut")
    assert all(torch.equal(one, two) for one, two in zip(state(whole), state(again), strict=True))
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [5, 10, 15, 20]


def test_what_is_done_is_told_again(tmp_path: Path) -> None:
    two, told = pair(), []
    alternate(two, Chase(two), SCHEDULE, settings(SCHEDULE), tmp_path)
    alternate(two, Chase(two), SCHEDULE, settings(SCHEDULE), tmp_path, told.append)
    assert told == [20]


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    one, two = pair(), pair()
    alternate(one, Chase(one), SCHEDULE, settings(SCHEDULE), tmp_path / "one")
    alternate(two, Chase(two), SCHEDULE, settings(SCHEDULE), tmp_path / "two", seed=1)
    assert not torch.equal(state(one)[0], state(two)[0])


def test_no_generator_moves(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    two = pair()
    alternate(two, Chase(two), SCHEDULE, settings(SCHEDULE), tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_guidance_network_that_loses_the_generator_stops_the_run(tmp_path: Path) -> None:
    two = pair()
    long = Schedule((Phase("alternating", 400, 1, generator=True),), generator=0.0, guidance=0.0)
    with pytest.raises(BadInput, match="lost the generator"):
        alternate(two, Chase(two, raves=1.02), long, settings(long), tmp_path)
    assert (tmp_path / "checkpoint.pt").exists()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["lag"] == 1.0
    assert rows[-1]["lag"] > 1.2


def test_what_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    two = pair()
    with pytest.raises(BadInput, match="turn 2 is not finite"):
        alternate(two, Chase(two, raves=1e15), SCHEDULE, settings(SCHEDULE, every=1), tmp_path)
    assert all(weight.isfinite().all() for weight in state(two))


def test_rates_rise_and_fall() -> None:
    rates = [SCHEDULE.rates(turn) for turn in range(SCHEDULE.turns)]
    assert rates[0] == (0.005, 0.02)
    assert rates[1] == (0.01, 0.02)
    assert rates[14][0] == 0.005, "warmed up anew behind a rest"
    assert rates[19] == pytest.approx((0.002, 0.004))


def test_nothing_to_teach_is_refused() -> None:
    with pytest.raises(BadInput, match="no turns"):
        Schedule((), 0.1, 0.1)

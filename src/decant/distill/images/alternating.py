"""Two networks that are taught in turns: a guidance network that follows what the generator makes, and the generator.

A turn is some steps of the guidance network, then one of the generator, unless the phase lets it rest. What a turn
draws is a function of its number, and a checkpoint holds both networks, both optimisers and the running mean of the
generator: a killed run repeats the turns since the last one and, on one thread, ends with the weights of a run that was
never killed. A guidance network that falls behind is what breaks such runs, so its loss is watched.
Source: Liu et al. 2025, arXiv:2510.21003 (Distilled Decoding 2); Yin et al. 2024, arXiv:2405.14867 (DMD2: two
timescales).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, final

import torch
from torch import Generator, Tensor, nn

from decant.distill.checkpoint import CHECKPOINT, Course, read, write
from decant.distill.progress import Row, forget, reporting
from decant.distill.settings import Settings
from decant.errors import BadInput
from decant.noise import sample_seed

YOUNG: Final = 10  # turns in which a running mean is mostly the latest weights: its rate is (1 + n) / (10 + n) then
SMOOTH: Final = 0.98  # of the watched loss
TRUSTED: Final = 50  # turns of a phase before its loss is watched
LAGS: Final = 1.2  # times its least so far: worth a word
LOST: Final = 2.0  # times: the run stops

Memory = dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """turns: of one kind. guidance: steps a turn. generator: whether it takes one too, or rests. begins: "anew": both
    networks begin as the guidance network is, "mean": the generator begins as its running mean; "": as they are.
    """

    name: str
    turns: int
    guidance: int
    generator: bool
    begins: str = ""


@final
@dataclass(frozen=True, slots=True)
class Schedule:
    """phases: one after the other. generator, guidance: peaks of the learning rates. warmup: turns of the generator up
    to its peak, in a straight line, in each phase that it takes part in. decay: share of all turns, the last, in which
    both rates fall to nearly nothing. beta1: of the optimisers wherever the generator moves. ema: rate of the running
    mean. Raises BadInput for nothing to teach.
    """

    phases: tuple[Phase, ...]
    generator: float
    guidance: float
    warmup: int = 100
    decay: float = 0.25
    beta1: float = 0.0
    ema: float = 0.9999
    clip: float = 1.0

    def __post_init__(self) -> None:
        if not self.turns:
            raise BadInput("a run of no turns teaches nothing; give --steps of 1 or more")

    @property
    def turns(self) -> int:
        """Of all phases."""
        return sum(phase.turns for phase in self.phases)

    def phase(self, turn: int) -> tuple[Phase, int]:
        """The phase of a turn, and how many turns of it were before."""
        for phase in self.phases:
            if turn < phase.turns:
                return phase, turn
            turn -= phase.turns
        raise BadInput(f"there is no turn behind the last of {self.turns}")

    def rates(self, turn: int) -> tuple[float, float]:
        """Of generator and guidance network."""
        _, at = self.phase(turn)
        falling = self.turns * self.decay
        down = min(1.0, (self.turns - turn) / falling) if falling else 1.0
        return self.generator * down * min(1.0, (at + 1) / max(self.warmup, 1)), self.guidance * down


class Lesson(Protocol):
    """What both learn. A loss is a scalar with gradients; it draws from what it is given and from nothing else."""

    def guidance(self, phase: Phase, drawing: Generator) -> Tensor: ...

    def generator(self, drawing: Generator) -> Tensor: ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two networks of one shape. mean: a third, which is given the running mean of the generator."""

    generator: nn.Module
    guidance: nn.Module
    mean: nn.Module


def alternate(
    pair: Pair,
    lesson: Lesson,
    schedule: Schedule,
    settings: Settings,
    folder: Path,
    saved: Callable[[int], None] = lambda turn: None,
    seed: int = 0,
) -> None:
    """Teach both in place, from the checkpoint in `folder` or from the beginning; `pair.mean` is what to keep.

    settings: `steps` are the turns; its rates are not read, the schedule says them. saved(turns done) runs after each
    checkpoint. Raises BadInput for a full disk, a loss that is not finite, and a guidance network that lost the
    generator; the last checkpoint is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = _Work(pair, lesson, schedule, _course(pair, schedule))
    found = read(folder)
    first, memory = (0, work.start()) if found is None else (found["step"], found["memory"])
    if found is not None:
        work.course.restore(found)
    forget(folder, first)
    pair.mean.load_state_dict(memory["mean"])
    if first >= schedule.turns:
        saved(first)
    rows: list[Row] = []
    with reporting(settings, folder, first, _said) as report:
        for turn in range(first, schedule.turns):
            drawing = Generator().manual_seed(sample_seed(seed, turn) % 2**32)  # it reads no more of a seed
            rows.append(work.turn(turn, memory, drawing))
            if (turn + 1) % settings.report_every == 0:
                report(_row(turn + 1, rows, memory))
                rows = []
            if (turn + 1) % settings.save_every == 0 or turn + 1 == schedule.turns:
                memory["mean"] = _copied(pair.mean)
                write(work.course.snapshot(turn + 1, memory), folder / CHECKPOINT)
                saved(turn + 1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    pair: Pair
    lesson: Lesson
    schedule: Schedule
    course: Course

    def start(self) -> Memory:
        """recent: the guidance network's loss, smoothed. least: of it so far, in this phase."""
        return {"mean": _copied(self.pair.generator), "recent": math.nan, "least": math.inf}

    def turn(self, turn: int, memory: Memory, drawing: Generator) -> Row:
        """One turn; its losses."""
        phase, at = self.schedule.phase(turn)
        if at == 0:
            self._begin(phase, memory)
        row: Row = {"phase": phase.name}
        rates = self.schedule.rates(turn)
        learns, follows = self.course.optimisers
        for _ in range(phase.guidance):
            loss = self.lesson.guidance(phase, drawing)
            row["guidance"] = self._step(follows, self.pair.guidance, loss, rates[1], turn)
        if phase.generator:
            row["generator"] = self._step(learns, self.pair.generator, self.lesson.generator(drawing), rates[0], turn)
            self._average(at)
        if phase.guidance:
            self._watch(row["guidance"], at, turn, memory)
        return row

    def _begin(self, phase: Phase, memory: Memory) -> None:
        pair = self.pair
        if phase.begins == "anew":
            pair.generator.load_state_dict(pair.guidance.state_dict())
            pair.mean.load_state_dict(pair.guidance.state_dict())
        if phase.begins == "mean":
            pair.generator.load_state_dict(pair.mean.state_dict())
        for optimiser in self.course.optimisers:
            if phase.begins:
                optimiser.state.clear()
            for group in optimiser.param_groups:
                group["betas"] = (self.schedule.beta1 if phase.generator else 0.9, group["betas"][1])
        memory |= {"recent": math.nan, "least": math.inf}

    def _step(
        self, optimiser: torch.optim.Optimizer, network: nn.Module, loss: Tensor, rate: float, turn: int
    ) -> float:
        network.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.schedule.clip)
        said, reach = torch.stack([loss.detach(), norm]).tolist()  # sync: no step is made with what is not finite
        if not (math.isfinite(said) and math.isfinite(reach)):
            raise BadInput(
                f"turn {turn + 1} is not finite: loss {said}, norm of the gradient {reach}. The last checkpoint is as "
                f"it was: lower the learning rate (--lr), then start again in a new folder"
            )
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        return said

    def _average(self, at: int) -> None:
        rate = min(self.schedule.ema, (1 + at) / (YOUNG + at))
        with torch.no_grad():
            for mine, theirs in zip(self.pair.mean.parameters(), self.pair.generator.parameters(), strict=True):
                mine.lerp_(theirs, 1 - rate)

    def _watch(self, loss: float, at: int, turn: int, memory: Memory) -> None:
        """Raises BadInput for a guidance network that fell behind for good."""
        recent = memory["recent"]
        memory["recent"] = loss if math.isnan(recent) else SMOOTH * recent + (1 - SMOOTH) * loss
        if at >= TRUSTED:
            memory["least"] = min(memory["least"], memory["recent"])
        if (lag := _lag(memory)) > LOST:
            raise BadInput(
                f"turn {turn + 1}: the guidance network's loss is {lag:.1f} times its least, {memory['least']:.3f}: it "
                f"lost the generator. Give it more steps a turn (--set guidance=5) or lower --lr, in a new folder"
            )


def _copied(network: nn.Module) -> dict[str, Tensor]:
    """Weights that do not move with the network's own."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _course(pair: Pair, schedule: Schedule) -> Course:
    networks = {"generator": pair.generator, "guidance": pair.guidance}
    rates = {"generator": schedule.generator, "guidance": schedule.guidance}
    made = [
        torch.optim.Adam(network.parameters(), lr=rates[name], betas=(schedule.beta1, 0.95), fused=True)
        for name, network in networks.items()
    ]
    return Course(nn.ModuleDict(networks), made)


def _lag(memory: Mapping[str, Any]) -> float:
    """The watched loss over its least so far."""
    return memory["recent"] / memory["least"] if math.isfinite(memory["least"]) else 1.0


def _row(turn: int, rows: list[Row], memory: Memory) -> Row:
    """Means of the turns since the last report."""
    found: Row = {"step": turn, "phase": rows[-1]["phase"], "lag": round(_lag(memory), 4)}
    for name in ("guidance", "generator"):
        values = [row[name] for row in rows if name in row]
        if values:
            found[name] = round(sum(values) / len(values), 5)
    return found


def _said(row: Row) -> str:
    losses = "  ".join(f"{name} {row[name]:.4f}" for name in ("guidance", "generator") if name in row)
    warning = f"  the guidance network lags: {row['lag']:.2f} times its least" if row["lag"] > LAGS else ""
    return f"{row['phase']}  {losses}{warning}"

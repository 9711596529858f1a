"""The one training loop: AdamW or Muon, warm-up / stable / decay, accumulation, checkpoints that resume to the same
bits.

What a step reads is a function of the step, of what the parts remember and of the weights; so a checkpoint holds
weights, optimiser, step and that memory, and no data. A killed run repeats the steps since its last checkpoint and, on
one thread, ends with the weights of a run that was never killed. The loop knows neither models nor texts.
Source: Loshchilov & Hutter 2019, arXiv:1711.05101 (AdamW); Liu et al. 2025, arXiv:2502.16982 (Muon, at AdamW's scale);
Hu et al. 2024, arXiv:2404.06395 (the schedule).
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TextIO, TypeVar, final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from decant.errors import BadInput

Batch = tuple[Tensor, Tensor]
"""ids_BT and weights_BT; the weight of a position is the weight of predicting its id from those before it."""
Batches = Callable[[int], Batch]
"""Step -> batch; calling it twice with the same step gives the same batch."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""(ids_BT, weights_BT) -> weighted nats, summed; the trainer divides by the sum of the weights, once."""

State = TypeVar("State")
Piece = TypeVar("Piece")


@final
@dataclass(frozen=True, slots=True)
class Share:
    """Which rows of a step are this process's: rank, rank + world, ..."""

    rank: int = 0
    world: int = 1

    def mine(self, count: int) -> list[int]:
        """Of so many rows."""
        return list(range(self.rank, count, self.world))


class Training(Protocol[State, Piece]):
    """What the loop asks of a run; it closes over the module that is trained."""

    def start(self) -> State:
        """What is remembered at step 0: plain dicts, lists, numbers and tensors."""
        ...

    def batches(self, state: State, step: int, share: Share) -> tuple[list[Piece], State]:
        """What this process reads in a step, in pieces that are read one after the other."""
        ...

    def weight(self, piece: Piece) -> Tensor:
        """What a mean divides by, summed over pieces."""
        ...

    def nats(self, state: State, step: int, piece: Piece) -> Tensor:
        """Weighted nats, summed, with gradients; the loop divides by the weight of all pieces of all processes."""
        ...

    def observe(self, state: State, step: int, nats: float) -> State:
        """Once a step, with its mean nats over all processes."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Plain:
    """A loss over batches that are a pure function of their number; nothing is remembered."""

    loss: Loss
    pieces: Batches
    accumulate: int = 1

    def start(self) -> None:
        """Nothing."""

    def batches(self, state: None, step: int, share: Share) -> tuple[list[Batch], None]:
        """`accumulate` batches; their rows are shared out."""
        found = [self.pieces(step * self.accumulate + part) for part in range(self.accumulate)]
        if share.world == 1:
            return found, None
        return [
            (ids_BT[share.rank :: share.world], weights_BT[share.rank :: share.world]) for ids_BT, weights_BT in found
        ], None

    def weight(self, piece: Batch) -> Tensor:
        """The sum of the weights."""
        return piece[1].sum()

    def nats(self, state: None, step: int, piece: Batch) -> Tensor:
        """Of the loss."""
        return self.loss(*piece)

    def observe(self, state: None, step: int, nats: float) -> None:
        """Nothing is learnt."""


CHECKPOINT: Final = "checkpoint.pt"
METRICS: Final = "metrics.jsonl"


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """Knobs of one run; `steps` counts optimiser steps, each of `accumulate` batches."""

    steps: int
    peak: float = 1e-3
    muon: float | None = None  # peak for the matrices between the embeddings, by Muon; None: AdamW for everything
    warmup: int = 100
    decay: float = 0.25  # the last share of the steps, down to zero in a straight line
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    clip: float = 1.0
    accumulate: int = 1
    save_every: int = 50
    report_every: int = 10
    quiet: bool = False  # nothing on standard error; metrics are written all the same

    def __post_init__(self) -> None:
        if min(self.steps, self.accumulate, self.save_every, self.report_every) < 1:
            raise BadInput(f"steps, accumulate, save_every and report_every must be at least 1: {self}")
        if not 0 <= self.decay <= 1:
            raise BadInput(f"decay is a share of the steps, between 0 and 1, not {self.decay}")

    def share(self, step: int) -> float:
        """The learning rate of a step over its peak: up in `warmup` steps, level, then down to (nearly) zero."""
        falling = self.steps * self.decay
        up = (step + 1) / max(self.warmup, 1)
        down = (self.steps - step) / falling if falling else 1.0
        return min(1.0, up, down)


def train(
    model: nn.Module,
    loss: Loss,
    batches: Batches,
    settings: Settings,
    folder: Path,
    saved: Callable[[int], None] = lambda step: None,
) -> None:
    """`run` with a loss over batches that are a pure function of their number."""
    run(model, Plain(loss, batches, settings.accumulate), settings, folder, saved)


def run(
    model: nn.Module,
    training: Training[Any, Any],
    settings: Settings,
    folder: Path,
    saved: Callable[[int], None] = lambda step: None,
) -> None:
    """Train `model` in place from the checkpoint in `folder`, or from nothing if there is none.

    `saved(step)` runs after each checkpoint, with the number of steps done: exports belong there. Ctrl-C leaves the
    last checkpoint as it is and passes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimisers = _optimisers(model, settings)
    first, state = _resume(model, optimisers, training, folder)
    model.train()
    with _reporter(settings, first) as report, (folder / METRICS).open("a", encoding="utf-8") as metrics:
        nats, tokens, began = [], 0.0, time.perf_counter()
        for step in range(first, settings.steps):
            mean, weight, state = _step(model, training, state, optimisers, settings, step)
            nats.append(mean)
            tokens += weight
            if (step + 1) % settings.report_every == 0:
                mean = sum(nats) / len(nats)
                row = {"step": step + 1, "nats": round(mean, 4), "rate": settings.peak * settings.share(step)}
                row["tokens_per_second"] = round(tokens / (time.perf_counter() - began), 1)
                report(step + 1, row)
                metrics.write(json.dumps(row) + "\n")
                metrics.flush()
                nats, tokens, began = [], 0.0, time.perf_counter()
            if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
                _save(model, optimisers, state, step + 1, folder)
                saved(step + 1)


def _step(
    model: nn.Module,
    training: Training[Any, Any],
    state: Any,
    optimisers: list[torch.optim.Optimizer],
    settings: Settings,
    step: int,
) -> tuple[float, float, Any]:
    """One update; the mean nats per weighted position, the weight, and what is remembered."""
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["lr"] = group["peak"] * settings.share(step)
    pieces, state = training.batches(state, step, Share())
    weight = torch.stack([training.weight(piece) for piece in pieces]).sum()
    total = torch.zeros((), device=weight.device)
    model.zero_grad(set_to_none=True)
    for piece in pieces:
        mean = training.nats(state, step, piece) / weight
        mean.backward()
        total += mean.detach()
    nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    for optimiser in optimisers:
        optimiser.step()
    nats = float(total)  # sync: parts that adapt want it
    return nats, float(weight), training.observe(state, step, nats)


def _optimisers(model: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices that are no table if it has a peak; `peak` lies in each group."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in trained if weight.dim() >= 2]
    vectors = [weight for weight in trained if weight.dim() < 2]  # norms and biases are not decayed
    found: list[torch.optim.Optimizer] = []
    if settings.muon is not None:
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        hidden = [weight for weight in matrices if id(weight) not in tables and weight.dim() == 2]
        matrices = [weight for weight in matrices if id(weight) in tables or weight.dim() > 2]
        muon = [{"params": hidden, "peak": settings.muon}]
        found.append(torch.optim.Muon(muon, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"))
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay, "peak": settings.peak},
        {"params": vectors, "weight_decay": 0.0, "peak": settings.peak},
    ]
    return [*found, torch.optim.AdamW(groups, betas=settings.betas, fused=True)]


def _save(model: nn.Module, optimisers: list[torch.optim.Optimizer], memory: Any, step: int, folder: Path) -> None:
    """Write beside, then replace: a kill at any moment leaves a whole checkpoint."""
    part = folder / (CHECKPOINT + ".part")
    states = [optimiser.state_dict() for optimiser in optimisers]
    torch.save({"model": model.state_dict(), "optimisers": states, "step": step, "memory": memory}, part)
    os.replace(part, folder / CHECKPOINT)


def _resume(
    model: nn.Module, optimisers: list[torch.optim.Optimizer], training: Training[Any, Any], folder: Path
) -> tuple[int, Any]:
    """Load the checkpoint if there is one, forget metrics behind it; the steps done, and what is remembered."""
    path = folder / CHECKPOINT
    if not path.exists():
        (folder / METRICS).unlink(missing_ok=True)
        return 0, training.start()
    found = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(found["model"])
    for optimiser, state in zip(optimisers, found["optimisers"], strict=True):
        optimiser.load_state_dict(state)
    metrics = folder / METRICS
    if metrics.exists():
        lines = metrics.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= found["step"]]
        metrics.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    return found["step"], found["memory"]


@contextmanager
def _reporter(settings: Settings, first: int, out: TextIO = sys.stderr) -> Iterator[Callable[[int, dict], None]]:
    """A bar on a terminal, plain lines elsewhere."""
    if settings.quiet:
        yield lambda step, row: None
        return
    if not out.isatty():
        began = time.monotonic()

        def plain(step: int, row: dict) -> None:
            left = (time.monotonic() - began) / (step - first) * (settings.steps - step)
            text = f"step {step}/{settings.steps}  {row['nats']:.3f} nats  {row['tokens_per_second']:.0f} tokens/s"
            out.write(f"{text}  {left / 60:.0f} min left\n")
            out.flush()

        yield plain
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=out)) as progress:
        bar = progress.add_task("", total=settings.steps, completed=first)

        def drawn(step: int, row: dict) -> None:
            text = f"{row['nats']:.3f} nats  {row['tokens_per_second']:.0f} tokens/s"
            progress.update(bar, completed=step, description=text)

        yield drawn

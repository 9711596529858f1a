"""The one training loop: AdamW or Muon, warm-up / stable / decay, accumulation, checkpoints that resume to the same
bits.

A batch is a pure function of its step, so a checkpoint needs no data state: weights, optimiser and step are all.
A killed run repeats the steps since its last checkpoint and, on one thread, ends with the weights of a run that
was never killed. The loop knows neither models nor data: it takes a module, a batch function and a loss.
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
from typing import Final, TextIO, final

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
    """Train `model` in place from the checkpoint in `folder`, or from nothing if there is none.

    `saved(step)` runs after each checkpoint, with the number of steps done: exports belong there. Ctrl-C leaves the
    last checkpoint as it is and passes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimisers = _optimisers(model, settings)
    first = _resume(model, optimisers, folder)
    model.train()
    with _reporter(settings, first) as report, (folder / METRICS).open("a", encoding="utf-8") as metrics:
        nats, tokens, began = [], 0, time.perf_counter()
        for step in range(first, settings.steps):
            mean, read = _step(model, loss, batches, optimisers, settings, step)
            nats.append(mean)
            tokens += read
            if (step + 1) % settings.report_every == 0:
                mean = float(torch.stack(nats).mean())  # sync: a report
                row = {"step": step + 1, "nats": round(mean, 4), "rate": settings.peak * settings.share(step)}
                row["tokens_per_second"] = round(tokens / (time.perf_counter() - began), 1)
                report(step + 1, row)
                metrics.write(json.dumps(row) + "\n")
                metrics.flush()
                nats, tokens, began = [], 0, time.perf_counter()
            if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
                _save(model, optimisers, step + 1, folder)
                saved(step + 1)


def _step(
    model: nn.Module,
    loss: Loss,
    batches: Batches,
    optimisers: list[torch.optim.Optimizer],
    settings: Settings,
    step: int,
) -> tuple[Tensor, int]:
    """One update; returns the mean nats per weighted position and the number of positions read."""
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["lr"] = group["peak"] * settings.share(step)
    parts = [batches(step * settings.accumulate + part) for part in range(settings.accumulate)]
    weight = torch.stack([weights_BT.sum() for _, weights_BT in parts]).sum()
    total = torch.zeros((), device=weight.device)
    model.zero_grad(set_to_none=True)
    for ids_BT, weights_BT in parts:
        mean = loss(ids_BT, weights_BT) / weight
        mean.backward()
        total += mean.detach()
    nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    for optimiser in optimisers:
        optimiser.step()
    return total, sum(ids_BT.numel() for ids_BT, _ in parts)


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


def _save(model: nn.Module, optimisers: list[torch.optim.Optimizer], step: int, folder: Path) -> None:
    """Write beside, then replace: a kill at any moment leaves a whole checkpoint."""
    part = folder / (CHECKPOINT + ".part")
    states = [optimiser.state_dict() for optimiser in optimisers]
    torch.save({"model": model.state_dict(), "optimisers": states, "step": step}, part)
    os.replace(part, folder / CHECKPOINT)


def _resume(model: nn.Module, optimisers: list[torch.optim.Optimizer], folder: Path) -> int:
    """Load the checkpoint if there is one, forget metrics behind it, return the steps done."""
    path = folder / CHECKPOINT
    if not path.exists():
        (folder / METRICS).unlink(missing_ok=True)
        return 0
    found = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(found["model"])
    for optimiser, state in zip(optimisers, found["optimisers"], strict=True):
        optimiser.load_state_dict(state)
    metrics = folder / METRICS
    if metrics.exists():
        lines = metrics.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= found["step"]]
        metrics.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    return found["step"]


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

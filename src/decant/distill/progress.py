"""What a run says of itself: metrics.jsonl, TensorBoard's events if they are wanted, a bar on a terminal.

Nothing is sent anywhere.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from decant.disk import append, write_text
from decant.distill.settings import Settings
from decant.errors import MissingExtra

METRICS: Final = "metrics.jsonl"
EVENTS: Final = "tensorboard"

Row = dict[str, Any]
"""step, and numbers by name."""


@final
@dataclass(slots=True)
class Tally:
    """Steps since the last report.

    nats, norms: of each step. tokens: their weights, summed. waited: seconds until their batches were there.
    """

    nats: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    tokens: float = 0.0
    waited: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def row(self, step: int, rate: float) -> Row:
        """step: how many were done. nats: a mean over steps. gradient: the mean norm before clipping. batches: the
        share of the time that went into getting them, rollouts included."""
        seconds = time.perf_counter() - self.began
        return {
            "step": step,
            "nats": round(sum(self.nats) / len(self.nats), 4),
            "rate": rate,
            "gradient": round(sum(self.norms) / len(self.norms), 4),
            "tokens_per_second": round(self.tokens / seconds, 1),
            "batches": round(self.waited / seconds, 4),
        }


def remembered(state: Any, name: str = "") -> Row:
    """What parts remember that is a number, by its path (`rollouts.phi`); of lists of anything else, how many there
    are."""
    if isinstance(state, dict):
        inner = [remembered(part, f"{name}.{key}" if name else str(key)) for key, part in state.items()]
        return {path: number for row in inner for path, number in row.items()}
    if isinstance(state, list):
        several = bool(state) and all(map(_number, state))
        return remembered(dict(enumerate(state)), name) if several else {name: len(state)}
    return {name: round(state, 6)} if _number(state) else {}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def forget(folder: Path, step: int) -> None:
    """Drop metrics behind a step, and a line that a kill cut short."""
    metrics = folder / METRICS
    if not metrics.exists():
        return
    lines = metrics.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    write_text(metrics, "".join(line + "\n" for line in kept))


@contextmanager
def reporting(
    settings: Settings, folder: Path, first: int, said: Callable[[Row], str] | None = None
) -> Iterator[Callable[[Row], None]]:
    """Where rows go. said: a row in words, where it has others than nats and tokens.

    Raises MissingExtra without TensorBoard where that is wanted, BadInput where the disk is full.
    """
    metrics = folder / METRICS
    with ExitStack() as open_files:
        tells = [open_files.enter_context(_drawing(settings, first, said or _said))]
        if settings.tensorboard:
            tells.append(open_files.enter_context(_events(folder / EVENTS, first)))

        def report(row: Row) -> None:
            append(metrics, json.dumps(row), "the last checkpoint is whole")
            for tell in tells:
                tell(row)

        yield report


@contextmanager
def _events(folder: Path, first: int) -> Iterator[Callable[[Row], None]]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra("TensorBoard is not installed: pip install 'decant[tensorboard]'") from error
    with SummaryWriter(str(folder), purge_step=first + 1) as writer:

        def tell(row: Row) -> None:
            for name, value in row.items():
                if name != "step" and not isinstance(value, str):
                    writer.add_scalar(name, value, row["step"])

        yield tell


@contextmanager
def _drawing(settings: Settings, first: int, said: Callable[[Row], str]) -> Iterator[Callable[[Row], None]]:
    """A bar on a terminal, plain lines elsewhere."""
    out: TextIO = sys.stderr
    if settings.quiet:
        yield lambda row: None
        return
    if not out.isatty():
        began = time.monotonic()

        def plain(row: Row) -> None:
            step = row["step"]
            left = (time.monotonic() - began) / (step - first) * (settings.steps - step)
            out.write(f"step {step}/{settings.steps}  {said(row)}  {left / 60:.0f} min left\n")
            out.flush()

        yield plain
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=out)) as progress:
        bar = progress.add_task("", total=settings.steps, completed=first)
        yield lambda row: progress.update(bar, completed=row["step"], description=said(row))


def _said(row: Row) -> str:
    return f"{row['nats']:.3f} nats  {row['tokens_per_second']:.0f} tokens/s"

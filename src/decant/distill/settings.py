"""The knobs of a run, and how the learning rate moves through it.

Source: Hu et al. 2024, arXiv:2404.06395 (the schedule).
"""

from dataclasses import dataclass
from typing import final

from decant.errors import BadInput


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
    tensorboard: bool = False  # the metrics as TensorBoard's events as well, below the run folder
    shard: bool = False  # weights and optimiser are spread over the processes (FSDP2), not copied to each

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

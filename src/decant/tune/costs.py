"""What a pass of this model costs on this machine: `bench.costs` on a small grid, kept between runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from decant.bench.costs import Grid, run
from decant.models.loaded import Loaded
from decant.models.rows import remembered
from decant.tune.predict import Passes
from decant.types import CostCurve

TOKENS: Final = (1, 2, 4, 6, 8, 12, 16, 24, 32)
COARSE: Final = (1, 4, 8, 16)  # where there is little time
ROUND: Final = 64  # contexts are rounded up to multiples of it, so that few are kept
REPEAT: Final = 3

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """Which costs. context: tokens of a request, at its middle. budget: seconds, about."""

    batches: Sequence[int]
    context: int
    budget: float

    def grid(self, target: Loaded) -> Grid:
        """What of it fits the budget; contexts that the model cannot hold are shortened."""
        context = min(-(-self.context // ROUND) * ROUND, target.model.context - max(TOKENS))
        each = target.costs()
        fine = sum(each.seconds(batch * rows) for batch in self.batches for rows in TOKENS) * (REPEAT + 1)
        tokens, repeat = (TOKENS, REPEAT) if fine < self.budget else (COARSE, 1)
        return Grid((max(1, context),), tuple(dict.fromkeys(self.batches)), tokens, repeat)


def measured(
    target: Loaded, asked: Asked, identity: Mapping[str, Any], told: Progress = lambda done, total, text: None
) -> dict[str, Any]:
    """The report of `bench.costs`. identity: of model and machine, under which it is kept."""
    grid = asked.grid(target)
    mode = "exact" if target.model.rows else "free"
    question = f"costs of a pass, {mode}, {grid.facts()}"
    return remembered(identity, question, lambda: run(target, grid, progress=told))


def passes(report: Mapping[str, Any], crank: float = 0.0) -> Passes:
    """The curves of a report, one a batch. Raises BadInput where it holds none."""
    curves = {
        curve["batch"]: CostCurve(
            tuple(point["tokens"] for point in curve["points"]),
            tuple(1e-3 * point["ms"]["median"] for point in curve["points"]),
        )
        for curve in report["curves"]
    }
    return Passes(curves, crank)

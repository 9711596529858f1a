"""The one training loop: AdamW or Muon, warm-up / stable / decay, accumulation, checkpoints that resume to the same
bits, one process or several.

What a step reads is a function of the step, of what the parts remember and of the weights; so a checkpoint holds
weights, optimiser, step and that memory, and no data. A killed run repeats the steps since its last checkpoint and, on
one thread, ends with the weights of a run that was never killed; dropout is drawn anew for every step, from its number.
The loop knows neither models nor texts.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar, final

import torch
from torch import Tensor, nn

from decant.distill.checkpoint import BAD_BATCH, Course, keep_bad, read, write
from decant.distill.checkpoint import CHECKPOINT as CHECKPOINT
from decant.distill.optimisers import optimisers
from decant.distill.parallel import Lesson, Team, join, spread, unsummed, whole
from decant.distill.progress import METRICS as METRICS
from decant.distill.progress import Tally, forget, remembered, reporting
from decant.distill.settings import Settings
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

    def pieces(self, count: int, micro: int) -> list[list[int]]:
        """`mine`, at most `micro` at once; of no row, no piece."""
        rows = self.mine(count)
        return [rows[first : first + micro] for first in range(0, len(rows), micro)]


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

    `saved(step)` runs after each checkpoint, with the number of steps done: exports belong there; where all steps were
    done before, it runs once more, as a kill may have come between. Ctrl-C leaves the last checkpoint as it is and
    passes on. Under torchrun or accelerate every process calls this with a folder that all
    see; the first one alone writes and runs `saved`. A model that was spread (`shard`) stays so: export it from the
    checkpoint (`checkpoint.read`, `checkpoint.load`).
    Raises BadInput for a full disk, and for nats or gradients that are not finite; the last checkpoint is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    team = join()
    lesson = spread(Lesson(model, training), team, settings.shard)
    course = Course(model, optimisers(model, settings))
    first, state = _resume(course, training, team, folder)
    if first >= settings.steps and team.writes:
        saved(first)
    model.train()
    with ExitStack() as leaving:
        report = leaving.enter_context(reporting(settings, folder, first)) if team.writes else lambda row: None
        work = _Work(course, lesson, training, settings, team, folder, leaving.enter_context(_own_randomness(model)))
        tally = Tally()
        for step in range(first, settings.steps):
            state = work.step(state, step, tally)
            if (step + 1) % settings.report_every == 0:
                report(remembered(state) | tally.row(step + 1, settings.peak * settings.share(step)))
                tally = Tally()
            if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
                found = course.snapshot(step + 1, state)
                if team.writes:
                    write(found, folder / CHECKPOINT)
                    saved(step + 1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What does not change from step to step."""

    course: Course
    lesson: nn.Module
    training: Training[Any, Any]
    settings: Settings
    team: Team
    folder: Path
    seed: int

    def step(self, state: Any, step: int, tally: Tally) -> Any:
        """One update; what is remembered."""
        team, optimisers = self.team, self.course.optimisers
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = group["peak"] * self.settings.share(step)
        torch.manual_seed((self.seed + step * team.world + team.rank) % 2**63)
        began = time.perf_counter()
        before = state
        pieces, state = self.training.batches(state, step, Share(team.rank, team.world))
        tally.waited += time.perf_counter() - began
        total, weight = self._gradients(state, step, pieces)
        norm = whole(nn.utils.clip_grad_norm_(self.course.model.parameters(), self.settings.clip))
        found = torch.stack([total, norm, weight])
        nats, reach, tokens = found.tolist()  # sync: no step is made with what is not finite
        if not (math.isfinite(nats) and math.isfinite(reach)):
            self._stop(pieces, step, before, f"mean nats {nats}, norm of the gradient {reach}, weight {tokens}")
        for optimiser in optimisers:
            optimiser.step()
        tally.nats.append(nats)
        tally.norms.append(reach)
        tally.tokens += tokens
        return self.training.observe(state, step, nats)

    def _gradients(self, state: Any, step: int, pieces: list[Any]) -> tuple[Tensor, Tensor]:
        """The mean nats and the weight of all pieces of all processes; the gradients lie in the model."""
        model, team = self.course.model, self.team
        model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=next(model.parameters()).device)
        weight = team.total(torch.stack([total, *(self.training.weight(piece).to(total) for piece in pieces)]).sum())
        shares: list[tuple[Any, float]] = [(piece, 1.0) for piece in pieces] or [(None, 1.0)]
        if self.settings.shard and team.world > 1:
            shares = team.levelled(pieces, total.device)
        for at, (piece, factor) in enumerate(shares, 1):
            with unsummed(self.lesson, last=at == len(shares)):
                mean = self.lesson(state, step, piece) * (factor * team.world) / weight  # gradients become means
                mean.backward()
            total += mean.detach() / team.world
        return team.total(total), weight

    def _stop(self, pieces: list[Any], step: int, memory: Any, found: str) -> NoReturn:
        """Keep what was read in a step that makes no sense."""
        rank = f"-{self.team.rank}" * (not self.team.writes)
        path = self.folder / BAD_BATCH.replace(".", f"{rank}.")
        keep_bad(pieces, step, memory, path)
        raise BadInput(
            f"step {step + 1} is not finite: {found}. Its texts are in {path}: look at them with torch.load; a weight "
            f"of 0 means that nothing in them counts. The last checkpoint is as it was: lower the learning rate "
            f"(--lr), or take those texts out, then start again"
        )


def _resume(course: Course, training: Training[Any, Any], team: Team, folder: Path) -> tuple[int, Any]:
    """Load the checkpoint if there is one, forget metrics behind it; the steps done, and what is remembered."""
    found = read(folder)
    step = 0 if found is None else found["step"]
    if not team.agree(step, next(course.model.parameters()).device):
        raise BadInput(f"process {team.rank} does not find the same checkpoint in {folder}: all must see one folder")
    if team.writes:
        forget(folder, step)
    if found is None:
        return 0, training.start()
    course.restore(found)
    return step, found["memory"]


@contextmanager
def _own_randomness(model: nn.Module) -> Iterator[int]:
    """The caller's generators do not move; the seed that they began with."""
    place = next(model.parameters()).device
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        yield torch.initial_seed()

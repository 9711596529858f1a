"""Scoring and writing spread over Ray's actors: a batch is cut into as many parts as there are workers.

A worker that dies is replaced, gets what it needs anew and does its part again, so nothing is lost and nothing comes
twice; what a part says does not depend on who says it. Ray comes with the extra `[ray]`; a cluster is joined where
RAY_ADDRESS names one, else one is started here. Its usage reports are off.
Source: Moritz et al. 2018, arXiv:1712.05889 (Ray).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from decant.distill.caching import ROWS_AT_ONCE, best
from decant.distill.seams import Coarse, Dense, Law, Speaker, Teacher
from decant.distill.texts import Positions, TextBatch
from decant.errors import BadInput, DecantError, MissingExtra
from decant.types import select_rows

TRIES: Final = 3  # workers that may die over one part
LOOK: Final = 30.0  # seconds between two looks whether there still is a cluster: without one, waiting never ends


def ray() -> Any:
    """Ray, running. Raises MissingExtra where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's 15 a busy machine never runs who is waited for
    try:
        import ray as found  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError as error:
        raise MissingExtra("Ray is not installed: pip install 'decant[ray]'") from error
    if not found.is_initialized():
        found.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    return found


@final
class Crew:
    """`workers` actors, each of which holds what `make` makes. gpus: of each worker.

    Raises BadInput for fewer than one worker, or for more accelerators than the cluster has.
    """

    def __init__(self, make: Callable[[], Any], workers: int, gpus: float = 0) -> None:
        if workers < 1:
            raise BadInput(f"workers must be at least 1, got {workers}")
        self.ray = ray()
        there = self.ray.cluster_resources().get("GPU", 0)
        if workers * gpus > there:
            raise BadInput(f"{workers} workers with {gpus:g} GPUs each are more than the {there:g} of the cluster")
        self.make, self.gpus = make, gpus
        self.actors = [self._hired() for _ in range(workers)]

    def _hired(self) -> Any:
        # Zero CPUs: with any number said, Ray would keep one for each worker, and a second crew waits for ever.
        return self.ray.remote(_Worker).options(num_cpus=0, num_gpus=self.gpus).remote(self.make)

    def share(self, parts: Sequence[tuple[Any, ...]]) -> list[Any]:
        """`worker(*part)` of each part, in their order; at most as many parts as workers. Raises what a worker raises,
        and DecantError where a part kills worker after worker, or no node is left."""
        asked = [self._asked(place, part) for place, part in enumerate(parts)]
        return [
            self._answer(place, part, answer) for place, (part, answer) in enumerate(zip(parts, asked, strict=True))
        ]

    def _asked(self, place: int, part: tuple[Any, ...]) -> Any:
        try:
            return self.actors[place].work.remote(*part)
        except self.ray.exceptions.RayActorError:
            return None

    def _answer(self, place: int, part: tuple[Any, ...], answer: Any) -> Any:
        for _ in range(TRIES):
            try:
                if answer is not None:
                    return self._awaited(answer)
            except (self.ray.exceptions.RayActorError, self.ray.exceptions.ObjectLostError):
                pass
            self.actors[place] = self._hired()
            answer = self._asked(place, part)
        raise DecantError(
            f"{TRIES} workers died over the same part, one after the other; do its rows fit into a worker's memory? "
            f"Give fewer rows a step, or more workers"
        )

    def _awaited(self, answer: Any) -> Any:
        while True:
            try:
                return self.ray.get(answer, timeout=LOOK)
            except self.ray.exceptions.GetTimeoutError:
                if not any(node["Alive"] for node in self.ray.nodes()):
                    raise DecantError(
                        "every node of the Ray cluster has died; start it again: the same command goes on"
                    ) from None

    def close(self) -> None:
        """Let the workers go."""
        for actor in self.actors:
            self.ray.kill(actor)


class _Worker:
    """In a process of its own."""

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self.made = make()

    def work(self, *part: Any) -> Any:
        return self.made(*part)


@final
@dataclass(frozen=True, slots=True, eq=False)
class SpreadTeacher:
    """make: the teacher, in each worker. top: how many ids of a row are sent, with the mass of all others; None: all.

    At 4 bytes a number a thousand positions over 150,000 ids are 600 MB: large vocabularies want `top`.
    """

    make: Callable[[], Teacher]
    workers: int
    top: int | None = None
    gpus: float = 0
    crew: Crew = field(init=False)

    def __post_init__(self) -> None:
        make, top = self.make, self.top
        object.__setattr__(self, "crew", Crew(lambda: _Scoring(make(), top), self.workers, self.gpus))

    @property
    def gives(self) -> frozenset[str]:
        """Laws; over the whole vocabulary where all of it is sent."""
        return frozenset({"law"} if self.top else {"law", "dense"})

    def signal(self, batch: TextBatch, at: Positions) -> "Said":
        """Rows in parts of equal number; the laws come back in the order of the positions."""
        where, home = at.row_N.device, torch.device("cpu")
        batch, at = _moved(batch, home), _moved(at, home)
        rows = at.row_N.unique()
        parts = []
        for mine_R in rows.tensor_split(min(self.workers, len(rows))):
            places = select_rows(at, torch.isin(at.row_N, mine_R).nonzero()[:, 0])
            places = replace(places, row_N=torch.searchsorted(mine_R, places.row_N))
            parts.append((select_rows(batch, mine_R), places))
        said = self.crew.share(parts)
        tensors = zip(*(one.tensors for one in said), strict=True)
        return Said([torch.cat(some).to(where) for some in tensors], said[0].vocab)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """tensors: logp_NV, or ids_NK, logp_NK and rest_N."""

    tensors: list[Tensor]
    vocab: int

    def law(self, rows: slice) -> Law:
        """At these positions."""
        some = [tensor[rows] for tensor in self.tensors]
        return Dense(some[0]) if len(some) == 1 else Coarse(some[0], some[1], some[2], self.vocab)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Scoring:
    """In a worker. Laws are taken a few rows at a time, so that with `top` none of the whole part is in memory."""

    teacher: Teacher
    top: int | None

    def __call__(self, batch: TextBatch, at: Positions) -> Said:
        signal = self.teacher.signal(batch, at)
        parts = [
            self._reduced(signal.law(slice(first, first + ROWS_AT_ONCE))) for first in range(0, len(at), ROWS_AT_ONCE)
        ]
        tensors = zip(*(part.tensors for part in parts), strict=True)
        return Said([torch.cat(some).cpu() for some in tensors], parts[0].vocab)

    def _reduced(self, law: Law) -> Said:
        if isinstance(law, Coarse):
            return Said([law.ids_XK, law.logp_XK, law.rest_X], law.vocab)
        assert isinstance(law, Dense)
        vocab = law.logp_XV.shape[-1]
        if self.top is None:
            return Said([law.logp_XV], vocab)
        return Said(list(best(law.logp_XV, min(self.top, vocab))), vocab)


@final
class SpreadSpeaker:
    """Prompts are shared out over workers that hold a copy of the student; a prompt's answer is its seed's alone.

    student: whose weights are sent, into the object store, once for as long as they stay the same.
    make:    in each worker, a student of that kind and who writes with it.
    """

    def __init__(
        self, student: nn.Module, make: Callable[[], tuple[nn.Module, Speaker]], workers: int, gpus: float = 0
    ) -> None:
        self.student = student
        self.crew = Crew(lambda: _Writing(*make()), workers, gpus)
        self.held: dict[str, Tensor] = {}
        self.sent: Any = None
        self.sendings = 0

    def write(self, prompts: list[list[int]], seeds: list[int], limit: int) -> list[tuple[list[int], list[float]]]:
        """`seams.Speaker`."""
        self._send()
        parts = [
            (self.sendings, [self.sent], prompts[cut], seeds[cut], limit)
            for cut in _cuts(len(prompts), len(self.crew.actors))
        ]
        return [answer for part in self.crew.share(parts) for answer in part]

    def _send(self) -> None:
        # Neither tensors' versions nor addresses tell: fused optimisers write past both.
        weights = {name: weight.detach().cpu() for name, weight in self.student.state_dict().items()}
        if self.held and all(torch.equal(weight, self.held[name]) for name, weight in weights.items()):
            return
        self.held = {name: weight.clone() for name, weight in weights.items()}
        self.sent = self.crew.ray.put(self.held)
        self.sendings += 1


@final
class _Writing:
    """In a worker. Weights are fetched when they are new to it."""

    def __init__(self, student: nn.Module, speaker: Speaker) -> None:
        self.student, self.speaker, self.sending = student, speaker, 0

    def __call__(
        self, sending: int, sent: list[Any], prompts: list[list[int]], seeds: list[int], limit: int
    ) -> list[tuple[list[int], list[float]]]:
        if sending != self.sending:
            self.student.load_state_dict(ray().get(sent[0]))
            self.sending = sending
        return self.speaker.write(prompts, seeds, limit)


def _cuts(count: int, workers: int) -> list[slice]:
    """As equal as can be, none of them empty."""
    each, more = divmod(count, workers)
    ends = [0]
    for place in range(workers):
        ends.append(ends[-1] + each + (place < more))
    return [slice(first, end) for first, end in pairwise(ends) if end > first]


def _moved(found: Any, where: torch.device) -> Any:
    return replace(found, **{one.name: getattr(found, one.name).to(where) for one in fields(found)})

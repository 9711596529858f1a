"""`--ray`: a teacher's passes, and the answers of a student, on workers of Ray.

`auto` starts a cluster here, or joins the one that RAY_ADDRESS names; else the address of one. `auto:top=64` sends that
many ids of a law and the mass of all others, in place of all.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, final

from torch import nn

from decant.apps.knobs import values_of
from decant.apps.teachers import Mentor, Named, adapted, knobs_in, models_of
from decant.apps.teaching import Asked
from decant.distill import seams
from decant.distill.parallel import join
from decant.distill.speaking import Speaking
from decant.distill.spreading import SpreadSpeaker, SpreadTeacher, ray
from decant.errors import BadInput, IncompatibleParts
from decant.models.current import swift
from decant.models.trainee import Trainee
from decant.samplers.temperature import temperature as softened

KINDS: Final = {"top": int}
ADDRESS: Final = "RAY_ADDRESS"


def spread(asked: Asked) -> Mentor:
    """The teacher, in every worker. Raises BadInput or IncompatibleParts for what cannot be spread."""
    assert asked.ray is not None
    said = knobs_in(asked.ray)
    knobs = values_of(said, KINDS)
    if asked.cache is not None or Named.of(asked.teacher).served:
        raise IncompatibleParts("--ray spreads models, and a server or a cache is none; leave --ray out")
    if join().world > 1:
        raise BadInput("--ray spreads one process's work, and torchrun started several; take one of them")
    if said.name != "auto":
        os.environ[ADDRESS] = said.name
    gpus = _gpus(asked)
    make = partial(_law, asked.teacher, "cuda" if gpus else "cpu")
    source: Any = SpreadTeacher(make, asked.workers, knobs.get("top"), gpus)  # its `gives` depends on a knob
    return Mentor(asked.teacher, source=source)


def voices(asked: Asked) -> Callable[[Any, float], seams.Speaker] | None:
    """A student and a temperature -> who writes; None without --ray."""
    return None if asked.ray is None else partial(Away, asked)


@contextmanager
def dismissed(asked: Asked) -> Iterator[None]:
    """Workers are let go in the end."""
    try:
        yield
    finally:
        found = sys.modules.get("ray")  # not there: nobody was hired
        if asked.ray is not None and found is not None:
            found.shutdown()


@final
class Away:
    """A `seams.Speaker` whose workers are hired when something is to be written."""

    def __init__(self, asked: Asked, student: nn.Module, temperature: float) -> None:
        self.asked, self.student, self.temperature = asked, student, temperature
        self.hired: SpreadSpeaker | None = None

    def write(self, prompts: list[list[int]], seeds: list[int], limit: int) -> list[tuple[list[int], list[float]]]:
        """`seams.Speaker`."""
        if self.hired is None:
            gpus = _gpus(self.asked)
            plain = self.asked.student, self.asked.lora, self.asked.seed
            make = partial(_voice, *plain, self.temperature, "cuda" if gpus else "cpu")
            self.hired = SpreadSpeaker(self.student, make, self.asked.workers, gpus)
        return self.hired.write(prompts, seeds, limit)


def _gpus(asked: Asked) -> float:
    """Of a worker; as many teach as write."""
    return ray().cluster_resources().get("GPU", 0) / (2 * asked.workers)


def _law(teacher: str, device: str) -> seams.Teacher:
    return models_of(Named.of(teacher), device).law()


def _voice(student: str, lora: int | None, seed: int, temperature: float, device: str) -> tuple[nn.Module, Speaking]:
    trainee = adapted(Trainee.open(student, device), lora, seed)
    warp = None if temperature == 1 else softened(temperature)
    return trainee.network, Speaking(trainee.network, trainee.ends, warp, swift(trainee.network))

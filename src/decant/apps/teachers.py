"""Who teaches a student: a model in memory, several of them, one behind a server, or what one said of the data once.

`NAME`; `NAME+NAME` or `NAME*0.7+NAME*0.3`, with `:mean=logs` behind them or not; `http://HOST/v1:model=NAME`.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, final

from torch import nn

from decant.apps.knobs import Spec, build, knobs_of, split, values_of
from decant.apps.teaching import Asked
from decant.distill import seams
from decant.distill.runs import TRAINING
from decant.distill.server import Server
from decant.distill.teachers.live import Live
from decant.distill.teachers.remote import Remote
from decant.distill.teachers.several import Several
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import speller
from decant.models.lora import Adapters, wrap
from decant.models.spelling import vocabulary
from decant.models.teacher import Teacher
from decant.models.trainee import Trainee

KEY: Final = "DECANT_TEACHER_KEY"
SERVERS: Final = ("http://", "https://")
KNOB: Final = re.compile(r":(?=[a-z_]+=)")  # neither the colon of house:NAME nor that of a port
SAID: Final = "server"  # folder of a server's answers


@final
@dataclass(frozen=True, slots=True)
class Served:
    """Knobs of a server, whose key is DECANT_TEACHER_KEY. model: its name for the teacher. top: ids of a position."""

    model: str = ""
    top: int = 20
    form: Literal["prompt_logprobs", "echo"] = "prompt_logprobs"
    at_once: int = 4
    timeout: float = 120.0
    tries: int = 6
    per_second: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Mixing:
    """Knobs of several teachers."""

    mean: Literal["probabilities", "logs"] = "probabilities"


@final
@dataclass(frozen=True, slots=True)
class Named:
    """What --teacher says. names: of models, or one URL. shares: as many, or none. knobs: still as text."""

    names: tuple[str, ...]
    shares: tuple[float, ...]
    knobs: Spec

    @property
    def served(self) -> bool:
        """Whether it is a URL."""
        return self.names[0].startswith(SERVERS)

    @classmethod
    def of(cls, spec: str) -> "Named":
        """Raises BadInput for what is none of these."""
        knobs = knobs_in(spec)
        name = knobs.name
        if name.startswith(SERVERS) or Path(name).expanduser().exists() or not re.search(r"[+*]", name):
            return cls((name,), (), knobs)
        parts = [part.partition("*") for part in name.split("+")]
        try:
            shares = tuple(float(share) for _, times, share in parts if times)
        except ValueError:
            shares = (0.0,)
        if len(shares) not in (0, len(parts)) or not all(share > 0 for share in shares) or not all(p[0] for p in parts):
            raise BadInput(f"--teacher {spec}: several are A+B, or A*0.7+B*0.3 with a share above 0 for each")
        return cls(tuple(part[0] for part in parts), shares, knobs)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mentor:
    """model: the one network in memory; None where there is none, or several. source: who says laws in its place.

    networks: those that lie in memory.
    """

    name: str
    model: Teacher | None = None
    source: seams.Teacher | None = None
    networks: tuple[nn.Module, ...] = ()

    def law(self) -> seams.Teacher:
        """Who says laws."""
        if self.source is not None:
            return self.source
        assert self.model is not None
        return Live(self.model)

    @property
    def bytes(self) -> int:
        """Of the networks."""
        weights = (weight for network in self.networks for weight in network.parameters())
        return sum(weight.numel() * weight.element_size() for weight in weights)


def knobs_in(spec: str) -> Spec:
    """`NAME:knob=value`, for names that hold colons. Raises BadInput for a knob that is set twice."""
    name, *settings = KNOB.split(spec.strip())
    pairs = [setting.split("=", 1) for setting in settings]
    if len(dict(pairs)) < len(pairs):
        raise BadInput(f"{spec!r} sets a knob twice; leave one")
    return Spec(name, dict(pairs))


def opened(asked: Asked, trainee: Trainee, device: str, bridges: bool, dry: bool = False) -> Mentor:
    """The teacher that --teacher names. bridges: it may spell in its own way. dry: nothing is kept of what it says.

    Raises BadInput, or IncompatibleParts for a tokenizer that is not the student's.
    """
    named = Named.of(asked.teacher)
    if named.served:
        return Mentor(asked.teacher, source=_remote(asked, named, trainee, dry))
    check(asked, trainee, bridges)
    return models_of(named, device)


def check(asked: Asked, trainee: Trainee, bridges: bool) -> None:
    """Raises IncompatibleParts for a tokenizer that is not the student's; bridges: a single teacher may have one."""
    names = Named.of(asked.teacher).names
    for name in names:
        if not (bridges and len(names) == 1) and not trainee.speller.same(speller(name)):
            raise IncompatibleParts(
                f"the tokenizers of {name} and {asked.student} differ, and {split(asked.recipe).name} compares token "
                f"by token; take a student with the teacher's tokenizer, or the recipe alm_transfer"
            )


def models_of(named: Named, device: str) -> Mentor:
    """One model in memory, or several as one."""
    mixing = Mixing(**values_of(named.knobs, knobs_of(Mixing) if len(named.names) > 1 else {}))
    models = [Teacher.open(name, device) for name in named.names]
    networks = tuple(one.network for one in models)
    name = named.knobs.name
    if len(models) == 1:
        return Mentor(name, models[0], networks=networks)
    return Mentor(name, None, Several(tuple(map(Live, models)), named.shares, mixing.mean), networks)


def adapted(trainee: Trainee, rank: int | None, seed: int) -> Trainee:
    """With adapters of a rank beside its matrices; None: as it is."""
    if rank is None:
        return trainee
    return replace(trainee, network=wrap(trainee.network, Adapters(rank, alpha=2.0 * rank, seed=seed)))


def _remote(asked: Asked, named: Named, trainee: Trainee, dry: bool) -> Remote:
    knobs: Served = build(named.knobs, Served, knobs_of(Served))
    if not knobs.model:
        raise BadInput(
            f"--teacher {asked.teacher}: which model? write {named.names[0]}:model=NAME, as the server calls it"
        )
    tokenizer = trainee.speller.tokenizer
    folder = Path(asked.cache) if asked.cache else asked.out / TRAINING / SAID
    return Remote(
        Server(
            named.names[0],
            os.environ.get(KEY),
            timeout=knobs.timeout,
            tries=knobs.tries,
            per_second=knobs.per_second,
        ),
        knobs.model,
        len(tokenizer),
        top=knobs.top,
        form=knobs.form,
        folder=None if dry else folder,
        spelt=vocabulary(tokenizer),
        at_once=knobs.at_once,
    )

"""From what `decant distill` was asked to what every runner needs: prompts, the teacher's answers, rows, provenance.

A row of the catalogue's RECIPES says which runner teaches it; a runner is a function `(Asked, Told) -> Outcome`.
"""

import hashlib
import json
import random
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar, final

from decant.apps.catalog import RECIPES, pick
from decant.apps.catalog.swaps import SWAPS
from decant.apps.choosing import warp_of
from decant.apps.compose import plain
from decant.apps.knobs import Spec, build, knobs_of, split, values_of
from decant.apps.prompts import encode, read
from decant.apps.sampling import Sampling
from decant.decoders.stopping import Stopping
from decant.distill.answers import FILE, Answer, Writing, write
from decant.distill.parallel import device as here
from decant.distill.rollouts.dataset import Dataset
from decant.distill.runs import RECIPE, TRAINING, earlier, same_digest
from decant.distill.texts import Text
from decant.distill.trainer import Batches
from decant.errors import BadInput
from decant.house import HOME
from decant.models.load import Loaded, load
from decant.models.machine import machine

MIXTURE: Final = "house:mixture"
TASKS: Final = "house:tasks"
HELD_OUT: Final = 16  # one answer in so many is for measuring
DRAWN: Final = 2000  # training questions, where nobody says how many
SEED_APART: Final = 1_000_003  # between what is learnt from and what is held out
LATER: Final = frozenset({"student", "micro", "cache", "lora", *SWAPS})
"""Options that a run may be older than: recorded where they are given."""
HERE: Final = frozenset({"out", "ray", "workers", "shard", "tensorboard", "resume", "device", "quiet"})
"""Options of which a run may go on with others."""
STUDENTS: Final = ("cache", "lora", "ray", "workers", "micro", "shard", *SWAPS)
"""Options of recipes that teach a whole student."""

Told = Callable[[int, int, str], None]
Item = TypeVar("Item")


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What the user typed; all of it but `out` and the last seven must be the same for a run to go on.

    teacher: empty, where a finished cache speaks for it. distance, weighting, curriculum, rollouts: parts in the place
    of the recipe's own, as name:knob=value. cache: a folder of laws. lora: rank of adapters. ray: "auto"
    or the address of a cluster, workers: how many teach there, and how many write. shard: the student is spread over
    processes. tensorboard: metrics are written as its events, too.
    """

    recipe: str
    teacher: str
    texts: str
    out: Path
    student: str | None = None
    steps: int = 1000
    minutes: float | None = None
    rate: float | None = None
    batch: int = 8
    length: int = 512
    limit: int | None = None
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    micro: int | None = None
    cache: str | None = None
    lora: int | None = None
    distance: str | None = None
    weighting: str | None = None
    curriculum: str | None = None
    rollouts: str | None = None
    ray: str | None = None
    workers: int = 2
    shard: bool = False
    tensorboard: bool = False
    resume: bool = False
    device: str = "auto"
    quiet: bool = False

    def command(self) -> str:
        """The command that asks for this."""
        words = ["decant", "distill", self.recipe, *(["--teacher", self.teacher] if self.teacher else [])]
        words += [*(["--data", self.texts] if self.texts else []), "--out", str(self.out)]
        for field in fields(self)[4:-3]:
            if (value := getattr(self, field.name)) != field.default:
                words += [_option(field.name), *([] if value is True else [str(value)])]
        return shlex.join(words)

    def origin(self) -> dict[str, Any]:
        """What recipe.json says of a run beside its results; `asked` must be the same for it to go on."""
        same = {name: str(value) for name, value in asdict(self).items() if name not in HERE}
        now = machine()
        return {
            "command": self.command(),
            "asked": {name: value for name, value in same.items() if name not in LATER or value != "None"},
            "data": self.texts,
            "digest": _digest(self.texts),
            "versions": {name: now[name] for name in ("decant", "torch", "transformers", "python")},
            "git": _git(),
        }

    def refuse(self, why: str, *names: str) -> None:
        """Raises BadInput where one of these was set."""
        for field in fields(self):
            if field.name in names and getattr(self, field.name) != field.default:
                raise BadInput(f"{_option(field.name)} is not for {split(self.recipe).name}: {why}; leave it out")


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """report: JSON-ready. facts: what a person wants to know of it, by name."""

    report: Mapping[str, Any]
    facts: Mapping[str, str]


Runner = Callable[[Asked, Told], Outcome]


def run(asked: Asked, told: Told) -> Outcome:
    """What the recipe's runner makes of it. Raises UnknownMethod, or BadInput."""
    if asked.resume and not (asked.out / RECIPE).exists():
        raise BadInput(f"--resume: {asked.out} holds no run to go on from; leave --resume out to begin one")
    runner = pick(RECIPES, split(asked.recipe).name, "recipe").runner()
    if planner_of(runner) is None:
        asked.refuse("it teaches no whole student", *STUDENTS)
        if not asked.teacher:
            raise BadInput(f"{split(asked.recipe).name} needs --teacher, a model")
    return runner(asked, told)


def sketch(asked: Asked, told: Told) -> Outcome:
    """What `run` would do, in which memory and time. Raises BadInput for a recipe whose runner cannot tell."""
    name = split(asked.recipe).name
    runner = pick(RECIPES, name, "recipe").runner()
    planner = planner_of(runner)
    if planner is None:
        raise BadInput(f"--plan tells of recipes that teach a whole student, and {name} does not; leave it out")
    return planner(asked, told)


def planner_of(runner: Runner) -> Runner | None:
    """Who tells beforehand what a runner would do: those that teach whole students."""
    return getattr(sys.modules[runner.__module__], "plan", None)


def recorded(file: Path, out: Path) -> Asked:
    """What a run was asked, for another folder. Raises BadInput where the file is no recipe.json of a run, and where
    its data is another by now."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        known = {name: text for name, text in said["asked"].items() if text != "None"}
        found = Asked(out=out, **values_of(Spec(str(file), known), knobs_of(Asked)))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(f"{file} says of no run what it was asked ({error}); give RUN/recipe.json") from error
    same_digest(str(file), said, _digest(found.texts), "begin a run of its own")
    return found


def recipe_of(spec: str) -> Any:
    """`name:knob=value`. Raises UnknownMethod, or BadInput for a knob."""
    wanted = split(spec)
    made = pick(RECIPES, wanted.name, "recipe").get()
    return build(wanted, made, knobs_of(made))


def rows_of(asked: Asked, told: Told) -> tuple[Batches, Batches, int]:
    """What is learnt from, what is measured on, and how many batches of that: of the house's own stream, or of the
    teacher's answers."""
    if asked.texts == MIXTURE:
        return _mixture(asked)
    learnt, held_out = parted(answers_of(asked, load(asked.teacher, device=asked.device, exact="off"), told))
    taught, measured = (
        Dataset([Text.answer(one.ids, one.start) for one in answers], asked.batch, asked.length, asked.seed)
        for answers in (learnt, held_out)
    )
    return taught.pieces, measured.pieces, -(-len(held_out) // asked.batch)


def answers_of(asked: Asked, target: Loaded, told: Told) -> list[Answer]:
    """The teacher's own answers to the prompts. Raises BadInput for fewer than two, and for another run's folder."""
    earlier(asked.out, asked.origin())  # before answers are added to it
    prompts = prompts_of(asked, target)
    method = plain(target, warp_of(Sampling(temperature=asked.temperature)))
    device = target.model.network.device
    writing = Writing(Stopping(asked.max_tokens, target.ends), asked.batch, asked.seed, device)
    file = asked.out / TRAINING / FILE
    return write(method.decoder, prompts, file, writing, lambda done, total: told(done, total, "answers"))


def prompts_of(asked: Asked, target: Loaded) -> list[list[int]]:
    """What is asked, as ids. Raises BadInput for fewer than two."""
    prompts = _questions(asked, target) if asked.texts == TASKS else _prompts(asked, target)
    if len(prompts) < 2:
        raise BadInput(f"{asked.texts} holds one prompt; give at least two: one to learn from, one to measure on")
    return prompts


def parted(answers: list[Item]) -> tuple[list[Item], list[Item]]:
    """Those that are learnt from, and those that are measured on."""
    return [answer for at, answer in enumerate(answers) if at % HELD_OUT], answers[::HELD_OUT]


def place(device: str) -> str:
    """Where a network is trained: "auto" is the accelerator of this process's number, where there is one."""
    return str(here()) if device == "auto" else device


def _mixture(asked: Asked) -> tuple[Batches, Batches, int]:
    """The house's own stream, never the same text twice: another seed than the models had."""
    from tokenizers import Tokenizer

    from decant.house import corpus
    from decant.house.mixture import Mixture, Phase, encode_code

    words = Tokenizer.from_file(str(HOME / "target" / "tokenizer.json"))
    code = encode_code(words, [document.text for document in corpus.documents(held_out=False)])
    functions, phases = corpus.functions(held_out=False), [Phase(1, asked.batch, asked.length)]
    learnt, held_out = (
        Mixture(words, code, functions, phases, seed) for seed in (_stream(asked.seed), _stream(asked.seed) + 1)
    )
    return learnt.batch, held_out.batch, max(1, 64 // asked.batch)


def _stream(seed: int) -> int:
    return SEED_APART + 2 * seed


def _prompts(asked: Asked, target: Loaded) -> list[list[int]]:
    return encode(read(asked.texts, asked.limit), target, asked.max_tokens)


def _questions(asked: Asked, target: Loaded) -> list[list[int]]:
    """Fresh questions of the training side: the shipped prompts are for measuring."""
    from decant.house import corpus
    from decant.house.tasks import draw_any

    rng, functions = random.Random(f"distill {asked.seed}"), corpus.functions(held_out=False)
    drawn = (draw_any(rng, functions) for _ in range(asked.limit or DRAWN))
    return [target.encode_chat([{"role": "user", "content": one.prompt}]) for one in drawn]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _digest(texts: str) -> str | None:
    """Of a file's bytes; None: it is none, or not there."""
    try:
        with Path(texts).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return None


def _git() -> str | None:
    """The commit of the source, where it is a checkout."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return found.stdout.strip() or None

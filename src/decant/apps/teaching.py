"""From what `decant distill` was asked to a course: prompts, the teacher's answers, rows, settings."""

import random
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, final

from decant.apps.catalog import RECIPES, pick
from decant.apps.compose import plain, warp_of
from decant.apps.knobs import build, knobs_of, split
from decant.apps.prompts import encode, read
from decant.apps.sampling import Sampling
from decant.decoders.stopping import Stopping
from decant.distill.answers import FILE, Answer, Writing, write
from decant.distill.heads.lesson import HeadRecipe
from decant.distill.heads.teach import TRAINING, Course, teach
from decant.distill.rows import Rows
from decant.distill.trainer import Batches, Settings
from decant.errors import BadInput
from decant.house import HOME
from decant.models.load import load
from decant.models.machine import machine
from decant.models.teacher import Teacher

MIXTURE: Final = "house:mixture"
TASKS: Final = "house:tasks"
HELD_OUT: Final = 16  # one answer in so many is for measuring
DRAWN: Final = 2000  # training questions, where nobody says how many
SEED_APART: Final = 1_000_003  # between what is learnt from and what is held out

Told = Callable[[int, int, str], None]


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What the user typed; all of it but `device`, `quiet` and `out` must be the same for a run to go on."""

    recipe: str
    teacher: str
    texts: str
    out: Path
    steps: int = 1000
    minutes: float | None = None
    rate: float | None = None
    batch: int = 8
    length: int = 512
    limit: int | None = None
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    device: str = "auto"
    quiet: bool = False

    def command(self) -> str:
        """The command that asks for this."""
        words = ["decant", "distill", self.recipe, "--teacher", self.teacher, "--data", self.texts]
        words += ["--out", str(self.out)]
        for field in fields(self)[4:-2]:
            if (value := getattr(self, field.name)) != field.default:
                words += [f"--{field.name.replace('_', '-')}", str(value)]
        return shlex.join(words)


def recipe_of(spec: str) -> HeadRecipe:
    """`name:knob=value`. Raises UnknownMethod, or BadInput for a knob."""
    wanted = split(spec)
    made = pick(RECIPES, wanted.name, "recipe").get()
    return build(wanted, made, knobs_of(made))


def run(asked: Asked, told: Told) -> dict[str, Any]:
    """Answers first, where there are prompts; then the head; the report. Raises BadInput."""
    recipe = recipe_of(asked.recipe)
    batches, held_out, measured = _mixture(asked) if asked.texts == MIXTURE else _answered(asked, told)
    teacher = Teacher.open(asked.teacher, _place(asked.device))
    spec = recipe.spec(teacher)
    settings = Settings(
        steps=asked.steps,
        peak=asked.rate or recipe.rate(spec),
        warmup=100,
        decay=0.5,
        weight_decay=0.01,
        quiet=asked.quiet,
    )
    same = {name: str(value) for name, value in asdict(asked).items() if name not in {"device", "quiet", "out"}}
    here = machine()
    origin = {
        "command": asked.command(),
        "asked": same,
        "data": asked.texts,
        "versions": {name: here[name] for name in ("decant", "torch", "transformers", "python")},
        "git": _git(),
    }
    course = Course(batches, held_out, settings, measured, asked.seed, asked.minutes, origin)
    return teach(recipe, teacher, course, asked.out)


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


def _answered(asked: Asked, told: Told) -> tuple[Batches, Batches, int]:
    """Rows of the teacher's own answers to the prompts."""
    target = load(asked.teacher, device=asked.device, exact="off")
    if asked.texts == TASKS:
        prompts = _questions(asked, target)
    else:
        prompts = encode(read(asked.texts, asked.limit), target, asked.max_tokens)
    method = plain(target, warp_of(Sampling(temperature=asked.temperature)))
    writing = Writing(Stopping(asked.max_tokens, target.ends), asked.batch, asked.seed)
    file = asked.out / TRAINING / FILE
    answers = write(method.decoder, prompts, file, writing, lambda done, total: told(done, total, "answers"))
    if len(answers) < 2:
        raise BadInput(f"{asked.texts} holds one prompt; give at least two: one to learn from, one to measure on")
    held_out = [*answers[::HELD_OUT]]
    learnt: list[Answer] = [answer for at, answer in enumerate(answers) if at % HELD_OUT]
    rows = Rows(held_out, asked.batch, asked.length)
    return Rows(learnt, asked.batch, asked.length, asked.seed), rows, -(-len(held_out) // asked.batch)


def _questions(asked: Asked, target: Any) -> list[list[int]]:
    """Fresh questions of the training side: the shipped prompts are for measuring."""
    from decant.house import corpus
    from decant.house.tasks import draw_any

    rng, functions = random.Random(f"distill {asked.seed}"), corpus.functions(held_out=False)
    drawn = (draw_any(rng, functions) for _ in range(asked.limit or DRAWN))
    return [target.encode_chat([{"role": "user", "content": one.prompt}]) for one in drawn]


def _place(device: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _git() -> str | None:
    """The commit of the source, where it is a checkout."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return found.stdout.strip() or None

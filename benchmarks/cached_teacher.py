"""What does a teacher that was asked beforehand cost, and what is lost by it?

    python benchmarks/cached_teacher.py [--budget 100] [--lessons 300] [--widen 0.4B] [--threads 2] [--quick]

house:target says its laws on house:tasks once, into a folder of so many bytes a token; then house:draft learns by
forward KL twice from the same start, in the same order of the same texts, by as many steps: from the folder, and from
the teacher in memory. What they end with is compared on held-out texts, beside the teacher's whole laws: KL, and the
nats of the texts' own tokens. Then steps are timed in blocks that take turns: from the folder, from the teacher, and
from the teacher widened to the size of a real one (it says the same and costs what that size costs; the folder is no
dearer for it). A step is timed from the end of the one before; the first of a block is thrown away.

Left out: the seconds that writing the folder takes (one reading of every text), memory, recipes in which the student
writes (they cannot be cached), larger vocabularies, of whose laws a folder keeps a smaller share.
"""

import argparse
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

from school.clock import seconds_a_step, stepping

from decant.apps.texts import encoded, read
from decant.bench.study import begin, heading, options, save
from decant.bench.timing import alternate, ratios, spread
from decant.distill.caching import Author, Storing, fingerprint, plan, tokenizer_hash, write
from decant.distill.composition import Asked, Composition, learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.measure import measured
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.dataset import Dataset
from decant.distill.settings import Settings
from decant.distill.speaking import Speaking
from decant.distill.teachers.cached import Cached
from decant.distill.teachers.live import Live
from decant.distill.texts import Text
from decant.distill.trainer import Share, run
from decant.models.teacher import Teacher
from decant.models.trainee import Trainee
from decant.models.widen import widen

ROWS = 8
HELD_OUT = 16  # one text in so many


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--budget", type=float, default=100.0, help="bytes a token")
    parser.add_argument("--lessons", type=int, default=300, help="steps of the two trainings that are compared")
    parser.add_argument("--steps", type=int, default=4, help="of a timed block, behind its first")
    parser.add_argument("--widen", default="0.4B", help="size of the real teacher; 'none' leaves it out")
    parser.add_argument("--limit", type=int, default=2000, help="questions")
    parser.add_argument("--rate", type=float, default=1e-3)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.lessons, chosen.steps, chosen.limit, chosen.widen = 2, 1, 40, "none"
    return chosen


def composed(trainee: Trainee, teacher: Any, texts: list[Text], steps: int) -> Composition:
    """A student of its own, taught by forward KL."""
    student, asked = deepcopy(trainee.network), [Asked(Pointwise(ForwardKL()))]
    made = learner(student, asked)
    speaker = Speaking(student, trainee.ends)  # nobody writes here
    return Composition(made, speaker, Dataset(texts, ROWS), tuple(asked), teacher, steps=steps, micro=ROWS)


def kept(teacher: Teacher, trainee: Trainee, texts: list[Text], budget: float, folder: Path) -> tuple[Cached, dict]:
    """The folder, and what is in it."""
    spelt = tokenizer_hash(trainee.speller.tokenizer.get_vocab())
    storing = Storing(budget=budget, length=512)
    author = Author(Live(teacher), teacher.name, fingerprint(teacher.network), spelt)
    promised = plan(author.teacher, texts, storing)
    facts = write(author, texts, folder, storing)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    row = {"tokens": facts.rows, "k": facts.k, "bytes_a_token": round(size / facts.rows, 2)}
    row |= {"promised_bytes_a_token": round(promised.bytes_per_token, 2), "nats_lost": promised.nats}
    return Cached(folder, spelt), row | {"rest": promised.rest}


def learnt(
    trainee: Trainee, sources: dict[str, Any], texts: list[Text], chosen: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """What students of each source end with, held against the teacher in memory."""
    looked, found = Dataset(texts[::HELD_OUT], ROWS), {}
    taught = [text for at, text in enumerate(texts) if at % HELD_OUT]
    batches = [looked.batch(None, at, Share())[0] for at in range(-(-len(texts[::HELD_OUT]) // ROWS))]
    warmup = min(100, chosen.lessons // 10)
    settings = Settings(chosen.lessons, chosen.rate, warmup=warmup, decay=0.5, weight_decay=0.01, quiet=True)
    for name, source in sources.items():
        one = composed(trainee, source, taught, chosen.lessons)
        with tempfile.TemporaryDirectory() as scratch:
            run(one.learner, one, settings, Path(scratch))
        apart = measured(one.learner.student, sources["live"], batches)
        found[name] = {"kl": apart.kl, "nats": apart.nats, "agreement": apart.agreement}
        print(f"{name:<8}{apart.kl:.5f} nats from the teacher, {apart.nats:.5f} to the texts", flush=True)
    found["relative"] = {one: found["cached"][one] / found["live"][one] - 1 for one in ("kl", "nats")}
    return found


def timed(trainee: Trainee, sources: dict[str, Any], texts: list[Text], chosen: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a step of each source, and how many times as long as from the folder."""
    settings = stepping(chosen.steps)

    def lap(source: Any) -> float:
        return seconds_a_step(composed(trainee, source, texts, settings.steps), settings)[0]

    laps = {name: lambda source=source: lap(source) for name, source in sources.items()}  # type: ignore[misc]
    seconds = alternate(laps, chosen.repeat)
    return {
        name: {"seconds_a_step": spread(found), "to_cached": ratios(found, seconds["cached"])}
        for name, found in seconds.items()
    }


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    trainee, teacher = Trainee.open("house:draft"), Teacher.open("house:target")
    texts = encoded(read("house:tasks", chosen.limit), trainee.speller, trainee.ends).texts
    with tempfile.TemporaryDirectory() as scratch:
        cached, row = kept(teacher, trainee, texts, chosen.budget, Path(scratch) / "laws")
        print(f"{row['bytes_a_token']} bytes a token, the best {row['k']} ids of {row['tokens']:,} tokens", flush=True)
        sources = {"cached": cached, "live": Live(teacher)}
        report = {"machine": facts, "cache": row, "learnt": learnt(trainee, sources, texts, chosen)}
        print(f"cached to live, held out: KL {report['learnt']['relative']['kl']:+.2%}", flush=True)
        if chosen.widen != "none":
            wide = widen(teacher.network, chosen.widen).eval().requires_grad_(False)
            sources[f"live, {chosen.widen}"] = Live(Teacher(chosen.widen, wide))
        report["timed"] = timed(trainee, sources, texts, chosen)
    for name, one in report["timed"].items():
        print(f"{name:<12}{one['seconds_a_step']['median']:.3f} s a step, {one['to_cached']['median']:.2f} of cached")
    print(f"results: {save(report, __file__, chosen)}")

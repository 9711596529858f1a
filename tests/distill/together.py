"""A small composition in as many processes as there are: `together.py FOLDER STEPS SHARD MUON [deaf]`.

Started by a launcher. `deaf` is a planted bug: weights and nats are not summed over processes.
"""

import random
import sys
from dataclasses import replace
from pathlib import Path

import torch

from decant.distill.composition import Asked, Composition, Learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.parallel import Team
from decant.distill.rollouts.dataset import Dataset
from decant.distill.teachers.live import Live
from decant.distill.texts import Text
from decant.distill.trainer import Settings, run
from decant.models import build
from decant.models.build import LlamaSpec, untrained
from decant.models.teacher import Teacher

VOCAB = 24
LENGTH = 12  # texts longer than that end before anything counts: such a row has no weight


def texts() -> list[Text]:
    rng, made = random.Random(0), []
    for number in range(20):
        length = rng.randint(5, LENGTH)
        text = Text.answer([rng.randrange(VOCAB) for _ in range(length)], rng.randint(1, 4), number)
        made.append(replace(text, weights=[weight * rng.choice([0.5, 1.0, 3.0]) for weight in text.weights]))
    return made


class Uneven:
    """Five rows a step; in every third step only the first counts, so that a process of two has no weight."""

    def __init__(self) -> None:
        self.rows = Dataset(texts(), rows=5, length=LENGTH)

    def start(self) -> None:
        return None

    def batch(self, state, step, share, student=None):
        batch, _ = self.rows.batch(None, step, share)
        if step % 3 == 2:
            first = [row for row, place in enumerate(share.mine(5)) if place == 0]
            weights_BT = torch.zeros_like(batch.weights_BT)
            weights_BT[first] = batch.weights_BT[first]
            batch = replace(batch, weights_BT=weights_BT)
        return batch, state

    def observe(self, state, step, steps, nats):
        return state


def made() -> Composition:
    student, mentor = (untrained(LlamaSpec(VOCAB, 16, 2, 2, 1, 24, head_dim=8), seed=seed) for seed in (2, 1))
    for weight in [*student.parameters(), *mentor.parameters()]:
        weight.data.mul_(4.0)
    asked = (Asked(Pointwise(ForwardKL()), 0.5), Asked(CrossEntropy(), 0.5))
    teacher = Live(Teacher("toy", mentor.eval().requires_grad_(False)))
    return Composition(Learner(student, [None, None]), None, Uneven(), asked, teacher, micro=1)


def main(folder: Path, steps: int, shard: bool, muon: bool) -> None:
    torch.set_num_threads(1)
    build.fast_bfloat16 = lambda: False
    composition = made()
    settings = Settings(
        12, peak=0.01, muon=0.01 if muon else None, warmup=3, save_every=3, report_every=1, quiet=True, shard=shard
    )

    def saved(step: int) -> None:
        with (folder / "saved").open("a") as file:
            file.write(f"{step}\n")
        if step == steps < 12:
            raise KeyboardInterrupt

    run(composition.learner, composition, settings, folder, saved)


if __name__ == "__main__":
    if sys.argv[5:] == ["deaf"]:
        Team.total = lambda self, values_X: values_X.clamp_min(1.0)
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "shard", sys.argv[4] == "muon")

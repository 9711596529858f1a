"""How long is a step of on-policy GKD here, beside TRL's?

    python benchmarks/gkd_step.py [--batch 8] [--prompt 48] [--answer 128] [--steps 4] [--threads 2] [--quick]

`make peers` installs TRL; without it our side is told alone. Both trainers teach house:draft from house:target in
their own loops, from the same prompts' ids: the student answers every prompt of a batch (sampled at 0.9), the teacher
reads the answers, the loss is the generalised Jensen-Shannon divergence (beta 0.5), AdamW makes a step. A step is timed
from the end of the one before it, optimiser and clipping included. No side knows an end token, so that every answer has
the same length; how many tokens each learnt from is counted, and must agree. Weights are float32; both multiply
bfloat16 where this machine does that in hardware. Blocks of steps take turns, each with models and a trainer of its
own; a block counts as the median of its steps, the first of which is thrown away; ratios are of neighbouring blocks.

TRL's settings that are not its defaults: gradient_checkpointing off (it would write answers without a cache), lmbda 1,
use_cpu, bf16 only where the hardware has it, no reports, no checkpoints, no progress bar.
Left out: memory, accelerators (where TRL would write by vLLM), TRL's newer DistillationTrainer, which fixes one
temperature for answers and loss, and what is learnt.
"""

import argparse
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from school.clock import seconds_a_step, stepping
from school.trl_gkd import Block, theirs

from decant.apps.texts import read
from decant.bench.study import begin, heading, options, save
from decant.bench.timing import alternate, ratios, spread
from decant.distill.texts import Text
from decant.models.teacher import Teacher
from decant.models.trainee import Trainee
from decant.recipes.gkd import GKD
from decant.recipes.kit import Kit

STUDENT, TEACHER = "house:draft", "house:target"
RATE = 1e-6  # both begin at it: no warm-up


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=48, help="tokens of each prompt")
    parser.add_argument("--answer", type=int, default=128, help="tokens of each answer")
    parser.add_argument("--steps", type=int, default=4, help="of a block, behind its first")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.batch, chosen.prompt, chosen.answer, chosen.steps = 2, 8, 4, 1
    return chosen


def prompts(chosen: argparse.Namespace) -> list[list[int]]:
    """Questions, one behind the other, cut to the same length."""
    speller, found, ids = Trainee.open(STUDENT).speller, [], []
    for row in read("house:tasks", 50 * chosen.batch):
        ids += speller.encode_chat((row.messages or [])[:1])
        if len(ids) >= chosen.prompt and len(found) < chosen.batch * (chosen.steps + 1):
            found.append(ids[: chosen.prompt])
            ids = []
    return found


def ours(chosen: argparse.Namespace, asked: list[list[int]], tokens: list[int]) -> float:
    """Seconds of a step; leaves the tokens of every step."""
    trainee, teacher = Trainee.open(STUDENT), Teacher.open(TEACHER)
    settings = stepping(chosen.steps, RATE)
    with tempfile.TemporaryDirectory() as folder:
        kit = Kit(
            student=trainee.network,
            teacher=teacher,
            texts=[Text.answer([*ids, ids[-1]], len(ids), number) for number, ids in enumerate(asked)],
            prompts=asked,
            domains=[""],
            spellers=(trainee.speller, trainee.speller),
            ends=frozenset(),
            settings=settings,
            folder=Path(folder),
            rows=chosen.batch,
            micro=chosen.batch,
            length=chosen.prompt + chosen.answer,
            answers=chosen.answer,
        )
        seconds, tokens[:] = seconds_a_step(GKD(lmbda=1.0).compose(kit), settings)
    return seconds


def beside(chosen: argparse.Namespace, asked: list[list[int]], tokens: list[int]) -> float:
    """The same of TRL."""
    block = Block(chosen.batch, chosen.answer, chosen.steps, RATE)
    return theirs(block, TEACHER, STUDENT, asked, tokens)


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    asked, sides = prompts(chosen), {"decant": ours}
    if find_spec("trl"):
        sides["trl"] = beside
        facts["trl"] = version("trl")
    tokens = {name: [] for name in sides}
    laps = {name: lambda name=name: sides[name](chosen, asked, tokens[name]) for name in sides}  # type: ignore[misc]
    seconds = alternate(laps, chosen.repeat)
    report = {name: {"seconds_a_step": spread(found), "tokens": tokens[name]} for name, found in seconds.items()}
    for name, row in report.items():
        print(f"{name:<8}{row['seconds_a_step']['median']:.3f} s a step, learnt from {row['tokens']} tokens")
    settings = {name: getattr(chosen, name) for name in ("batch", "prompt", "answer", "steps")}
    if "trl" in seconds:
        same = tokens["trl"] == tokens["decant"]
        report["trl_to_decant"] = ratios(seconds["trl"], seconds["decant"])
        said = "the same tokens" if same else "OTHER TOKENS"
        print(f"TRL {facts['trl']} takes {report['trl_to_decant']['median']:.2f} times as long, {said}")
    print(f"results: {save({'machine': facts, 'settings': settings, **report}, __file__, chosen)}")

"""Rebuild the house from nothing: tokenizer, draft, target, prompts, evaluation, model cards.

    python -m decant.house.build [--out FOLDER] [--minutes N] [--only PART] [--threads N]

Made for 90 minutes on 2 cores that multiply bfloat16; `--minutes` scales the number of training tokens. The target is
the trained draft, grown to ten times its size and trained on; the draft then learns from it. Checkpoints live under
$DECANT_HOME/house (default ~/.cache/decant/house) and every stage resumes from there.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tokenizers import Tokenizer

from decant.distill.composition import Asked, Composition, learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.stream import Stream
from decant.distill.seams import Objective
from decant.distill.settings import Settings
from decant.distill.speaking import Speaking
from decant.distill.teachers.live import Live
from decant.distill.trainer import run
from decant.house import HOME, card, corpus, evaluate, questions, tasks, tokenizer
from decant.house.mixture import CODE_ROWS, Mixture, Phase, encode_code
from decant.models import build as models
from decant.models.induction import plant
from decant.models.teacher import Teacher
from decant.models.widen import Shape, grow

TOKENS: Final = {"draft": 6_000_000, "target": 7_000_000, "refine": 2_000_000}  # read in training, at 90 minutes
ROW_TOKENS: Final = {"draft": 4096, "target": 2048, "refine": 4096}  # in one step, at the least one row
PEAKS: Final = {"draft": 4e-3, "target": 1e-3, "refine": 1.5e-3}
MUON: Final = {"draft": None, "target": 2e-3, "refine": None}  # it wakes the grown model's new dimensions
DECAYS: Final = {"draft": 0.3, "target": 0.6, "refine": 0.3}  # the last share of the steps
SEEDS: Final = {"draft": 0, "target": 1, "refine": 2}  # of the mixture: nobody reads the same text twice
TARGET: Final = Shape(hidden=256, intermediate=688, layers=6, heads=8, kv_heads=4)
EACH: Final = 60  # held-out instances of a task
AFTER: Final = {
    "target": ", grown out of house:draft as it was before its last part",
    "draft": ", the last part by forward KL to house:target",
}
LENGTHS: Final = {  # share of the tokens at each length; what has learnt long texts forgets them over short ones
    "draft": ((256, 0.45), (512, 0.27), (1024, 0.24), (2048, 0.04)),
    "target": ((512, 0.7), (1024, 0.25), (2048, 0.05)),
    "refine": ((512, 0.7), (1024, 0.25), (2048, 0.05)),
}
EXPORT_SECONDS: Final = 600
TOKENIZER_INSTANCES: Final = 4000


def untrained_draft(words: Tokenizer) -> models.Llama:
    """Two narrow layers that copy from the first step on."""
    *ends, pad = tokenizer.ids(words, tokenizer.END, tokenizer.END_OF_TEXT, tokenizer.PAD)
    model = models.untrained(models.LlamaSpec(tokenizer.VOCAB, 96, 2, 3, 3, 192, eos=tuple(ends), pad=pad), seed=0)
    plant(model, seed=0)
    return model


def settings(name: str, minutes: float) -> Settings:
    """Rates found by short trials."""
    steps = sum(phase.steps for phase in phases(name, minutes))
    warmup = min(100, steps // 10)
    return Settings(steps, PEAKS[name], MUON[name], warmup, DECAYS[name], betas=(0.9, 0.98), weight_decay=0.05)


def phases(name: str, minutes: float) -> list[Phase]:
    """Tokens in proportion to the minutes; short sequences first, long ones during the decay."""
    found = []
    for length, share in LENGTHS[name]:
        rows = max(ROW_TOKENS[name] // length, 1)
        found.append(Phase(max(round(TOKENS[name] * minutes / 90 * share / (rows * length)), 1), rows, length))
    return found


def workshop(minutes: float) -> Path:
    """Where checkpoints live; builds of different lengths do not share any."""
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant"))
    return home / "house" / f"{minutes:g}-minutes"


def prepare(shop: Path) -> tuple[Tokenizer, np.ndarray]:
    """Train the tokenizer and encode the training code, or read both back."""
    words_file, code_file = shop / "tokenizer.json", shop / "code.npy"
    if words_file.exists() and code_file.exists():
        return Tokenizer.from_file(str(words_file)), np.load(code_file)
    shop.mkdir(parents=True, exist_ok=True)
    texts = [document.text for document in corpus.documents(held_out=False)]
    rng = random.Random(0)
    drawn = (tasks.draw_any(rng, corpus.functions(held_out=False)) for _ in range(TOKENIZER_INSTANCES))
    words = tokenizer.train([*texts, *(tokenizer.chat(one.prompt) + one.answer for one in drawn)])
    code = encode_code(words, texts)
    words.save(str(words_file))
    np.save(code_file.with_suffix(".part.npy"), code)
    os.replace(code_file.with_suffix(".part.npy"), code_file)
    return words, code


def export(model: models.Llama, words: Tokenizer, folder: Path) -> None:
    """A model folder in Hugging Face format."""
    models.save_folder(model, folder)
    tokenizer.write_folder(words, folder)


def exporting(model: models.Llama, words: Tokenizer, folder: Path) -> Callable[[int], None]:
    """After a checkpoint, refresh the exported folder if the last one is older than `EXPORT_SECONDS`."""
    last = time.monotonic()

    def saved(step: int) -> None:
        nonlocal last
        if time.monotonic() - last > EXPORT_SECONDS:
            last = time.monotonic()
            export(model, words, folder)
            sys.stderr.write(f"exported step {step} to {folder}\n")

    return saved


def train_draft(minutes: float, shop: Path) -> models.Llama:
    """Train house:draft on the mixture, or finish what a checkpoint began."""
    model = untrained_draft(prepare(shop)[0])
    fit("draft", model, minutes, shop)
    return model


def train_target(draft: models.Llama, minutes: float, shop: Path) -> models.Llama:
    """Grow the trained draft and train on: a step of the draft costs a sixth, and what it learnt is not lost."""
    model = grow(draft, TARGET)
    assert isinstance(model, models.Llama)
    fit("target", model, minutes, shop)
    return model


def fit(name: str, model: models.Llama, minutes: float, shop: Path, code_rows: float = CODE_ROWS) -> None:
    """Train a model on the mixture's own tokens, from its last checkpoint. code_rows: as `Mixture` takes it."""
    words, _ = prepare(shop)
    folder = shop / "export" / name
    read = mixture(name, minutes, shop, code_rows)
    lesson(name, model, CrossEntropy(), None, read, minutes, shop, exporting(model, words, folder))
    export(model, words, folder)


def refine(draft: models.Llama, target: models.Llama, minutes: float, shop: Path) -> None:
    """Move the trained draft towards the target's distribution: forward KL where the mixture has weight."""
    teacher, read = Live(Teacher("house:target", target)), mixture("refine", minutes, shop)
    lesson("refine", draft, Pointwise(ForwardKL()), teacher, read, minutes, shop)


def mixture(name: str, minutes: float, shop: Path, code_rows: float = CODE_ROWS) -> Mixture:
    """What a stage reads."""
    words, code = prepare(shop)
    functions = corpus.functions(held_out=False)
    return Mixture(words, code, functions, phases(name, minutes), SEEDS[name], code_rows)


def lesson(
    name: str,
    student: models.Llama,
    objective: Objective,
    teacher: Live | None,
    read: Mixture,
    minutes: float,
    shop: Path,
    saved: Callable[[int], None] = lambda step: None,
) -> None:
    """One stage of training, out of the parts that users train with; it goes on from its last checkpoint."""
    knobs, asked = settings(name, minutes), (Asked(objective),)
    made, rows = learner(student, asked), max(phase.rows for phase in read.phases)
    speaker = Speaking(student, frozenset())  # nobody writes here
    parts = Composition(made, speaker, Stream(read.batch), asked, teacher, steps=knobs.steps, micro=rows)
    run(made, parts, knobs, shop / name, saved)


def finish(name: str, model: models.Llama, out: Path, shop: Path, tokens: int) -> card.Measured:
    """Write a model folder with its card, after measuring what the written weights can do."""
    words, code = prepare(shop)
    folder = out / name
    export(model, words, folder)
    written = models.load_folder(folder).eval()
    matches = evaluate.exact_match(written, words, EACH)
    measured = card.Measured(tokens, matches, EACH, evaluate.code_loss(written, words, code), AFTER[name])
    card.write(folder, name, measured)
    if name == "target":
        models.add_settings(folder, "decant.json", {"draft": "house:draft"})
    return measured


def build(minutes: float, out: Path, shop: Path) -> dict[str, card.Measured]:
    """All of it; every stage continues where an interrupted build stopped."""
    words, _ = prepare(shop)
    questions.write(out / "prompts", words)
    draft = train_draft(minutes, shop)
    target = train_target(draft, minutes, shop)
    refine(draft, target, minutes, shop)
    read = {name: sum(part.steps * part.rows * part.length for part in phases(name, minutes)) for name in TOKENS}
    return {
        "target": finish("target", target, out, shop, read["draft"] + read["target"]),
        "draft": finish("draft", draft, out, shop, read["draft"] + read["refine"]),
    }


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m decant.house.build", description="Rebuild the house models.")
    parser.add_argument("--out", type=Path, default=HOME, help="where the house is written")
    parser.add_argument("--minutes", type=float, default=90, help="scales the training tokens")
    parser.add_argument("--only", choices=("draft", "target"), help="stop when this one is trained")
    parser.add_argument("--threads", type=int, default=min(os.cpu_count() or 1, 4))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    shop = workshop(asked.minutes)
    try:
        if asked.only:
            draft = train_draft(asked.minutes, shop)
            if asked.only == "target":
                train_target(draft, asked.minutes, shop)
            return 0
        for name, measured in build(asked.minutes, asked.out, shop).items():
            shares = "  ".join(f"{task} {share:.3f}" for task, share in measured.matches.items())
            sys.stdout.write(f"house:{name}  {shares}  code {measured.code.nats_per_token:.3f} nats a token\n")
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; the same command continues from the checkpoints in {shop}\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

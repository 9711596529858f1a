"""Make house:diffusion out of house:target: open its attention, and teach it to fill in masks.

    python -m decant.house.diffusion [--out FOLDER] [--minutes N] [--threads N]

`--minutes` of one thread scale the number of steps. Checkpoints live under $DECANT_HOME/house-diffusion (default
~/.cache/decant/house-diffusion), from where an interrupted run goes on.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import torch
from tokenizers import Tokenizer

from decant.distill.diffusion.lesson import Filling
from decant.distill.diffusion.masking import Blocks, Either, Masking, Rest, Uniform
from decant.distill.settings import Settings
from decant.distill.trainer import run
from decant.house import HOME, corpus
from decant.house.answers import Answers
from decant.house.mixture import encode_code
from decant.models import build as models
from decant.models.load import speller
from decant.models.masked.naming import write_words
from decant.models.masked.training import adapt


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of the training. steps: of `MINUTES`; peak: of AdamW; decay: the last share of the steps."""

    name: str
    steps: int
    peak: float
    decay: float
    masking: Masking


MINUTES: Final = 240
SHIFT: Final = True  # row i goes on saying token i + 1, as the target does: docs/journal.md
STAGES: Final = (  # gently: at a high rate, or by Muon, it unlearns the sums that the target knows
    Stage("open", 1800, 4e-4, 0.6, Either(Uniform(0.05), Either(Blocks(), Rest()), share=0.75)),
    Stage("settle", 4200, 2e-4, 0.9, Either(Uniform(0.2), Either(Blocks(least=0.2), Rest()), share=0.75)),
)


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m decant.house.diffusion", description="Make house:diffusion.")
    parser.add_argument("--out", type=Path, default=HOME, help="where the house is written")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="scales the steps")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant"))
    shop = home / "house-diffusion" / f"{asked.minutes:g}-minutes"
    words = Tokenizer.from_file(str(HOME / "target" / "tokenizer.json"))
    code = encode_code(words, [document.text for document in corpus.documents(held_out=False)])
    network = models.load_folder(HOME / "target")
    convention = adapt(network, SHIFT)
    try:
        for seed, stage in enumerate(STAGES):
            texts = Answers(words, code, corpus.functions(held_out=False), seed=seed)
            steps = max(1, round(stage.steps * asked.minutes / MINUTES))
            settings = Settings(
                steps, stage.peak, warmup=min(50, steps // 10), decay=stage.decay, betas=(0.9, 0.98), weight_decay=0.05
            )
            run(
                network,
                Filling(network, convention, texts.batch, stage.masking, seed=seed),
                settings,
                shop / stage.name,
            )
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; the same command goes on from {shop}\n")
        return 130
    folder = asked.out / "diffusion"
    models.save_folder(network, folder)
    write_words(speller("house:target").tokenizer, convention, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

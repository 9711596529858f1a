"""Make house:diffusion out of house:target: open its attention, and teach it to fill in masks.

    python -m decant.house.diffusion [--out FOLDER] [--minutes N] [--threads N]

`--minutes` scales the number of steps. Checkpoints live under $DECANT_HOME/house-diffusion (default
~/.cache/decant/house-diffusion), from where an interrupted run goes on.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer

from decant.distill.diffusion.lesson import Filling
from decant.distill.diffusion.masking import Blocks, Either, Rest, Uniform
from decant.distill.settings import Settings
from decant.distill.trainer import run
from decant.house import HOME, corpus
from decant.house.answers import Answers
from decant.house.mixture import encode_code
from decant.models import build as models
from decant.models.load import speller
from decant.models.masked.naming import write_words
from decant.models.masked.training import adapt

STEPS: Final = 1800  # at 90 minutes
PEAK: Final = 4e-4
SHIFT: Final = True  # row i goes on saying token i + 1, as the target does: docs/journal.md


def settings(steps: int) -> Settings:
    """AdamW alone, at less than half of the target's own rate: Muon undid what the target knew (docs/journal.md)."""
    return Settings(steps, PEAK, None, min(50, steps // 10), 0.6, betas=(0.9, 0.98), weight_decay=0.05)


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m decant.house.diffusion", description="Make house:diffusion.")
    parser.add_argument("--out", type=Path, default=HOME, help="where the house is written")
    parser.add_argument("--minutes", type=float, default=90, help="scales the steps")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant"))
    shop = home / "house-diffusion" / f"{asked.minutes:g}-minutes"
    words = Tokenizer.from_file(str(HOME / "target" / "tokenizer.json"))
    code = encode_code(words, [document.text for document in corpus.documents(held_out=False)])
    network = models.load_folder(HOME / "target")
    convention = adapt(network, SHIFT)
    texts = Answers(words, code, corpus.functions(held_out=False))
    training = Filling(
        network, convention, texts.batch, Either(Uniform(least=0.05), Either(Blocks(), Rest()), share=0.75)
    )
    try:
        run(network, training, settings(max(1, round(STEPS * asked.minutes / 90))), shop)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; the same command goes on from {shop}\n")
        return 130
    folder = asked.out / "diffusion"
    models.save_folder(network, folder)
    write_words(speller("house:target").tokenizer, convention, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

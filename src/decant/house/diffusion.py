"""Make house:diffusion out of house:target: open its attention, and teach it to fill in masks.

    python -m decant.house.diffusion [--out FOLDER] [--minutes N] [--threads N]

`--minutes` of one thread scale the number of steps. Checkpoints live under $DECANT_HOME/house-diffusion (default
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
from decant.distill.diffusion.masking import EachBlock
from decant.distill.parallel import join
from decant.distill.settings import Settings
from decant.distill.trainer import run
from decant.house import HOME, corpus
from decant.house.answers import Answers
from decant.house.mixture import encode_code
from decant.models import build as models
from decant.models.load import speller
from decant.models.masked.naming import write_words
from decant.models.masked.training import adapt

MINUTES: Final = 150  # of one thread
STEPS: Final = 2600
ROOM: Final = 3072  # places of a step, but for readings
PEAK: Final = 1.5e-4  # by AdamW; at high rates, or by Muon, it unlearns the target's sums: docs/journal.md
BLOCK: Final = 16
WHOLE: Final = 0.15  # of the steps: canvases as one block, so that what stands behind a gap is read


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
    convention = adapt(network, shift=True, causal_prompt=True, block=BLOCK)
    texts = Answers(words, code, corpus.functions(held_out=False), BLOCK, ROOM)
    steps = max(1, round(STEPS * asked.minutes / MINUTES))
    settings = Settings(steps, PEAK, warmup=min(100, steps // 10), decay=0.8, betas=(0.9, 0.98), weight_decay=0.05)
    lesson = Filling(network, convention, texts.batch, EachBlock(BLOCK), micro=8, twice=True, whole=WHOLE)
    try:
        run(network, lesson, settings, shop)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; the same command goes on from {shop}\n")
        return 130
    if not join().writes:
        return 0
    folder = asked.out / "diffusion"
    models.save_folder(network, folder)
    write_words(speller("house:target").tokenizer, convention, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

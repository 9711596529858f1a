"""What every verb does before it loads a model."""

import logging
import os
import sys
import warnings
from pathlib import Path

from decant.errors import BadInput


def quieten(model: str = "", quiet: bool = False) -> None:
    """Keep other packages' warnings and bars off the terminal; the bars of a download from the Hub stay.

    What decant itself is busy with while a model loads is said on standard error, unless `quiet`.
    """
    if not quiet:
        logging.basicConfig(format="decant: %(message)s", level=logging.WARNING)
        logging.getLogger("decant").setLevel(logging.INFO)
    local = model.startswith("house:") or Path(model).expanduser().exists() or not sys.stderr.isatty()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if local:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Both are read when transformers is imported; where somebody has done that already it has to be told.
    if (there := sys.modules.get("transformers.utils.logging")) is not None:
        there.set_verbosity_error()
        if local:
            there.disable_progress_bar()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def use_threads(threads: int | None) -> None:
    """Compute with this many CPU threads."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def listed(methods: str) -> list[str] | str:
    """`a,b:knob=1` taken apart; "all" stays. Raises BadInput where nothing is named."""
    if methods.strip() == "all":
        return "all"
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise BadInput(f"--methods {methods!r} names nothing; give names of `decant methods`, commas between, or all")
    return names

"""Handwritten digits, and which of them nobody may train on.

Source: scikit-learn's copy of Alpaydin and Kaynak 1998, doi:10.24432/C50P49 (8x8, CC BY 4.0); MNIST: LeCun, Cortes and
Burges 1998 (28x28, padded to 32x32).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput

CLASSES: Final = tuple("0123456789")
APART: Final = 5  # of scikit-learn's images, every fifth is held out: they have no split of their own
BORDER: Final = 2  # empty pixels around an image of MNIST


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """images_NYX in 0 ... 1 and labels_N to train on; held_MYX and held_labels_M, which nobody trains on."""

    images_NYX: Tensor
    labels_N: Tensor
    held_MYX: Tensor
    held_labels_M: Tensor


def digits() -> Pictures:
    """scikit-learn's 1,797 images of 8x8, in 17 greys. Raises BadInput where that package is not installed."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise BadInput(
            "the 8x8 digits come with scikit-learn, which is not installed: pip install 'decant[images]'"
        ) from error
    found: Any = load_digits()
    images_NYX = torch.tensor(found.images / 16, dtype=torch.float32)
    labels_N = torch.tensor(found.target, dtype=torch.int64)
    held_N = torch.arange(len(labels_N)) % APART == APART - 1
    return Pictures(images_NYX[~held_N], labels_N[~held_N], images_NYX[held_N], labels_N[held_N])


def mnist(file: Path) -> Pictures:
    """train_x, train_y, test_x, test_y of an npz file of bytes; the test images are held out. Raises BadInput."""
    try:
        with np.load(file, allow_pickle=False) as found:
            parts = {name: torch.from_numpy(found[name]) for name in ("train_x", "train_y", "test_x", "test_y")}
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{file} is no mnist.npz with train_x, train_y, test_x and test_y: {error}") from error
    images, held = (pad(parts[name].float() / 255, (BORDER,) * 4) for name in ("train_x", "test_x"))
    return Pictures(images, parts["train_y"].long(), held, parts["test_y"].long())


def shifted(images_NYX: Tensor, down: int, right: int) -> Tensor:
    """Moved by so many pixels, fewer than there are; what comes in is empty."""
    rows, columns = images_NYX.shape[1:]
    wide_NYX = pad(images_NYX, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)))
    top, left = max(-down, 0), max(-right, 0)
    return wide_NYX[:, top : top + rows, left : left + columns]

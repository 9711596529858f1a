"""Teach a tokenizer its codes: straight-through gradients, and codes that nobody uses start anew among the vectors.

Source: van den Oord et al. 2017, arXiv:1711.00937 (the loss); Dhariwal et al. 2020, arXiv:2005.00341 (restarts); over
scales: Tian et al. 2024, arXiv:2404.02905 (VAR), which weighs all scales alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, final

import torch
from torch import Tensor, nn

from decant.distill.settings import Settings
from decant.distill.trainer import train
from decant.images.seams import ImageTokenizer

COMMITMENT: Final = 0.25
COARSE: Final = (
    0.1  # weight of what a scale before the last leaves; as much as the last's costs 1.8 times the error of pixels
)
PIXELS: Final = 4  # that count as much as a number of a code; with many more the encoder runs away from its codes
FORGETS: Final = 0.98  # share of a code's count that is left after a step
AT_ONCE: Final = 512  # images that are looked at together, outside training
DEAD: Final = 0.05  # of the count that a code would have if all were used alike


class Quantizer(ImageTokenizer, Protocol):
    """A tokenizer that can be taught; a torch module."""

    codebook: nn.Parameter

    def grid(self, images_BYX: Tensor) -> Tensor:
        """z_BCGG: what the encoder says."""
        ...

    def quantised(self, z_BCGG: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f_SBCGG, the grid of codes after each scale, differentiable in them, ids_BL, and pool_XC: all vectors that
        had to choose a code."""
        ...

    def pixels(self, f_BCGG: Tensor) -> Tensor:
        """images_BYX."""
        ...

    def rescale(self, by: float) -> None:
        """Divide codes by a number; nothing that the tokenizer says changes."""
        ...


@final
class Taught(nn.Module):
    """A tokenizer and how often each code was used of late: what a checkpoint holds.

    free: steps in which the decoder reads what the encoder says, before there are codes: where most of an image is
    empty, codes that come sooner all turn out alike.
    """

    def __init__(self, tokenizer: Any, free: int = 0) -> None:
        super().__init__()
        self.tokenizer, self.free = tokenizer, free
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.step: Tensor
        # Nothing was used yet: codes start among the vectors of the first images.
        self.register_buffer("used_V", torch.zeros(len(tokenizer.codes_VC)))
        self.used_V: Tensor

    def loss(self, images_BYX: Tensor, weights_B: Tensor) -> Tensor:
        """Squared error of pixels, `PIXELS` for each place of the grid, and of codes; weighted, summed over images."""
        z_BCGG = self.tokenizer.grid(images_BYX)
        self.step += 1
        if int(self.step) <= self.free:  # sync: two kinds of steps
            return (weights_B * self._pixels(z_BCGG, images_BYX)).sum()
        self._restart(z_BCGG.detach())
        f_SBCGG, _, _ = self.tokenizer.quantised(z_BCGG)
        apart_SBCGG = (f_SBCGG - z_BCGG.detach()).square() + COMMITMENT * (z_BCGG - f_SBCGG.detach()).square()
        apart_SB = apart_SBCGG.sum((2, 3, 4))
        apart_B = apart_SB[-1] + COARSE * apart_SB[:-1].sum(0)
        through_BCGG = z_BCGG + (f_SBCGG[-1] - z_BCGG).detach()
        return (weights_B * (self._pixels(through_BCGG, images_BYX) + apart_B)).sum()

    def _pixels(self, f_BCGG: Tensor, images_BYX: Tensor) -> Tensor:
        """The squared error of an image, as if it had `PIXELS` pixels a place of the grid."""
        error_B = (self.tokenizer.pixels(f_BCGG) - images_BYX).square().sum((1, 2))
        return PIXELS * f_BCGG[0, 0].numel() / images_BYX[0].numel() * error_B

    @torch.no_grad()
    def _restart(self, z_BCGG: Tensor) -> None:
        """Codes that were hardly used of late move to where vectors are; the draw is torch's own."""
        _, ids_BL, pool_XC = self.tokenizer.quantised(z_BCGG)
        counts_V = torch.bincount(ids_BL.flatten(), minlength=len(self.used_V)).float()
        self.used_V.mul_(FORGETS).add_(counts_V * len(self.used_V) / counts_V.sum(), alpha=1 - FORGETS)
        dead_V = self.used_V < DEAD
        drawn_V = torch.randint(len(pool_XC), dead_V.shape)
        self.tokenizer.codebook[dead_V] = pool_XC[drawn_V[dead_V]]
        self.used_V[dead_V] = 1.0


def teach(tokenizer: Any, images: Callable[[int], Tensor], settings: Settings, folder: Path, free: int = 0) -> None:
    """Train a `Quantizer` in place, from the checkpoint in `folder` if there is one; then its codes get unit size.

    images: step -> images_BYX, the same for the same step. free: steps before there are codes.
    """

    def batch(step: int) -> tuple[Tensor, Tensor]:
        images_BYX = images(step)
        return images_BYX, torch.ones(len(images_BYX))

    taught = Taught(tokenizer, free)
    train(taught, taught.loss, batch, settings, folder)
    tokenizer.eval().requires_grad_(False)
    tokenizer.rescale(float(tokenizer.codes_VC.square().mean().sqrt()))


@final
@dataclass(frozen=True, slots=True)
class Fidelity:
    """error: mean squared error of a pixel. variance: of the pixels, which an error is to be compared with. used: codes
    in use. perplexity: of the codes' frequencies: how many there would be if all were used alike.
    """

    error: float
    variance: float
    used: int
    perplexity: float


def encoded(tokenizer: ImageTokenizer, images_NYX: Tensor) -> Tensor:
    """ids_NL of any number of images."""
    return torch.cat([tokenizer.encode(images_BYX) for images_BYX in images_NYX.split(AT_ONCE)])


@torch.no_grad()
def fidelity(tokenizer: ImageTokenizer, images_NYX: Tensor) -> Fidelity:
    """Of a tokenizer, on images that it never saw."""
    ids_NL, codes_VC = encoded(tokenizer, images_NYX), tokenizer.codes_VC
    rebuilt_NYX = torch.cat([tokenizer.decode(codes_VC[ids_BL]) for ids_BL in ids_NL.split(AT_ONCE)])
    counts_V = torch.bincount(ids_NL.flatten(), minlength=len(codes_VC)).double()
    share_V = counts_V[counts_V > 0] / counts_V.sum()
    return Fidelity(
        error=float((rebuilt_NYX - images_NYX).square().mean()),
        variance=float((images_NYX - images_NYX.mean(0)).square().mean()),
        used=len(share_V),
        perplexity=float((-share_V * share_V.log()).sum().exp()),
    )

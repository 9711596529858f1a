"""A tokenizer of one grid of codes: a small encoder to 4x4 or 8x8 vectors, each replaced by the nearest code.

Source: van den Oord et al. 2017, arXiv:1711.00937 (VQ-VAE); in raster order: Sun et al. 2024, arXiv:2406.06525.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from decant.errors import BadInput
from decant.images.flow import nearest
from decant.images.layout import Layout


@final
@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """side: of an image, in pixels. sides: of the layout. codes: how many. channels: of a code. width: of the
    convolutions.
    """

    side: int
    sides: tuple[int, ...]
    grid: int
    codes: int = 64
    channels: int = 4
    width: int = 32

    def __post_init__(self) -> None:
        if self.side != self.grid << self.halvings:
            raise BadInput(
                f"an image of {self.side} pixels a side does not halve to a grid of {self.grid}; take sides that "
                f"differ by a power of two"
            )

    @property
    def halvings(self) -> int:
        """From the image to the grid."""
        return max(0, round(math.log2(self.side / self.grid)))

    @property
    def layout(self) -> Layout:
        """In which order places come."""
        return Layout(self.sides, self.grid)


def encoder(spec: TokenizerSpec) -> nn.Sequential:
    """images_B1YX in -1 ... 1 -> z_BCGG."""
    layers: list[nn.Module] = [nn.Conv2d(1, spec.width, 3, padding=1), nn.SiLU()]
    for _ in range(spec.halvings):
        layers += [nn.Conv2d(spec.width, spec.width, 4, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(spec.width, spec.channels, 1))


def decoder(spec: TokenizerSpec) -> nn.Sequential:
    """z_BCGG -> images_B1YX in 0 ... 1."""
    layers: list[nn.Module] = [nn.Conv2d(spec.channels, spec.width, 3, padding=1), nn.SiLU()]
    for _ in range(spec.halvings):
        layers += [nn.ConvTranspose2d(spec.width, spec.width, 4, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(spec.width, 1, 3, padding=1), nn.Sigmoid())


def smaller(encodes: nn.Sequential, decodes: nn.Sequential, by: float) -> None:
    """Divide what stands between an encoder and a decoder by a number, in place."""
    last, first = encodes[-1], decodes[0]
    assert isinstance(last, nn.Conv2d)
    assert isinstance(first, nn.Conv2d)
    assert last.bias is not None
    last.weight /= by
    last.bias /= by
    first.weight *= by


@final
class VectorQuantizer(nn.Module):
    """An `ImageTokenizer` in raster order."""

    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__()
        self.spec, self.layout = spec, spec.layout
        self.encoder, self.decoder = encoder(spec), decoder(spec)
        self.codebook = nn.Parameter(torch.randn(spec.codes, spec.channels))

    @property
    def codes_VC(self) -> Tensor:
        """The codebook."""
        return self.codebook.detach()

    def grid(self, images_BYX: Tensor) -> Tensor:
        """z_BCGG: what the encoder says. Differentiable."""
        return self.encoder(2 * images_BYX[:, None] - 1)

    def quantised(self, z_BCGG: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f_1BCGG, the nearest codes as a grid, their ids_BL, and pool_XC: all vectors that had to choose."""
        pool_XC = z_BCGG.flatten(2).transpose(1, 2)
        ids_BL = nearest(pool_XC.detach(), self.codes_VC)
        return self._laid(self.codebook[ids_BL])[None], ids_BL, pool_XC.detach().flatten(0, 1)

    def pixels(self, f_BCGG: Tensor) -> Tensor:
        """images_BYX of a grid. Differentiable."""
        return self.decoder(f_BCGG)[:, 0]

    @torch.no_grad()
    def encode(self, images_BYX: Tensor) -> Tensor:
        """ids_BL."""
        return self.quantised(self.grid(images_BYX))[1]

    def decode(self, vectors_BLC: Tensor) -> Tensor:
        """images_BYX in 0 ... 1. Differentiable."""
        return self.pixels(self._laid(vectors_BLC))

    def carried(self, vectors_BLC: Tensor) -> Tensor:
        """inputs_BLC: the vector before. Differentiable."""
        return pad(vectors_BLC[:, :-1], (0, 0, 1, 0))

    @torch.no_grad()
    def rescale(self, by: float) -> None:
        """Divide codes by a number; nothing that the tokenizer says changes."""
        self.codebook /= by
        smaller(self.encoder, self.decoder, by)

    def _laid(self, vectors_BLC: Tensor) -> Tensor:
        return vectors_BLC.transpose(1, 2).unflatten(2, (self.spec.grid, self.spec.grid))

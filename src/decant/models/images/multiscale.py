"""A tokenizer of residuals from coarse to fine: each scale spells what the scales before it left over.

Source: Tian et al. 2024, arXiv:2404.02905 (VAR); its bicubic enlargement is bilinear here, as a grid of 1x1 or 2x2 has
no cubic.
"""

from itertools import accumulate
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from decant.images.flow import nearest
from decant.models.images.vq import TokenizerSpec, decoder, encoder, smaller

PHIS: Final = 4  # convolutions that scales share, the nearest in order
BLUR: Final = 0.5  # of an enlarged scale, how much comes through the convolution


@final
class MultiScaleQuantizer(nn.Module):
    """An `ImageTokenizer` in next-scale order."""

    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__()
        self.spec, self.layout = spec, spec.layout
        self.encoder, self.decoder = encoder(spec), decoder(spec)
        self.codebook = nn.Parameter(torch.randn(spec.codes, spec.channels))
        self.phis = nn.ModuleList(
            nn.Conv2d(spec.channels, spec.channels, 3, padding=1) for _ in range(min(PHIS, len(spec.sides)))
        )

    @property
    def codes_VC(self) -> Tensor:
        """The codebook."""
        return self.codebook.detach()

    def grid(self, images_BYX: Tensor) -> Tensor:
        """z_BCGG: what the encoder says. Differentiable."""
        return self.encoder(2 * images_BYX[:, None] - 1)

    def quantised(self, z_BCGG: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f_SBCGG, the grid after each scale, ids_BL, and pool_XC: all vectors that had to choose.

        Differentiable in the codes and the convolutions; which code is nearest is not.
        """
        left_BCGG, f_BCGG = z_BCGG.detach(), torch.zeros_like(z_BCGG)
        stages, ids, pools = [], [], []
        for unit, side in enumerate(self.layout.sides):
            pool_BKC = adaptive_avg_pool2d(left_BCGG - f_BCGG.detach(), side).flatten(2).transpose(1, 2)
            ids_BK = nearest(pool_BKC, self.codes_VC)
            f_BCGG = f_BCGG + self._enlarged(self.codebook[ids_BK], unit)
            stages.append(f_BCGG)
            ids.append(ids_BK)
            pools.append(pool_BKC.flatten(0, 1))
        return torch.stack(stages), torch.cat(ids, dim=1), torch.cat(pools)

    def pixels(self, f_BCGG: Tensor) -> Tensor:
        """images_BYX of a grid. Differentiable."""
        return self.decoder(f_BCGG)[:, 0]

    @torch.no_grad()
    def encode(self, images_BYX: Tensor) -> Tensor:
        """ids_BL."""
        return self.quantised(self.grid(images_BYX))[1]

    def decode(self, vectors_BLC: Tensor) -> Tensor:
        """images_BYX in 0 ... 1. Differentiable."""
        return self.pixels(self.sums(vectors_BLC)[-1])

    def sums(self, vectors_BLC: Tensor) -> list[Tensor]:
        """f_BCGG after each scale: what its vectors and those before add up to. Differentiable."""
        parts = vectors_BLC.split(self.layout.sizes, dim=1)
        return list(accumulate(self._enlarged(part_BKC, unit) for unit, part_BKC in enumerate(parts)))

    def carried(self, vectors_BLC: Tensor) -> Tensor:
        """inputs_BLC: the sum of all earlier scales, made as small as the place's own; 0 in the first.
        Differentiable."""
        sides = self.layout.sides[1:]
        each = [
            adaptive_avg_pool2d(f_BCGG, side).flatten(2).transpose(1, 2)
            for side, f_BCGG in zip(sides, self.sums(vectors_BLC), strict=False)  # nobody reads the last sum
        ]
        return torch.cat([torch.zeros_like(vectors_BLC[:, self.layout.span(0)]), *each], dim=1)

    @torch.no_grad()
    def rescale(self, by: float) -> None:
        """Divide codes by a number; nothing that the tokenizer says changes."""
        self.codebook /= by
        smaller(self.encoder, self.decoder, by)
        for phi in self.phis:
            assert isinstance(phi, nn.Conv2d)
            assert phi.bias is not None
            phi.bias /= by

    def _enlarged(self, vectors_BKC: Tensor, unit: int) -> Tensor:
        """A scale at the size of the finest, through its convolution."""
        side, grid = self.layout.sides[unit], self.spec.grid
        h_BCSS = vectors_BKC.transpose(1, 2).unflatten(2, (side, side))
        h_BCGG = h_BCSS if side == grid else interpolate(h_BCSS, (grid, grid), mode="bilinear", align_corners=False)
        share = unit / max(1, self.layout.units - 1)
        phi = self.phis[round(share * (len(self.phis) - 1))]
        return (1 - BLUR) * h_BCGG + BLUR * phi(h_BCGG)

"""Teach a model to fill in masks: a causal one, whose attention opens, or one that does so already.

Source: Sahoo et al. 2024, arXiv:2406.07524 (MDLM); Nie et al. 2025, arXiv:2502.09992 (LLaDA); Gong et al. 2024,
arXiv:2410.17891 (from a causal model); Arriola et al. 2025, arXiv:2503.09573 (blocks).
"""

from dataclasses import dataclass
from typing import Any, Final, final

from decant.distill.diffusion.lesson import Filling
from decant.distill.diffusion.masking import Blocks, Either, Uniform
from decant.distill.diffusion.recipe import Material
from decant.errors import BadInput
from decant.models.masked.convention import Convention
from decant.models.masked.training import adapt

IN_BLOCK: Final = 0.1  # least ratio of a block: a decoder that settles several places at once hardly ever sees less


@final
@dataclass(frozen=True, slots=True)
class MDLM:
    """shift, causal_prompt: as in `Convention`; none: as the model reads already, and of a causal one both, with which
    it keeps most of what it knows. opening: steps until a causal model's attention is open in both directions. block:
    places of a block; share: of the texts that are masked as a decoder sees them that settles block after block.
    least: ratio of masked places."""

    shift: bool | None = None
    causal_prompt: bool | None = None
    opening: int = 0
    block: int = 32
    share: float = 0.5
    least: float = 0.05

    def __post_init__(self) -> None:
        if self.opening < 0 or not 0 <= self.share <= 1:
            raise BadInput(
                f"mdlm needs opening >= 0 steps and a share between 0 and 1, not {self.opening} and {self.share:g}"
            )
        self._masking()

    def convention(self, network: Any, name: str) -> Convention:
        """A causal model gets one more row, for the mask."""
        found = Convention.of(network.config)
        if found is None:
            return adapt(network, self.shift is not False, self.causal_prompt is not False)
        others = self.shift not in {None, found.shift} or self.causal_prompt not in {None, found.causal_prompt}
        if self.opening or others:
            raise BadInput(
                f"{name} fills in masks already, {'with' if found.shift else 'without'} the shift and "
                f"{'with' if found.causal_prompt else 'without'} a causal prompt; leave mdlm's shift, causal_prompt "
                f"and opening out, which are for causal models"
            )
        return found

    def training(self, material: Material) -> Filling:
        """The bound on the likelihood, and blocks."""
        return Filling(
            material.network,
            material.convention,
            material.texts,
            self._masking(),
            material.micro,
            self.opening,
            material.seed,
        )

    def _masking(self) -> Either:
        return Either(Uniform(self.least), Blocks(self.block, max(self.least, IN_BLOCK)), self.share)

"""Teach a model to fill in masks: a causal one, whose attention opens, or one that does so already.

Source: Sahoo et al. 2024, arXiv:2406.07524 (MDLM); Nie et al. 2025, arXiv:2502.09992 (LLaDA); Gong et al. 2024,
arXiv:2410.17891 (from a causal model); Arriola et al. 2025, arXiv:2503.09573 (blocks); Wu et al. 2025, arXiv:2509.26328
(Fast-dLLM v2: a causal model that goes on reading what is settled from left to right forgets little).
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, final

from decant.distill.diffusion.lesson import Filling
from decant.distill.diffusion.masking import Blocks, EachBlock, Either, Uniform
from decant.distill.diffusion.recipe import Material
from decant.errors import BadInput
from decant.models.masked.convention import Convention
from decant.models.masked.training import adapt

IN_BLOCK: Final = 0.1  # least ratio of a block: a decoder that settles several places at once hardly ever sees less
# Of a model that reads by block; without the last two it loses most of what a causal one knew (docs/journal.md).
WHOLE: Final = 0.15  # of the steps: a canvas as one block, so that gaps are filled in
LEAD: Final = 8.0  # what the places count for that a decoder from left to right asks for
SAID: Final = 1.0  # what the text's own places count for, as a causal model says them


@final
@dataclass(frozen=True, slots=True)
class MDLM:
    """reads: what a causal model becomes: one that reads its canvas block by block, one whose canvas is one block
    (`canvas`), or one that reads its prompt from both sides as well (`open`). shift: whether its row i goes on
    predicting token i + 1. None: as the model does already; of a causal one blocks and yes, with which it keeps most of
    what it knows. opening: steps until attention is open. block: places of a block; share: of the texts (of the blocks,
    of a model that reads by block) that are masked as a decoder sees them that settles from left to right. least: ratio
    of masked places."""

    reads: Literal["blocks", "canvas", "open"] | None = None
    shift: bool | None = None
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
        if found is not None:
            if self.opening or self.shift is not None or self.reads is not None:
                raise BadInput(
                    f"{name} fills in masks already; leave mdlm's reads, shift and opening out, which are for causal "
                    f"models"
                )
            return found
        if self.opening and self.reads not in {"canvas", "open"}:
            raise BadInput("attention opens by and by in a canvas that is one block; add reads=canvas or leave opening")
        block = self.block if self.reads in {None, "blocks"} else None
        return adapt(network, self.shift is not False, self.reads != "open", block)

    def training(self, material: Material) -> Filling:
        """The bound on the likelihood, and blocks; by block, each place once in two readings."""
        blocks = material.convention.block
        parts = (material.network, material.convention, material.texts)
        rest = (material.micro, self.opening, material.seed)
        if blocks is None:
            return Filling(*parts, self._masking(), *rest)
        return Filling(*parts, EachBlock(blocks, self.share), *rest, twice=True, whole=WHOLE, lead=LEAD, said=SAID)

    def _masking(self) -> Either:
        return Either(Uniform(self.least), Blocks(self.block, max(self.least, IN_BLOCK)), self.share)

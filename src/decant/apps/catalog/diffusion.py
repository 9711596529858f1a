"""Masked diffusion: who settles, which places may, what is computed anew, and methods made of them."""

from typing import Final

from decant.apps.catalog.rows import NEEDS_MASKS, Part, Recipe, table

UNMASKERS: Final = table(
    Part(
        "low-confidence",
        "the places whose guess is likeliest, so many a step",
        "unmaskers.low_confidence:LowConfidence",
        "Nie et al. 2025, arXiv:2502.09992",
    ),
    Part(
        "threshold",
        "every place whose guess is likely enough",
        "unmaskers.threshold:Threshold",
        "Wu et al. 2025, arXiv:2505.22618",
    ),
)
SCHEDULES: Final = table(
    Part("full", "every open place may settle at any time", "schedules.full:Full", "Nie et al. 2025, arXiv:2502.09992"),
    Part(
        "blocks",
        "block after block from the left",
        "schedules.blocks:Blocks",
        "Nie et al. 2025, arXiv:2502.09992",
    ),
)
CACHES: Final = table(
    Part("none", "every pass computes everything", "caches.none:NoCache", "Nie et al. 2025, arXiv:2502.09992"),
    Part(
        "dual",
        "all when a block begins, then the block alone",
        "caches.dual:Dual",
        "Wu et al. 2025, arXiv:2505.22618",
    ),
)
FILLING: Final = table(
    Recipe(
        "low-confidence",
        "a model that fills in masks settles its surest places, one a step: the baseline of such models",
        "Nie et al. 2025, arXiv:2502.09992",
        decoder="masked-diffusion",
        unmasker="low-confidence",
        needs=NEEDS_MASKS,
    ),
    Recipe(
        "threshold",
        "a model that fills in masks settles every place that it is sure enough of",
        "Wu et al. 2025, arXiv:2505.22618",
        decoder="masked-diffusion",
        unmasker="threshold",
        needs=NEEDS_MASKS,
    ),
)

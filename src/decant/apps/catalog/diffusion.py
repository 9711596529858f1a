"""Masked diffusion: who settles, which places may, what is computed anew, and methods made of them."""

from typing import Final

from decant.apps.catalog.rows import NEEDS_DRAFT, NEEDS_MASKS, Part, Recipe, table

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
    Part(
        "prophet",
        "the surest places, and everything at once when the answer is decided",
        "unmaskers.prophet:Prophet",
        "Li et al. 2025, arXiv:2508.19982",
    ),
    Part(
        "end-of-text",
        "the surest places; what lies behind an end token is dropped",
        "unmaskers.end_of_text:EndOfText",
        "Bao et al. 2025, arXiv:2509.25188",
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
    Recipe(
        "prophet",
        "a model that fills in masks settles its surest places, and all that is left when the answer is decided",
        "Li et al. 2025, arXiv:2508.19982",
        decoder="masked-diffusion",
        unmasker="prophet",
        needs=NEEDS_MASKS,
    ),
    Recipe(
        "end-of-text",
        "a model that fills in masks settles its surest places and drops what lies behind the end",
        "Bao et al. 2025, arXiv:2509.25188",
        decoder="masked-diffusion",
        unmasker="end-of-text",
        needs=NEEDS_MASKS,
    ),
    Recipe(
        "freedave",
        "a model that fills in masks looks at its next few steps in one pass and keeps the right ones; nothing is lost",
        "Wu and Zhang 2025, arXiv:2510.00294",
        decoder="freedave",
        unmasker="low-confidence",
        needs=NEEDS_MASKS,
    ),
    Recipe(
        "guided-diffusion",
        "a small model that speaks from left to right says how many drafts of one that fills in masks settle",
        "Hu et al. 2025, arXiv:2505.21467",
        decoder="guided-diffusion",
        unmasker="low-confidence",
        needs=NEEDS_DRAFT,
    ),
)

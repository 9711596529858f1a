"""Masked diffusion: which places of a canvas may settle, and what a pass computes anew."""

from typing import Final

from decant.apps.catalog.rows import Part, table

SCHEDULES: Final = table(
    Part("full", "every open place may settle at any time", "schedules.full:Full", "Nie et al. 2025, arXiv:2502.09992"),
    Part(
        "blocks",
        "block after block from the left",
        "schedules.blocks:Blocks",
        "Nie et al. 2025, arXiv:2502.09992",
    ),
    Part(
        "ada-block",
        "blocks that end where the model is about to write a newline",
        "schedules.ada_block:AdaBlock",
        "Lu et al. 2025, arXiv:2509.26432",
    ),
    Part(
        "ascending",
        "1, 2, 4 ... places, so that N need log2 N steps",
        "schedules.ascending:Ascending",
        "Yang et al. 2025, arXiv:2509.23924",
    ),
    Part(
        "eos-rejection",
        "any open place, where ends of a text are trusted less while little is settled",
        "schedules.eos_rejection:EosRejection",
        "Yang et al. 2025, arXiv:2509.23924",
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
    Part(
        "prefix",
        "all when a block begins, then the block and what lies behind it",
        "caches.prefix:Prefix",
        "Wu et al. 2025, arXiv:2505.22618",
    ),
    Part(
        "dkv-decode",
        "open places, and those that the step before settled; now and then everything",
        "caches.dkv_decode:DkvDecode",
        "Ma et al. 2025, arXiv:2505.15781",
    ),
    Part(
        "dkv-greedy",
        "places that come next in a random order, and a few around; now and then everything",
        "caches.dkv_greedy:DkvGreedy",
        "Ma et al. 2025, arXiv:2505.15781",
    ),
    Part(
        "free-cache",
        "what is not frozen yet: blocks that are done are",
        "caches.free_cache:FreeCache",
        "Hu et al. 2025, arXiv:2505.21467",
    ),
)

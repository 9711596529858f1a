"""Decoding methods whose drafter is a trained head."""

from typing import Final

from decant.apps.catalog.rows import NEEDS_HEAD, Recipe

HEADS: Final = (
    Recipe(
        "medusa",
        "trained heads guess the next tokens all at once",
        "Cai et al. 2024, arXiv:2401.10774",
        drafter="medusa",
        policy="template:branches=3-2-1",
        needs=NEEDS_HEAD,
    ),
    Recipe(
        "eagle",
        "a trained layer guesses the target's next states; the tree is EAGLE's own",
        "Li et al. 2024, arXiv:2401.15077",
        drafter="eagle",
        policy="template:branches=eagle",
        needs=NEEDS_HEAD,
    ),
    Recipe(
        "eagle-2",
        "EAGLE's trained layer; its confidence shapes the tree",
        "Li et al. 2024, arXiv:2406.16858",
        drafter="eagle",
        policy="dynamic-tree",
        needs=NEEDS_HEAD,
    ),
    Recipe(
        "eagle3",
        "a trained layer over the target's states of three depths",
        "Li et al. 2025, arXiv:2503.01840",
        drafter="eagle",
        policy="dynamic-tree",
        needs=NEEDS_HEAD,
        head="eagle3",
    ),
    Recipe(
        "glide",
        "a draft model that glimpses the target's states",
        "Du et al. 2024, arXiv:2402.02082",
        drafter="eagle",
        policy="dynamic-tree",
        needs=NEEDS_HEAD,
        head="glide",
    ),
    Recipe(
        "fspad",
        "EAGLE's way with a head that samples each state with the token that was drawn",
        "Gui et al. 2024, arXiv:2408.15562",
        drafter="eagle",
        policy="dynamic-tree",
        needs=NEEDS_HEAD,
        head="fspad",
    ),
    Recipe(
        "falcon",
        "EAGLE's way with a head that guesses a block of states at a time",
        "Gao et al. 2024, arXiv:2412.12639",
        drafter="eagle",
        policy="template:branches=3-2-2-1",
        needs=NEEDS_HEAD,
        head="falcon",
    ),
    Recipe(
        "chimera",
        "EAGLE's way with a head that fuses the last three tokens with the target's states of all before",
        "Zeng et al. 2024, arXiv:2402.15758",
        drafter="eagle",
        policy="template:branches=3-2-1-1",
        needs=NEEDS_HEAD,
        head="chimera",
    ),
    Recipe(
        "ppd",
        "trained prompt tokens ride in the pass that verifies and guess the next draft",
        "Chen et al. 2024, arXiv:2405.18628",
        drafter="parallel-prompt",
        policy="template:branches=2-1-1",
        needs=NEEDS_HEAD,
    ),
    Recipe(
        "hidden-transfer",
        "states of tokens to come, made in the middle of the pass that verifies, guess the next draft",
        "Wu et al. 2024, arXiv:2404.12022",
        drafter="hidden-transfer",
        policy="fixed:depth=3",
        needs=NEEDS_HEAD,
    ),
)

"""What is done to logits, what may come next."""

from typing import Final

from decant.apps.catalog.rows import Part, table

SAMPLERS: Final = table(
    Part("greedy", "the likeliest token, always", "samplers.greedy:greedy", "Leviathan et al. 2023, arXiv:2211.17192"),
    Part(
        "temperature",
        "flatter above 1, steeper below",
        "samplers.temperature:temperature",
        "Ackley, Hinton and Sejnowski 1985",
    ),
    Part("top-k", "only the k likeliest tokens", "samplers.top_k:top_k", "Fan et al. 2018, arXiv:1805.04833"),
    Part("top-p", "the fewest tokens of mass p", "samplers.top_p:top_p", "Holtzman et al. 2019, arXiv:1904.09751"),
    Part("min-p", "only tokens near the likeliest", "samplers.min_p:min_p", "Nguyen et al. 2024, arXiv:2407.01082"),
    Part("chain", "several of these, left to right", "samplers.chain:chain", "Leviathan et al. 2023, arXiv:2211.17192"),
)
CONSTRAINTS: Final = table(
    Part(
        "several",
        "one after the other, each on what those before it left",
        "constraints.several:Several",
        "the composition of functions",
    ),
    Part(
        "unconstrained",
        "everything may come next",
        "constraints.unconstrained:Unconstrained",
        "the neutral element of the Constraint seam",
    ),
)

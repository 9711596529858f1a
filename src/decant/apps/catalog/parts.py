"""Who judges, how much to guess, loops of their own."""

from typing import Final

from decant.apps.catalog.rows import NEEDS_DRAFT, NEEDS_LAYERS, NEEDS_MASKS, Part, table

VERIFIERS: Final = table(
    Part(
        "coupled",
        "a guess stands where it equals the target's own counted draw: same seed, same text",
        "verifiers.coupled:Coupled",
        "Leviathan et al. 2023, arXiv:2211.17192; Gumbel coupling: Maddison et al. 2014, arXiv:1411.0030",
    ),
    Part(
        "rejection",
        "chains; accept with min(1, p / q), else draw from the residual",
        "verifiers.rejection:Rejection",
        "Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318",
    ),
    Part(
        "tree-rejection",
        "trees; children drawn without replacement are tried one after another",
        "verifiers.tree_rejection:TreeRejection",
        "Miao et al. 2023, arXiv:2305.09781; Chen et al. 2024, arXiv:2402.12374; Jeon et al. 2024, arXiv:2402.14160",
    ),
    Part(
        "block",
        "chains judged as a whole; accepts no fewer than rejection, the law stays the target's",
        "verifiers.block:Block",
        "Sun et al. 2024, arXiv:2403.10444",
    ),
    Part(
        "k-seq",
        "independent guesses tried in turn against one discounted law",
        "verifiers.k_seq:KSeq",
        "Sun et al. 2023, arXiv:2310.15141",
    ),
    Part(
        "greedy-multi",
        "the likeliest guesses and a drawn one, accepted as often as is possible",
        "verifiers.greedy_multi:GreedyMulti",
        "Hu et al. 2025, arXiv:2502.18779",
    ),
    Part(
        "typical-acceptance",
        "lossy: a guess stands if it is likely enough for how unsure the target is",
        "verifiers.typical_acceptance:TypicalAcceptance",
        "Cai et al. 2024, arXiv:2401.10774",
    ),
    Part(
        "lenience",
        "lossy: rejection with a discount on q",
        "verifiers.lenience:Lenience",
        "Leviathan et al. 2023, arXiv:2211.17192",
    ),
    Part(
        "threshold",
        "lossy: a guess stands until one surprises the target",
        "verifiers.threshold:Threshold",
        "Kim et al. 2023, arXiv:2302.07863",
    ),
)
POLICIES: Final = table(
    Part("fixed", "always the same shape", "policies.fixed:Fixed", "Leviathan et al. 2023, arXiv:2211.17192"),
    Part(
        "additive",
        "deeper after a clean sweep, shallower after a refusal",
        "policies.additive:Additive",
        "Gante 2023, huggingface.co/blog/assisted-generation",
    ),
    Part(
        "cost-aware",
        "as deep as pays by this machine's measured costs, or not at all",
        "policies.cost_aware:CostAware",
        "Leviathan et al. 2023, arXiv:2211.17192",
    ),
    Part(
        "chains",
        "several chains side by side that share nothing but the root",
        "policies.chains:Chains",
        "Sun et al. 2023, arXiv:2310.15141",
    ),
    Part(
        "template",
        "the same tree always, spelt out level by level",
        "policies.template:Template",
        "Jeon et al. 2024, arXiv:2402.14160; Li et al. 2024, arXiv:2401.15077",
    ),
    Part(
        "sequoia",
        "the tree with the most tokens a second, by measured acceptance of each rank and measured costs",
        "policies.sequoia:Sequoia",
        "Chen et al. 2024, arXiv:2402.12374",
    ),
    Part(
        "sparse-tree",
        "the tree whose size pays best, by measured acceptance of each level and rank and measured costs",
        "policies.sparse_tree:SparseTree",
        "Chen et al. 2024, arXiv:2405.18628",
    ),
    Part(
        "dynamic-tree",
        "the drafter's likeliest paths grow on, its likeliest nodes stay",
        "policies.dynamic_tree:DynamicTree",
        "Li et al. 2024, arXiv:2406.16858",
    ),
    Part(
        "dyspec",
        "a tree of draws that grows where the next guess is likeliest to be needed",
        "policies.dyspec:DySpec",
        "Xiong et al. 2024, arXiv:2410.11744",
    ),
    Part(
        "stochastic-beam",
        "whole paths drawn without replacement, so many abreast",
        "policies.stochastic_beam:StochasticBeam",
        "Jeon et al. 2024, arXiv:2402.14160; Kool et al. 2019, arXiv:1903.06059",
    ),
    Part(
        "confidence",
        "stop where the drafter itself is unsure",
        "policies.confidence:Confidence",
        "Zhang et al. 2023, arXiv:2309.08168",
    ),
    Part(
        "dynamic-exit",
        "the exit layer and depth with the most tokens for the layers read (early-exit)",
        "policies.dynamic_exit:DynamicExit",
        "Entezari Zarch et al. 2025, arXiv:2504.05598",
        needs=NEEDS_LAYERS,
    ),
)
DECODERS: Final = table(
    Part(
        "masked-diffusion",
        "a canvas of open places is filled in: predict all, settle some, again",
        "decoders.masked_diffusion:MaskedDiffusion",
        "Nie et al. 2025, arXiv:2502.09992; Sahoo et al. 2024, arXiv:2406.07524",
        needs=NEEDS_MASKS,
    ),
    Part(
        "freedave",
        "one pass looks at the canvases of the next few steps; the longest run of right ones is kept",
        "decoders.freedave:FreeDave",
        "Wu and Zhang 2025, arXiv:2510.00294",
        needs=NEEDS_MASKS,
    ),
    Part(
        "guided-diffusion",
        "a small model from left to right says how many of a canvas's drafts settle",
        "decoders.guided_diffusion:GuidedDiffusion",
        "Hu et al. 2025, arXiv:2505.21467",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "ead",
        "two models of one tokenizer take turns: the target speaks while the text is uncertain",
        "decoders.ead:EAD",
        "Simonds 2025, arXiv:2502.06833",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "r2r",
        "a learned router sends a small model's token to the target where it would lead elsewhere",
        "decoders.r2r:R2R",
        "Fu et al. 2025, arXiv:2505.21600",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "bild",
        "a small model speaks until it is unsure; the target looks over it and goes on",
        "decoders.bild:BiLD",
        "Kim et al. 2023, arXiv:2302.07863",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "pearl",
        "the draft model writes on while the target verifies what it wrote before",
        "decoders.pearl:PEARL",
        "Liu et al. 2024, arXiv:2408.11850",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "awrs",
        "a constraint's tokens from few questions, and what mass of texts it allows",
        "decoders.awrs:AWRS",
        "Lipkin et al. 2025, arXiv:2504.05410",
        needs="a constraint",
    ),
    Part(
        "smc",
        "texts side by side, copied and dropped by weight: the law of whole texts that a constraint allows",
        "decoders.smc:SMC",
        "Lew et al. 2023, arXiv:2306.03081; Lipkin et al. 2025, arXiv:2504.05410",
        needs="a constraint",
    ),
    Part(
        "superposed",
        "several drafts at one pass a token, fed with a mixture of their last tokens",
        "decoders.superposed:Superposed",
        "Shen et al. 2024, arXiv:2405.18400",
    ),
    Part(
        "beam",
        "the likeliest of many texts, the best few of which are kept at every token",
        "decoders.beam:Beam",
        "Kasai et al. 2022, arXiv:2204.05424",
    ),
    Part(
        "diverse-beam",
        "beam search in groups, each put off what those before it chose",
        "decoders.diverse_beam:DiverseBeam",
        "Vijayakumar et al. 2016, arXiv:1610.02424",
    ),
    Part(
        "contrastive-search",
        "of the likeliest tokens one whose state resembles none before it",
        "decoders.contrastive_search:ContrastiveSearch",
        "Su et al. 2022, arXiv:2202.06417; Su and Collier 2022, arXiv:2210.14140",
    ),
    Part(
        "momentum",
        "greedy, against a resistance that grows with the run that a token would repeat",
        "decoders.momentum:Momentum",
        "Lan et al. 2022, arXiv:2212.02175",
    ),
    Part(
        "adadec",
        "greedy while the target is sure; else the best few tokens are reranked by looking ahead",
        "decoders.adadec:AdaDec",
        "He et al. 2025, arXiv:2506.08980",
    ),
)

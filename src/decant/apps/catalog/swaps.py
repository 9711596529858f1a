"""What may take the place of a recipe's own part: `decant distill RECIPE --distance NAME:knob=value`."""

from collections.abc import Mapping
from typing import Final

from decant.apps.catalog.rows import Part, table

NEEDS_LAW: Final = "a teacher's whole law"
NEEDS_STATES: Final = "a teacher's states: one model in memory"
NEEDS_SPANS: Final = "the recipe alm_transfer"

DISTANCES: Final = table(
    Part(
        "forward_kl",
        "KL of the student from the teacher: all that the teacher might say",
        "distill.divergences.forward_kl:ForwardKL",
        "Hinton et al. 2015, arXiv:1503.02531",
    ),
    Part(
        "reverse_kl",
        "KL of the teacher from the student: seeks a mode",
        "distill.divergences.reverse_kl:ReverseKL",
        "Gu et al. 2024, arXiv:2306.08543",
    ),
    Part(
        "jensen_shannon",
        "both laws against their mixture; scale=beta takes out the jump at its ends",
        "distill.divergences.jensen_shannon:JensenShannon",
        "Agarwal et al. 2024, arXiv:2306.13649",
    ),
    Part(
        "skew_kl",
        "one law against a mixture of both, so that ratios are bounded",
        "distill.divergences.skew_kl:SkewKL",
        "Ko et al. 2024, arXiv:2402.03898",
    ),
    Part(
        "adaptive_kl",
        "forward KL where the student errs at the head, reverse KL where in the tail",
        "distill.divergences.adaptive_kl:AdaptiveKL",
        "Wu et al. 2024, arXiv:2404.02657",
        needs=NEEDS_LAW,
    ),
    Part(
        "top_k_kl",
        "one KL over the teacher's best ids, the other over all else",
        "distill.divergences.top_k_kl:TopKKL",
        "Ding et al. 2025, arXiv:2501.06218",
        needs=NEEDS_LAW,
    ),
    Part(
        "total_variation",
        "the share of drafts that speculative sampling refuses",
        "distill.divergences.total_variation:TotalVariation",
        "Wen et al. 2023, arXiv:2307.15190; Zhou et al. 2024, arXiv:2310.08461",
    ),
    Part(
        "acceptance",
        "the chance that speculative sampling takes a guess, by its logarithm, a blend or itself",
        "distill.divergences.acceptance:Acceptance",
        "Samarin et al. 2026, arXiv:2602.23881",
    ),
    Part(
        "soft_cross_entropy",
        "forward KL with the teacher's entropy left in",
        "distill.divergences.soft_cross_entropy:SoftCrossEntropy",
        "Hinton et al. 2015, arXiv:1503.02531",
    ),
    Part(
        "sorted_l1",
        "sorted probabilities, whatever the tokens are called",
        "distill.divergences.sorted_l1:SortedL1",
        "Boizard et al. 2024, arXiv:2402.12030",
        needs=NEEDS_LAW,
    ),
    Part(
        "rank",
        "the teacher's best ids in the teacher's order, by a margin",
        "distill.divergences.rank:Rank",
        "Arcee DistillKit, github.com/arcee-ai/DistillKit",
        needs=NEEDS_LAW,
    ),
    Part(
        "dac_kl",
        "KL within the dense part of the teacher's law, whose bounds are learnt",
        "distill.objectives.dac_kl:DACKL",
        "Liu et al. 2024, arXiv:2407.10068",
        needs=NEEDS_LAW,
    ),
    Part(
        "ofa",
        "branches at each quarter of the student's depth learn the law, the right answer enhanced",
        "distill.objectives.ofa:OFA",
        "Hao et al. 2023, arXiv:2310.19444",
        needs=NEEDS_LAW,
    ),
    Part(
        "plackett_luce",
        "one list-wise likelihood: the label first, then the teacher's order",
        "distill.objectives.plackett_luce:PlackettLuce",
        "Bassam et al. 2025, arXiv:2506.12542",
        needs=NEEDS_LAW,
    ),
    Part(
        "sinkhorn",
        "what it costs to carry the student's laws to the teacher's",
        "distill.objectives.sinkhorn:Sinkhorn",
        "Cui et al. 2024, arXiv:2402.17110",
        needs=NEEDS_LAW,
    ),
    Part(
        "hidden_states",
        "every layer says what the teacher's layer at the same depth says",
        "distill.objectives.hidden_states:HiddenStates",
        "Romero et al. 2015, arXiv:1412.6550; Sanh et al. 2019, arXiv:1910.01108; Su et al. 2021, arXiv:2106.02241",
        needs=NEEDS_STATES,
    ),
    Part(
        "token_relations",
        "which tokens of a text are alike",
        "distill.objectives.token_relations:TokenRelations",
        "Zhang et al. 2023, arXiv:2306.12442",
        needs=NEEDS_STATES,
    ),
    Part(
        "attention_relations",
        "relations between queries, keys and values of a layer",
        "distill.objectives.attention_relations:AttentionRelations",
        "Wang et al. 2021, arXiv:2012.15828",
        needs=NEEDS_STATES,
    ),
    Part(
        "mutual_information",
        "states tell which state of the teacher stands at the same position",
        "distill.objectives.mutual_information:MutualInformation",
        "He et al. 2021, arXiv:2109.11105",
        needs=NEEDS_STATES,
    ),
    Part(
        "dual_space",
        "states moved into the other model's space, so that one head says both laws",
        "distill.objectives.dual_space:DualSpace",
        "Zhang et al. 2024, arXiv:2406.17328",
        needs=NEEDS_STATES,
    ),
    Part(
        "uld",
        "sorted probabilities of two vocabularies, where both tokenizers cut",
        "distill.objectives.uld:ULD",
        "Boizard et al. 2024, arXiv:2402.12030",
        needs=NEEDS_SPANS,
    ),
    Part(
        "gold",
        "laws of two vocabularies, the tokens of a stretch of text merged into one",
        "distill.objectives.gold:GOLD",
        'Patiño et al. 2025, "Unlocking On-Policy Distillation for Any Model Family"',
        needs=NEEDS_SPANS,
    ),
)

WEIGHTINGS: Final = table(
    Part(
        "ss_token",
        "tokens whose loss has fallen since the beginning, and that look at the prompt",
        "distill.weighting.ss_token:SsToken",
        "Qin et al. 2025, arXiv:2510.18250",
    ),
    Part(
        "uncertainty",
        "tokens by how uncertain teacher or student are of them",
        "distill.weighting.uncertainty:Uncertainty",
        "Chen et al. 2024, arXiv:2402.11960",
    ),
)

CURRICULA: Final = table(
    Part(
        "linear",
        "the target goes from the student's own law to the teacher's in a straight line",
        "distill.curricula.linear:Linear",
        "Shing et al. 2025, arXiv:2501.16937",
    ),
    Part(
        "taid",
        "the same, faster while the loss falls",
        "distill.curricula.taid:TAID",
        "Shing et al. 2025, arXiv:2501.16937",
    ),
    Part(
        "ground_truth",
        "a share of the true label in every target",
        "distill.curricula.ground_truth:GroundTruth",
        "Borup & Andersen 2021, arXiv:2102.13088",
    ),
)

ROLLOUTS: Final = table(
    Part(
        "student_samples",
        "the student's own answers to the prompts",
        "distill.rollouts.student_samples:StudentSamples",
        "Agarwal et al. 2023, arXiv:2306.13649",
    ),
    Part(
        "mixture",
        "the student's answers at a share of the steps, which may move (last=)",
        "distill.rollouts.mixture:Mixture",
        "Agarwal et al. 2023, arXiv:2306.13649",
    ),
    Part(
        "replay",
        "the student's answers as far as they are needed, used again",
        "distill.rollouts.replay:Replay",
        "Ko et al. 2024, arXiv:2402.03898",
    ),
    Part(
        "corrected",
        "the student's answers, its worst token the teacher's, and written on from there (SCRG)",
        "distill.rollouts.corrected:Corrected",
        "Liu et al. 2024, arXiv:2407.10068",
    ),
)

SWAPS: Final[Mapping[str, Mapping[str, Part]]] = {
    "distance": DISTANCES,
    "weighting": WEIGHTINGS,
    "curriculum": CURRICULA,
    "rollouts": ROLLOUTS,
}
"""By the option's name."""

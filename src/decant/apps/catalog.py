"""Every method by its command-line name. Tables, not a registry: one row per file.

Parts are named by module and imported when `compose` asks, so that a misspelt name is answered before torch loads.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final, TypeVar, final

from decant.apps.knobs import Kinds, knobs_of, split, values_of
from decant.errors import UnknownMethod

DEFAULT_VERIFIER: Final = "coupled"
NEEDS_DRAFT: Final = "a draft model"
NEEDS_TREES: Final = "tree masks"
NEEDS_HEAD: Final = "a trained head"
NEEDS_LAYERS: Final = "decant's own forward pass"
WIRED: Final = frozenset({"coupled"})
"""Fields that look like knobs and are none (`wiring` sets them): how a drafter draws follows from who verifies."""


@final
@dataclass(frozen=True, slots=True)
class Part:
    """One file of a role.

    home:   `module:Name`, below the package.
    needs:  what it cannot do without, "" for nothing.
    source: authors, year, arXiv id.
    """

    name: str
    summary: str
    home: str
    source: str
    needs: str = ""

    def get(self) -> Any:
        """The class, or the function, itself."""
        module, _, name = self.home.partition(":")
        return getattr(import_module(f"decant.{module}"), name)


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """One decoding method: a drafter with the policy and the verifier that suit it, or a decoder of its own.

    drafter:  None decodes plainly, unless there is a decoder.
    policy:   the default, as `--policy` would spell it; "" where nothing is drafted.
    needs:    what it cannot do without: "a draft model", "tree masks", or "".
    verifier: the default, as `--verifier` would spell it.
    decoder:  of methods that are no draft-and-verify loop.
    head:     the kind of trained head, where it is not the drafter's own.
    """

    name: str
    summary: str
    source: str
    drafter: str | None = None
    policy: str = ""
    needs: str = ""
    verifier: str = DEFAULT_VERIFIER
    decoder: str | None = None
    head: str | None = None


Row = TypeVar("Row", Part, Recipe)


def _table(*rows: Row) -> Mapping[str, Row]:
    return {row.name: row for row in rows}


METHODS: Final = _table(
    Recipe("plain", "one token a step, the baseline of every ratio", "the definition of autoregressive decoding"),
    Recipe(
        "draft-model",
        "a smaller model of the same tokenizer guesses a chain",
        "Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318",
        drafter="draft-model",
        policy="fixed:depth=5",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "draft-tree",
        "a smaller model guesses a tree that follows its confidence, as EAGLE-2's does",
        "Li et al. 2024, arXiv:2406.16858; trees: Miao et al. 2023, arXiv:2305.09781",
        drafter="draft-model",
        policy="dynamic-tree",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "sequoia",
        "a smaller model fills the tree with the most tokens a second, by what was accepted and what rows cost",
        "Chen et al. 2024, arXiv:2402.12374",
        drafter="draft-model",
        policy="sequoia",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "dyspec",
        "a smaller model's draws grow a tree where the next one is likeliest to be needed",
        "Xiong et al. 2024, arXiv:2410.11744",
        drafter="draft-model",
        policy="dyspec",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "rsd-c",
        "a smaller model draws so many children a level, without replacement",
        "Jeon et al. 2024, arXiv:2402.14160",
        drafter="draft-model",
        policy="template:branches=3-2-1",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "rsd-s",
        "a smaller model draws so many whole paths abreast, without replacement",
        "Jeon et al. 2024, arXiv:2402.14160",
        drafter="draft-model",
        policy="stochastic-beam",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "spectr",
        "a smaller model draws several chains, judged together",
        "Sun et al. 2023, arXiv:2310.15141",
        drafter="draft-model",
        policy="chains",
        needs=NEEDS_DRAFT,
        verifier="k-seq",
    ),
    Recipe(
        "greedy-multi",
        "of a smaller model's children all but one are its likeliest, the last is drawn",
        "Hu et al. 2025, arXiv:2502.18779",
        drafter="draft-model",
        policy="template:branches=3-2-1:siblings=greedy_multi",
        needs=NEEDS_DRAFT,
        verifier="greedy-multi",
    ),
    Recipe(
        "shared-vocabulary",
        "a smaller model of another tokenizer guesses the tokens that both can write",
        "Timor et al. 2025, arXiv:2502.05202",
        drafter="shared-vocabulary",
        policy="fixed:depth=5",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "omnidraft",
        "a smaller model of another tokenizer guesses, two of its tokens may merge into one",
        "Ramakrishnan et al. 2025, arXiv:2507.02659",
        drafter="omnidraft",
        policy="fixed:depth=5",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "online",
        "a draft model that learns from every correction, between requests",
        "Liu et al. 2023, arXiv:2310.07177",
        drafter="online",
        policy="fixed:depth=5",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "prompt-lookup",
        "the text after an earlier occurrence of the last tokens is the guess",
        "Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding",
        drafter="prompt-lookup",
        policy="fixed:depth=5",
    ),
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
        drafter="eagle3",
        policy="dynamic-tree",
        needs=NEEDS_HEAD,
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
    Recipe(
        "token-recycling",
        "the best ids that the target once gave after each token make a tree",
        "Luo et al. 2024, arXiv:2408.08696",
        drafter="token-recycling",
        policy="fixed:depth=6",
        needs=NEEDS_TREES,
    ),
    Recipe(
        "jacobi",
        "every pass of the target refines a window of guesses, all positions at once",
        "Song et al. 2021, arXiv:2002.03629; Santilli et al. 2023, arXiv:2305.10427",
        drafter="jacobi",
        policy="fixed:depth=5",
    ),
    Recipe(
        "lookahead",
        "a window of Jacobi iterations rides along and leaves n-grams behind, which are the guesses",
        "Fu et al. 2024, arXiv:2402.02057",
        drafter="lookahead",
        policy="fixed:depth=5",
        needs=NEEDS_TREES,
    ),
    Recipe(
        "aded",
        "a table of trigrams, taught as the text is written and searched by Monte-Carlo tree search",
        "Liu et al. 2024, arXiv:2407.12021",
        drafter="aded",
        policy="fixed:depth=5",
        needs=NEEDS_TREES,
    ),
    Recipe(
        "suffix",
        "what followed the longest match, in this text and in all outputs before it (SuffixDecoding)",
        "Oliaro et al. 2024, arXiv:2411.04975",
        drafter="suffix",
        policy="fixed:depth=16",
        needs=NEEDS_TREES,
    ),
    Recipe(
        "retrieval",
        "what follows the last tokens in a datastore of texts (REST)",
        "He et al. 2023, arXiv:2311.08252",
        drafter="retrieval",
        policy="fixed:depth=10",
        needs=NEEDS_TREES,
    ),
    Recipe(
        "rasd",
        "matches in the text and in outputs before it, pruned by a draft model and joined to its guesses",
        "Quan et al. 2025, arXiv:2503.03434",
        drafter="fused",
        policy="fixed:depth=5",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "early-exit",
        "the target's own first layers guess, over its own cache",
        "Elhoushi et al. 2024, arXiv:2404.16710 (LayerSkip)",
        drafter="early-exit",
        policy="fixed:depth=4",
        needs=NEEDS_LAYERS,
    ),
    Recipe(
        "sorted-exits",
        "nested exits of the target guess; each token leaves at the first that is sure (S2D)",
        "Kavehzadeh et al. 2024, arXiv:2407.01955",
        drafter="sorted-exits",
        policy="fixed:depth=4",
        needs=NEEDS_LAYERS,
    ),
    Recipe(
        "del",
        "an early exit whose layer and depth follow what every layer would have said",
        "Entezari Zarch et al. 2025, arXiv:2504.05598",
        drafter="early-exit",
        policy="dynamic-exit",
        needs=NEEDS_LAYERS,
    ),
    Recipe(
        "ead",
        "two models of one tokenizer take turns: the target speaks while the text is uncertain",
        "Simonds 2025, arXiv:2502.06833",
        decoder="ead",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "r2r",
        "a learned router sends a small model's token to the target where it would lead elsewhere",
        "Fu et al. 2025, arXiv:2505.21600",
        decoder="r2r",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "bild",
        "a small model speaks until it is unsure; the target looks over it and goes on",
        "Kim et al. 2023, arXiv:2302.07863",
        decoder="bild",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "pearl",
        "the draft model writes on while the target verifies what it wrote before",
        "Liu et al. 2024, arXiv:2408.11850",
        decoder="pearl",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "superposed",
        "several drafts at one pass a token, fed with a mixture of their last tokens",
        "Shen et al. 2024, arXiv:2405.18400",
        decoder="superposed",
    ),
)
DRAFTERS: Final = _table(
    Part(
        "draft-model",
        "a smaller model guesses a chain",
        "drafters.draft_model:DraftModel",
        "Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "shared-vocabulary",
        "a model of another tokenizer, its law cut to the tokens that both can write",
        "drafters.shared_vocabulary:SharedVocabulary",
        "Timor et al. 2025, arXiv:2502.05202",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "omnidraft",
        "a model of another tokenizer, whose pairs of tokens may merge into one",
        "drafters.omnidraft:OmniDraft",
        "Ramakrishnan et al. 2025, arXiv:2507.02659",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "online",
        "a smaller model that is taught between requests",
        "drafters.online:Online",
        "Liu et al. 2023, arXiv:2310.07177",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "prompt-lookup",
        "what followed the last tokens before follows again",
        "drafters.prompt_lookup:PromptLookup",
        "Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding",
    ),
    Part(
        "medusa",
        "trained heads on the last state, one for each place further",
        "drafters.medusa:Medusa",
        "Cai et al. 2024, arXiv:2401.10774",
        needs=NEEDS_HEAD,
    ),
    Part(
        "eagle",
        "a trained layer that guesses the next state, token after token",
        "drafters.eagle:Eagle",
        "Li et al. 2024, arXiv:2401.15077; Li et al. 2024, arXiv:2406.16858",
        needs=NEEDS_HEAD,
    ),
    Part(
        "eagle3",
        "a trained layer over states of three depths",
        "drafters.eagle3:Eagle3",
        "Li et al. 2025, arXiv:2503.01840",
        needs=NEEDS_HEAD,
    ),
    Part(
        "parallel-prompt",
        "trained prompt tokens behind the nodes of a draft (PPD)",
        "drafters.parallel_prompt:ParallelPrompt",
        "Chen et al. 2024, arXiv:2405.18628",
        needs=NEEDS_HEAD,
    ),
    Part(
        "hidden-transfer",
        "pseudo states behind every node of a draft, made of a middle layer's",
        "drafters.hidden_transfer:HiddenTransfer",
        "Wu et al. 2024, arXiv:2404.12022",
        needs=NEEDS_HEAD,
    ),
    Part(
        "token-recycling",
        "a tree of the target's own earlier best ids",
        "drafters.token_recycling:TokenRecycling",
        "Luo et al. 2024, arXiv:2408.08696",
        needs=NEEDS_TREES,
    ),
    Part(
        "jacobi",
        "the target's own draws behind guesses that it refused",
        "drafters.jacobi:Jacobi",
        "Song et al. 2021, arXiv:2002.03629; Santilli et al. 2023, arXiv:2305.10427",
    ),
    Part(
        "lookahead",
        "n-grams that a window of probes beside the guesses leaves behind",
        "drafters.lookahead:Lookahead",
        "Fu et al. 2024, arXiv:2402.02057",
        needs=NEEDS_TREES,
    ),
    Part(
        "aded",
        "the paths that a search of a table of trigrams walks most",
        "drafters.aded:Aded",
        "Liu et al. 2024, arXiv:2407.12021",
        needs=NEEDS_TREES,
    ),
    Part(
        "suffix",
        "what followed matches in the text and in all outputs, counted",
        "drafters.suffix:Suffix",
        "Oliaro et al. 2024, arXiv:2411.04975",
        needs=NEEDS_TREES,
    ),
    Part(
        "retrieval",
        "what followed matches in a datastore, counted",
        "drafters.retrieval:Retrieval",
        "He et al. 2023, arXiv:2311.08252",
        needs=NEEDS_TREES,
    ),
    Part(
        "fused",
        "the tree of one drafter and what another found beside it",
        "drafters.fused:Fused",
        "Quan et al. 2025, arXiv:2503.03434",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "early-exit",
        "the target's own first layers, with its norm and head",
        "drafters.early_exit:EarlyExit",
        "Elhoushi et al. 2024, arXiv:2404.16710 (LayerSkip)",
        needs=NEEDS_LAYERS,
    ),
    Part(
        "sorted-exits",
        "nested exits of the target; each token leaves at the first that is sure",
        "drafters.sorted_exits:SortedExits",
        "Kavehzadeh et al. 2024, arXiv:2407.01955",
        needs=NEEDS_LAYERS,
    ),
)
VERIFIERS: Final = _table(
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
POLICIES: Final = _table(
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
DECODERS: Final = _table(
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
        "superposed",
        "several drafts at one pass a token, fed with a mixture of their last tokens",
        "decoders.superposed:Superposed",
        "Shen et al. 2024, arXiv:2405.18400",
    ),
)
SAMPLERS: Final = _table(
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
CONSTRAINTS: Final = _table(
    Part(
        "unconstrained",
        "everything may come next",
        "constraints.unconstrained:Unconstrained",
        "the neutral element of the Constraint seam",
    ),
)

RECIPES: Final = _table(
    Part(
        "medusa",
        "heads on the last state, each guessing one place further",
        "distill.heads.medusa:Medusa",
        "Cai et al. 2024, arXiv:2401.10774",
    ),
    Part(
        "eagle",
        "one layer that guesses the next state, token after token",
        "distill.heads.eagle:Eagle",
        "Li et al. 2024, arXiv:2401.15077; Zhang et al. 2024, arXiv:2408.15766",
    ),
    Part(
        "eagle3",
        "one layer over states of three depths, taught on what it feeds itself",
        "distill.heads.eagle3:Eagle3",
        "Li et al. 2025, arXiv:2503.01840",
    ),
    Part(
        "fspad",
        "EAGLE's layer, states sampled with the token that was drawn, logits from a branch",
        "distill.heads.fspad:Fspad",
        "Gui et al. 2024, arXiv:2408.15562",
    ),
    Part(
        "falcon",
        "an LSTM and one layer that guess a block of states at a time, taught by glances at the answer",
        "distill.heads.falcon:Falcon",
        "Gao et al. 2024, arXiv:2412.12639; Qian et al. 2020, arXiv:2008.07905",
    ),
    Part(
        "chimera",
        "one layer that fuses the last three tokens with the target's states of all before",
        "distill.heads.chimera:Chimera",
        "Zeng et al. 2024, arXiv:2402.15758",
    ),
    Part(
        "ppd",
        "prompt tokens: a few embeddings that stand for tokens to come",
        "distill.heads.ppd:Ppd",
        "Chen et al. 2024, arXiv:2405.18628",
    ),
    Part(
        "hidden-transfer",
        "matrices that make states of tokens to come out of a middle layer's",
        "distill.heads.hidden_transfer:HiddenTransfer",
        "Wu et al. 2024, arXiv:2404.12022",
    ),
)
"""What `decant distill` teaches."""


def pick(table: Mapping[str, Row], name: str, role: str) -> Row:
    """The row called `name`, or UnknownMethod with the nearest ones."""
    if name in table:
        return table[name]
    near = get_close_matches(name.replace("_", "-"), table, n=3)
    said = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(table))}"
    raise UnknownMethod(f"no {role} is called {name!r}; {said}")


def knobs_for(recipe: Recipe, policy: str | None = None) -> tuple[Kinds, Kinds]:
    """The knobs of a recipe's drafter, and those of the policy that paces it; or those of its decoder, and none."""
    if recipe.decoder is not None:
        return knobs_of(pick(DECODERS, recipe.decoder, "decoder").get(), dict.fromkeys(WIRED)), {}
    if recipe.drafter is None:
        return {}, {}
    drafter = pick(DRAFTERS, recipe.drafter, "drafter").get()
    pace = pick(POLICIES, split(policy or recipe.policy).name, "policy").get()
    return knobs_of(drafter, dict.fromkeys(WIRED)), knobs_of(pace)


def check(specs: Iterable[str], verifier: str | None = None, policy: str | None = None) -> None:
    """Raise for a name or a knob that is in no table, before a model is loaded; a knob imports the part it sets."""
    for table, role, spec in ((VERIFIERS, "verifier", verifier), (POLICIES, "policy", policy)):
        if spec is not None:
            part = pick(table, split(spec).name, role)
            if split(spec).knobs:
                values_of(split(spec), knobs_of(part.get()))
    for spec in specs:
        wanted = split(spec)
        recipe = pick(METHODS, wanted.name, "method")
        if wanted.knobs:
            mine, his = knobs_for(recipe, policy)
            values_of(wanted.parted(mine, his)[0], mine)
            values_of(wanted.parted(mine, his)[1], his)

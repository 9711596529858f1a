"""Who guesses."""

from typing import Final

from decant.apps.catalog.rows import NEEDS_DRAFT, NEEDS_HEAD, NEEDS_LAYERS, NEEDS_TREES, Part, table

DRAFTERS: Final = table(
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
        "speculative-jacobi",
        "draws from what the target said behind refused guesses, handed over with their laws (SJD)",
        "drafters.speculative_jacobi:SpeculativeJacobi",
        "Teng et al. 2024, arXiv:2410.01699; So et al. 2025, arXiv:2510.24211",
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

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
    Part(
        "top-h",
        "the likeliest tokens, up to a share of the entropy",
        "samplers.top_h:top_h",
        "Baghaei Potraghloo et al. 2025, arXiv:2509.02510",
    ),
    Part(
        "typical",
        "tokens about as surprising as expected",
        "samplers.typical:typical",
        "Meister et al. 2022, arXiv:2202.00666",
    ),
    Part("eta", "a least probability, lower for flat laws", "samplers.eta:eta", "Hewitt et al. 2022, arXiv:2210.15191"),
    Part("epsilon", "a least probability", "samplers.epsilon:epsilon", "Hewitt et al. 2022, arXiv:2210.15191"),
    Part(
        "top-n-sigma",
        "logits within n standard deviations of the largest",
        "samplers.top_n_sigma:top_n_sigma",
        "Tang et al. 2024, arXiv:2411.07641",
    ),
    Part(
        "xtc",
        "at times, the top choices but the least of them left out",
        "samplers.xtc:xtc",
        "Weidmann 2024, text-generation-webui pull request 6335",
    ),
    Part("chain", "several of these, left to right", "samplers.chain:chain", "Leviathan et al. 2023, arXiv:2211.17192"),
)
CONSTRAINTS: Final = table(
    Part(
        "repetition-penalty",
        "what was said, in the prompt too, counts less",
        "constraints.repetition_penalty:RepetitionPenalty",
        "Keskar et al. 2019, arXiv:1909.05858",
    ),
    Part(
        "presence-penalty",
        "what the output said loses the same, once",
        "constraints.presence_penalty:PresencePenalty",
        "OpenAI's API reference, presence_penalty",
    ),
    Part(
        "frequency-penalty",
        "what the output said loses the more the oftener",
        "constraints.frequency_penalty:FrequencyPenalty",
        "OpenAI's API reference, frequency_penalty",
    ),
    Part(
        "dry",
        "what would lengthen a repetition loses the more the longer that is",
        "constraints.dry:DRY",
        "p-e-w 2024, github.com/oobabooga/text-generation-webui/pull/5677",
    ),
    Part(
        "no-repeat-ngram",
        "no run of so many tokens comes twice",
        "constraints.no_repeat_ngram:NoRepeatNGram",
        "Paulus et al. 2017, arXiv:1705.04304",
    ),
    Part(
        "logit-bias",
        "something is added to chosen tokens",
        "constraints.logit_bias:LogitBias",
        "OpenAI's API reference, logit_bias",
    ),
    Part(
        "bad-words",
        "some sequences of tokens are never completed",
        "constraints.bad_words:BadWords",
        "the `bad_words_ids` of transformers",
    ),
    Part(
        "grammar",
        "a JSON schema, a regular expression, a Lark grammar or a choice",
        "constraints.grammar:Grammar",
        "Moskal et al. 2024, github.com/guidance-ai/llguidance; Willard & Louf 2023, arXiv:2307.09702",
    ),
    Part(
        "mirostat",
        "the tail is cut so far that the mean surprise settles at tau bits",
        "constraints.mirostat:Mirostat",
        "Basu et al. 2021, arXiv:2007.14966",
    ),
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

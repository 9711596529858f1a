"""Speculation under a constraint with a history says, token for token, what plain decoding says under it."""

import pytest

from decant.constraints.bad_words import BadWords
from decant.constraints.dry import DRY
from decant.constraints.frequency_penalty import FrequencyPenalty
from decant.constraints.logit_bias import LogitBias
from decant.constraints.no_repeat_ngram import NoRepeatNGram
from decant.constraints.presence_penalty import PresencePenalty
from decant.constraints.repetition_penalty import RepetitionPenalty
from decant.constraints.several import Several
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import generate, right_pad
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.verifiers.coupled import Coupled
from tests.decoders.checks import LM, PROMPTS, SEEDS, SMALL

CONSTRAINTS = [
    RepetitionPenalty(1.4),
    PresencePenalty(1.5),
    FrequencyPenalty(0.7),
    DRY(1.5, 1.75, 1, (3,)),
    DRY(1.0, 2.0, 2, (), 12),
    NoRepeatNGram(2),
    LogitBias(((2, -4.0), (5, 1.5))),
    BadWords(((1, 2), (7,), (0, 0, 4))),
    Several((RepetitionPenalty(1.2), NoRepeatNGram(3), DRY(allowed_length=1))),
]
COMPOSED = {
    "token-recycling": (TokenRecycling(top=3, nodes=9), Fixed(depth=4)),
    "draft-model, a tree": (DraftModel(SMALL), Fixed(depth=3, width=2, budget=7)),
    "prompt-lookup": (PromptLookup(), Fixed(depth=4)),
}
WARPS = {"greedy": greedy(), "T=0.9": temperature(0.9)}


def said(decoder) -> tuple[list[list[int]], int]:
    """The texts, and how many of their tokens were guessed. Requests end apart, so that the batch shrinks."""
    stopping = [Stopping(most) for most in (30, 18, 24)]
    outputs = generate(decoder, right_pad(PROMPTS), Noise.of(SEEDS), stopping).outputs
    return [output.tokens for output in outputs], sum(sum(output.drafted) for output in outputs)


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=repr)
def test_the_same_tokens_as_plain_decoding(constraint, warp: str) -> None:
    plain, _ = said(Autoregressive(LM, WARPS[warp], constraint))
    free, _ = said(Autoregressive(LM, WARPS[warp], Unconstrained()))
    assert plain != free, "a constraint that changes nothing shows nothing"
    for name, (drafter, policy) in COMPOSED.items():
        texts, guessed = said(Speculative(LM, drafter, Coupled(), policy, WARPS[warp], constraint))
        assert texts == plain, name
        # Prompt lookup guesses repetitions, which some of these forbid.
        assert guessed > 0 or name == "prompt-lookup", f"{name}: nothing guessed, nothing shown"

"""The crank: requests of different ends in one batch, each the same as alone."""

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import generate, right_pad, stream
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.errors import IncompatibleParts
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection

TARGET = MarkovLM.random(vocab=7, seed=3)
PROMPTS = [[1, 2, 3, 1, 2], [4], [0, 5, 0]]
STOPPING = [Stopping(9), Stopping(4), Stopping(30, frozenset({6}))]


def decoders(warp):
    yield Autoregressive(TARGET, warp, Unconstrained())
    for drafter in (PromptLookup(), TokenRecycling()):
        yield Speculative(TARGET, drafter, Coupled(), Fixed(4), warp, Unconstrained())


@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "sampled"])
def test_a_batch_says_what_its_requests_say_alone(warp):
    want = None
    for decoder in decoders(warp):
        together = [
            output.tokens for output in generate(decoder, right_pad(PROMPTS), Noise.of([1, 2, 3]), STOPPING).outputs
        ]
        alone = [
            generate(decoder, right_pad([prompt]), Noise.of([seed]), [stopping]).outputs[0].tokens
            for prompt, seed, stopping in zip(PROMPTS, (1, 2, 3), STOPPING, strict=True)
        ]
        assert together == alone
        want = want or together
        assert together == want, "a drafter changed the text"
    assert [len(tokens) for tokens in want[:2]] == [9, 4]


def test_outputs_say_what_was_drafted_and_why_they_ended():
    decoder = Speculative(TARGET, PromptLookup(), Coupled(), Fixed(4), greedy(), Unconstrained())
    turns = list(stream(decoder, right_pad(PROMPTS), Noise.of([0, 0, 0]), STOPPING))
    outputs = turns[-1].outputs
    assert all(len(output.drafted) == len(output.tokens) for output in outputs)
    assert {output.reason for output in outputs} <= {"length", "stop"}
    assert outputs[0].reason == "length"
    assert any(any(output.drafted) for output in outputs)
    assert len(turns) < 30, "drafting saved nothing at all"


class NoTrees:
    """A target that scores chains only."""

    trees = False
    vocab = TARGET.vocab
    start, score, commit, tokens = TARGET.start, TARGET.score, TARGET.commit, TARGET.tokens


def first_step(target, drafter, verifier):
    decoder = Speculative(target, drafter, verifier, Fixed(3), greedy(), Unconstrained())
    return decoder.step(decoder.start(torch.tensor([[1, 2, 1]]), Noise.of([0])))


def test_parts_that_never_fit_are_refused_before_the_first_token():
    with pytest.raises(IncompatibleParts, match="TokenRecycling drafts trees, but this NoTrees model cannot score one"):
        first_step(NoTrees(), TokenRecycling(), Coupled())
    with pytest.raises(IncompatibleParts, match="Rejection verifies chains, but TokenRecycling drafted a tree"):
        first_step(TARGET, TokenRecycling(), Rejection())
    with pytest.raises(IncompatibleParts, match="Rejection cannot judge without replacement siblings"):
        first_step(TARGET, Mislabelled(), Rejection())


class Mislabelled:
    """A chain whose siblings were drawn without replacement."""

    taps = PromptLookup().taps
    start, observe = PromptLookup().start, PromptLookup().observe

    def draft(self, state, shape, warp, noise, context):
        from dataclasses import replace

        return replace(PromptLookup().draft(state, shape, warp, noise, context), siblings="without_replacement")

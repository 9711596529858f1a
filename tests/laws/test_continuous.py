"""Every decoder says the same in company as alone, whenever its neighbours come and go."""

from dataclasses import dataclass, replace

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.policies.additive import Additive
from decant.policies.fixed import Fixed
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_continuous
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled

LM = MarkovLM.random(vocab=4, seed=3)
SMALL = LM.blurred(seed=4)
WARPS = {"greedy": greedy(), "T=1": temperature(1.0)}
DRAFTERS = {
    "prompt-lookup": PromptLookup(),
    "token-recycling": TokenRecycling(top=3, nodes=9),
    "draft-model": DraftModel(SMALL),
}


def speculative(drafter, warp, policy=Fixed(3)) -> Speculative:  # noqa: B008  (frozen)
    return Speculative(LM, drafter, Coupled(), policy, warp, Unconstrained())


@pytest.mark.parametrize("warp", WARPS)
def test_plain_decoding(warp: str) -> None:
    check_continuous(Autoregressive(LM, WARPS[warp], Unconstrained()))


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("policy", [Fixed(3), Additive()], ids=repr)
def test_speculative_decoding(drafter: str, warp: str, policy) -> None:
    check_continuous(speculative(DRAFTERS[drafter], WARPS[warp], policy))


@dataclass(frozen=True)
class Forgetful:
    """A decoder that mixes its requests up in one way."""

    mistake: str
    inner: Speculative = speculative(DRAFTERS["draft-model"], WARPS["T=1"])  # noqa: RUF009  (frozen)

    def start(self, prompt_BT, noise):
        return self.inner.start(prompt_BT, noise)

    def step(self, state):
        noise, root_B = state.noise, state.noise.root_B
        if self.mistake == "a seed of the batch":
            noise = replace(noise, seed_B=noise.seed_B[:1].expand_as(noise.seed_B))
        if self.mistake == "noise of the batch's age":
            noise = replace(noise, root_B=root_B.max().expand_as(root_B))
        after, step = self.inner.step(replace(state, noise=noise))
        off_B = root_B - noise.root_B  # what is said keeps its place: without it a request would never end
        step = replace(step, positions_BC=step.positions_BC + off_B[:, None])
        after = replace(after, noise=after.noise.advance(off_B))
        if self.mistake == "a neighbour's text":
            after = replace(after, context=replace(after.context, tokens_BT=after.context.tokens_BT.roll(1, 0)))
        return after, step


@pytest.mark.parametrize("mistake", ["a seed of the batch", "noise of the batch's age", "a neighbour's text"])
def test_a_planted_mix_up_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError, match=r"says .* in company"):
        check_continuous(Forgetful(mistake))


def test_requests_that_never_end_are_caught() -> None:

    silent = Autoregressive(LM, greedy(), Unconstrained())

    @dataclass(frozen=True)
    class Mute:
        def start(self, prompt_BT, noise):
            return silent.start(prompt_BT, noise)

        def step(self, state):
            after, step = silent.step(state)
            return after, replace(step, tokens_BC=torch.full_like(step.tokens_BC, -1))

    with pytest.raises(AssertionError, match="does not end"):
        check_continuous(Mute(), asked=[([0], 1, 4), ([1], 2, 3)])

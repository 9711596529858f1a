"""R2R obeys its card: the router looks at what the small model thought of its own token, and the target answers."""

import math
from dataclasses import dataclass, field

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.r2r import R2R
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_continuous, check_decoder
from tests.decoders.checks import (
    LM,
    PROMPTS,
    SEEDS,
    SMALL,
    Forbids,
    alone_or_together,
    ever_said,
    like_fresh,
    run,
    texts,
)

FREE = Unconstrained()
WARPS = {"greedy": greedy(), "T=0.7": temperature(0.7)}


@dataclass(frozen=True)
class Odd:
    """Sends odd proposals to the target."""

    threshold: float = 0.5
    seen: list = field(default_factory=list)

    def __call__(self, hidden_BD, logits_BV, tokens_B):
        self.seen.append((hidden_BD, logits_BV, tokens_B))
        return (tokens_B % 2).float() * 4 - 2


@dataclass(frozen=True)
class Counted:
    """A model, and how many requests were scored by it."""

    inner: object
    scored: list = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def score(self, context, draft):
        self.scored.append(len(draft.tokens_BN))
        return self.inner.score(context, draft)


def by_hand(prompt: list[int], seed: int, most: int) -> tuple[list[int], list[bool]]:
    """The card in plain Python: the text, and where the target spoke."""
    text, asked = list(prompt), []
    for position in range(most):
        before = text[-2] if len(text) > 1 else LM.vocab
        noise = Noise(torch.tensor([seed]), torch.tensor([position]))
        said = [
            int(noise.draw(temperature(0.7)(model.logits_UVV[before, text[-1]]).softmax(-1)[None], torch.tensor([0])))
            for model in (SMALL, LM)
        ]
        asked.append(said[0] % 2 == 1)
        text.append(said[1] if asked[-1] else said[0])
    return text[len(prompt) :], asked


@pytest.mark.parametrize("warp", WARPS)
def test_a_threshold_above_one_is_the_small_model_alone(warp: str) -> None:
    check_decoder(R2R(LM, SMALL, Odd(), WARPS[warp], FREE, 1.01), Autoregressive(SMALL, WARPS[warp], FREE))


@pytest.mark.parametrize("warp", WARPS)
def test_a_threshold_of_zero_is_the_target_alone(warp: str) -> None:
    check_decoder(R2R(LM, SMALL, Odd(), WARPS[warp], FREE, 0.0), Autoregressive(LM, WARPS[warp], FREE))


def test_it_is_the_card_token_by_token() -> None:
    wanted = [by_hand(prompt, seed, 40) for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]
    decoder = R2R(LM, SMALL, Odd(), WARPS["T=0.7"], FREE)
    assert decoder.threshold == Odd().threshold
    assert texts(decoder) == [text for text, _ in wanted]
    assert texts(decoder) != texts(R2R(LM, SMALL, Odd(), WARPS["T=0.7"], FREE, 1.01))
    _, _, guessed = run(decoder, PROMPTS, 40)
    assert [[not step[request][0] for step in guessed] for request in range(3)] == [asked for _, asked in wanted]


def test_the_target_computes_for_what_is_routed_and_nothing_else() -> None:
    target = Counted(LM)
    _, _, guessed = run(R2R(target, SMALL, Odd(), WARPS["T=0.7"], FREE), PROMPTS, 30)
    routed = sum(not said[0] for step in guessed for said in step)
    assert sum(target.scored) == routed
    assert 0 < routed < 90


def test_the_router_sees_the_small_models_own_thoughts_of_its_own_proposal() -> None:
    router = Odd()
    _, held, _ = run(R2R(LM, SMALL, router, greedy(), FREE), PROMPTS[:1], 12)
    for at, (hidden_BD, logits_BV, tokens_B) in enumerate(router.seen):
        *_, before, root = held[0][: len(PROMPTS[0]) + at]
        torch.testing.assert_close(logits_BV[0], SMALL.logits_UVV[before, root])
        assert tokens_B.item() == int(logits_BV.argmax()), "the proposal, not what was said in the end"
        assert hidden_BD[0].argmax() == (root - 1) % LM.vocab, "the last layer's state at the root"


def test_the_routers_own_threshold_counts_where_none_is_given() -> None:
    never, always = Odd(1.1), Odd(0.0)
    warp = greedy()
    assert texts(R2R(LM, SMALL, never, warp, FREE)) == texts(Autoregressive(SMALL, warp, FREE))
    assert texts(R2R(LM, SMALL, always, warp, FREE)) == texts(Autoregressive(LM, warp, FREE))
    assert texts(R2R(LM, SMALL, always, warp, FREE, math.inf)) == texts(Autoregressive(SMALL, warp, FREE))


def test_a_batch_is_its_requests() -> None:
    alone_or_together(R2R(LM, SMALL, Odd(), WARPS["T=0.7"], FREE))


def test_caches_are_those_of_a_fresh_start(pair) -> None:
    target, small = pair
    decoder = R2R(target, small, Odd(), greedy(), FREE)
    for steps in (1, 2, 5, 11):
        state, held, _ = run(decoder, PROMPTS, steps)
        like_fresh(target, state.large, held)
        like_fresh(small, state.small, held)


def test_what_is_forbidden_is_said_by_neither() -> None:
    assert 2 not in ever_said(R2R(LM, SMALL, Odd(), WARPS["T=0.7"], Forbids(2)))
    assert 2 in ever_said(R2R(LM, SMALL, Odd(), WARPS["T=0.7"], FREE))


def test_requests_come_and_go(pair) -> None:
    check_continuous(R2R(*pair, Odd(), WARPS["T=0.7"], FREE))

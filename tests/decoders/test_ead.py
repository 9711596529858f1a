"""EAD obeys its card: the rolling entropy of who speaks decides who speaks next."""

import math
from itertools import groupby

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.ead import EAD
from decant.decoders.speakers import entropy
from decant.errors import BadInput
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


def ead(threshold: float, warp=WARPS["T=0.7"], **knobs) -> EAD:
    return EAD(LM, SMALL, warp, FREE, threshold, **knobs)


def by_hand(prompt: list[int], seed: int, most: int, base: float = 2.0) -> tuple[list[int], list[bool]]:
    """The card in plain Python, threshold 1.8, window 3, dwell 2: the text, and where the small model spoke."""
    text, bits, since, large, small_said = list(prompt), [], 0, False, []
    for position in range(most):
        before = text[-2] if len(text) > 1 else LM.vocab
        logits_V = (LM if large else SMALL).logits_UVV[before, text[-1]]
        law = logits_V.softmax(-1).tolist()
        noise = Noise(torch.tensor([seed]), torch.tensor([position]))
        token = int(
            noise.draw(temperature(0.7)(logits_V).softmax(-1)[None, None], torch.zeros(1, 1, dtype=torch.int64))
        )
        text.append(token)
        small_said.append(not large)
        bits.append(-sum(p * math.log(p, base) for p in law))
        since += 1
        wants = sum(bits[-3:]) / len(bits[-3:]) > 1.8
        if since >= 2 and wants != large:
            large, since = wants, 0
    return text[len(prompt) :], small_said


@pytest.mark.parametrize("warp", WARPS)
def test_no_threshold_is_the_small_model_alone(warp: str) -> None:
    check_decoder(ead(math.inf, WARPS[warp]), Autoregressive(SMALL, WARPS[warp], FREE))


def test_every_threshold_crossed_is_the_target_after_the_dwell() -> None:
    warp = WARPS["T=0.7"]
    said = texts(ead(-math.inf, dwell=4))
    first = texts(Autoregressive(SMALL, warp, FREE), most=4)
    for request, (prompt, start) in enumerate(zip(PROMPTS, first, strict=True)):
        assert said[request][:4] == start
        state = Autoregressive(LM, warp, FREE).start(
            torch.tensor([[*prompt, *start]]), Noise(torch.tensor([SEEDS[request]]), torch.tensor([4]))
        )
        for token in said[request][4:]:
            state, step = Autoregressive(LM, warp, FREE).step(state)
            assert step.tokens_BC.tolist() == [[token]]


@pytest.mark.parametrize(("request_", "prompt"), list(enumerate(PROMPTS)))
def test_it_is_the_card_token_by_token(request_: int, prompt: list[int]) -> None:
    decoder = ead(1.8, window=3, dwell=2)
    wanted, small_said = by_hand(prompt, SEEDS[request_], 60)
    assert texts(decoder, most=60)[request_] == wanted
    _, _, guessed = run(decoder, PROMPTS, 60)
    assert [step[request_][0] for step in guessed] == small_said
    assert 5 < sum(small_said) < 55, "both speak"
    stretches = [len(list(group)) for _, group in groupby(small_said)]
    assert min(stretches[:-1]) >= 2, "nobody speaks shorter than the dwell"


def test_nats_would_give_another_text() -> None:
    wrong = [by_hand(prompt, seed, 60, math.e)[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]
    assert texts(ead(1.8, window=3, dwell=2), most=60) != wrong


def test_entropy_is_in_bits() -> None:
    assert entropy(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -math.inf, -math.inf, -math.inf]])).tolist() == [2.0, 0.0]


def test_a_batch_is_its_requests() -> None:
    alone_or_together(ead(1.8, window=3, dwell=2))


def test_caches_are_those_of_a_fresh_start_after_every_switch(pair) -> None:
    target, small = pair
    decoder = EAD(target, small, WARPS["T=0.7"], FREE, 1.5, window=1, dwell=2)
    _, _, guessed = run(decoder, PROMPTS, 24)
    changes = [at for at in range(1, 24) if guessed[at] != guessed[at - 1]]
    assert len(changes) > 2, "there are switches"
    for steps in changes:
        state, held, _ = run(decoder, PROMPTS, steps + 1)
        like_fresh(target, state.large, held)
        like_fresh(small, state.small, held)


def test_what_is_forbidden_is_said_by_neither() -> None:
    decoder = EAD(LM, SMALL, WARPS["T=0.7"], Forbids(2), 1.8, 3, 2)
    assert 2 not in ever_said(decoder)
    assert 2 in ever_said(ead(1.8, window=3, dwell=2))


@pytest.mark.parametrize("knobs", [{"window": 0}, {"dwell": -1}])
def test_impossible_knobs_are_refused(knobs: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="at least 1 token and a dwell of at least 0"):
        ead(1.0, **knobs)


def test_requests_come_and_go(pair) -> None:
    check_continuous(EAD(*pair, WARPS["T=0.7"], FREE, 1.5, window=2, dwell=1))

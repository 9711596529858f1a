"""BiLD obeys its card: who hands over when, and what is rolled back."""

import math

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.bild import BiLD
from decant.errors import BadInput
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_continuous, check_decoder
from tests.decoders.checks import LM, PROMPTS, SMALL, Forbids, alone_or_together, ever_said, like_fresh, run, texts

FREE = Unconstrained()
WARPS = {"greedy": greedy(), "T=0.7": temperature(0.7)}


def bild(
    fallback: float = 0.2, rollback: float = 2.0, most: int = 10, warp=WARPS["greedy"], target=LM, small=SMALL
) -> BiLD:
    return BiLD(target, small, warp, FREE, fallback, rollback, most)


def said(model, text: list[int]) -> torch.Tensor:
    return model.logits_UVV[text[-2] if len(text) > 1 else LM.vocab, text[-1]]


def by_hand(prompt: list[int], most: int, rollback: float, ordered: bool = True) -> list[int]:
    """The card in plain Python at temperature zero, fallback 0.2, runs of ten; ordered: the first bad token counts."""
    text = [*prompt, int(said(LM, prompt).argmax())]
    while len(text) < len(prompt) + most:
        run: list[int] = []
        while len(run) < 10 and said(SMALL, text + run).softmax(-1).max() >= 0.2:
            run.append(int(said(SMALL, text + run).argmax()))
        bad = [
            at
            for at, token in enumerate(run)
            if -said(LM, text + run[:at]).log_softmax(-1)[token] > rollback
            and said(LM, text + run[:at]).argmax() != token
        ]
        run = run[: bad[0 if ordered else -1]] if bad else run
        text += [*run, int(said(LM, text + run).argmax())]
    return text[len(prompt) : len(prompt) + most]


@pytest.mark.parametrize("rollback", [0.5, 1.5, 3.0, math.inf])
def test_it_is_the_card_token_by_token(rollback: float) -> None:
    assert texts(bild(rollback=rollback)) == [by_hand(prompt, 40, rollback) for prompt in PROMPTS]


def test_the_last_bad_token_instead_of_the_first_would_give_another_text() -> None:
    assert texts(bild(rollback=0.5)) != [by_hand(prompt, 40, 0.5, ordered=False) for prompt in PROMPTS]


@pytest.mark.parametrize("warp", WARPS)
def test_a_rollback_of_everything_is_the_target_alone(warp: str) -> None:
    check_decoder(bild(0.0, 0.0, warp=WARPS[warp]), Autoregressive(LM, WARPS[warp], FREE))


def test_no_threshold_is_the_small_model_with_a_word_of_the_target_after_each_ten() -> None:
    _, held, guessed = run(bild(0.0, math.inf), PROMPTS, 4)
    assert guessed[0] == [[False]] * 3, "the first token is the target's"
    assert guessed[1:] == [[[True] * 10 + [False]] * 3] * 3
    for prompt, text in zip(PROMPTS, held, strict=True):
        for at in range(len(prompt), len(text)):
            model = LM if (at - len(prompt)) % 11 == 0 else SMALL
            assert text[at] == int(said(model, text[:at]).argmax())


def test_a_small_model_that_is_the_target_changes_nothing() -> None:
    check_decoder(bild(small=LM), Autoregressive(LM, greedy(), FREE))


def test_an_unsure_token_is_not_proposed() -> None:
    check_decoder(bild(1.0, math.inf), Autoregressive(LM, greedy(), FREE))


def test_a_batch_is_its_requests() -> None:
    alone_or_together(bild(warp=WARPS["T=0.7"]))


def test_caches_are_those_of_a_fresh_start_after_a_rollback(pair) -> None:
    target, small = pair
    decoder = bild(0.2, 1.0, target=target, small=small)
    rolled_back = 0
    for steps in range(1, 8):
        state, held, guessed = run(decoder, PROMPTS, steps)
        rolled_back += steps > 1 and len({tuple(row) for row in guessed[-1]}) > 1
        like_fresh(target, state.large, held)
        like_fresh(small, state.small, held)
    assert rolled_back, "requests keep runs of different lengths"


@pytest.mark.parametrize("rollback", [5.0, math.inf])
def test_what_is_forbidden_is_rolled_back_at_every_threshold(rollback: float) -> None:
    decoder = BiLD(LM, SMALL, WARPS["T=0.7"], Forbids(2), 0.0, rollback)
    assert 2 not in ever_said(decoder)
    assert 2 in ever_said(bild(0.0, rollback, warp=WARPS["T=0.7"]))


@pytest.mark.parametrize("knobs", [{"fallback": 1.5}, {"rollback": -1.0}, {"rollback": math.nan}, {"most": -1}])
def test_impossible_knobs_are_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="bild needs a fallback"):
        bild(**knobs)


def test_requests_come_and_go(pair) -> None:
    check_continuous(BiLD(*pair, WARPS["T=0.7"], FREE, 0.3, 2.0, 3))

"""Momentum decoding obeys its card: resistance grows with the run that a token would repeat."""

import math

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import right_pad
from decant.decoders.momentum import TABLES, Momentum, runs
from decant.errors import BadInput
from decant.samplers.greedy import greedy
from decant.testing.laws import check_continuous
from tests.decoders.checks import LM, PROMPTS, Forbids, alone_or_together, like_fresh, run, texts

FREE = Unconstrained()


def run_of(text: list[int], token: int, longest: int) -> int:
    """The card's r in plain Python."""
    for size in range(longest, 0, -1):
        gram = [*text[len(text) - size + 1 :], token]
        if size <= len(text) + 1 and any(text[at : at + size] == gram for at in range(len(text) - size + 1)):
            return size
    return 0


def by_hand(prompt: list[int], most: int, alpha: float, top_k: int, table: tuple[float, ...]) -> list[int]:
    """The card in plain Python."""
    text = list(prompt)
    for _ in range(most):
        logits_V = LM.logits_UVV[text[-2] if len(text) > 1 else LM.vocab, text[-1]]
        law_K, ids_K = logits_V.softmax(-1).topk(top_k)
        liked = [
            p - alpha * table[run_of(text, v, len(table) - 1)]
            for p, v in zip(law_K.tolist(), ids_K.tolist(), strict=True)
        ]
        text.append(int(ids_K[liked.index(max(liked))]))
    return text[len(prompt) :]


def fives(text: list[int]) -> list[tuple[int, ...]]:
    return [tuple(text[at : at + 5]) for at in range(len(text) - 4)]


def test_runs_are_counted_as_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, (count,), generator=generator).tolist() for count in (1, 2, 3, 7, 30, 30)] + [[1] * 9]
    for longest in (1, 2, 5, 6):
        found_BV = runs(right_pad(rows), 4, longest)
        assert found_BV.tolist() == [[run_of(row, token, longest) for token in range(4)] for row in rows]


@pytest.mark.parametrize("resistance", TABLES)
def test_it_is_the_card_token_by_token(resistance) -> None:
    decoder = Momentum(LM, FREE, resistance=resistance)
    assert texts(decoder, most=25) == [by_hand(prompt, 25, 0.2, 5, TABLES[resistance]) for prompt in PROMPTS]


def test_alpha_zero_is_greedy_and_so_is_one_candidate() -> None:
    plain = texts(Autoregressive(LM, greedy(), FREE))
    assert texts(Momentum(LM, FREE, alpha=0.0)) == plain
    assert texts(Momentum(LM, FREE, top_k=1)) == plain


@pytest.mark.parametrize(("resistance", "longest"), [("blocks", 5), ("linear", 6)])
def test_no_five_tokens_come_twice(resistance, longest: int) -> None:
    """Given candidates enough; greedy decoding repeats itself at once."""
    for prompt, text in zip(PROMPTS, texts(Momentum(LM, FREE, top_k=11, resistance=resistance), most=80), strict=True):
        whole = prompt + text
        grams = [tuple(whole[at : at + longest]) for at in range(len(whole) - longest + 1)]
        assert len(set(grams)) == len(grams)
    plain = texts(Autoregressive(LM, greedy(), FREE), most=80)
    assert all(len(set(fives(text))) < 30 for text in plain)


def test_where_all_are_blocked_the_likeliest_is_taken() -> None:
    text = texts(Momentum(LM, FREE, top_k=1), most=40)[0]
    assert len(set(fives(text))) < len(fives(text))


def test_a_forbidden_token_is_not_said_though_it_repeats_nothing() -> None:
    """Without the mask behind the resistance this says the token: p 0 and resistance 0 beat all that repeat."""
    for token in (6, 5):
        said = texts(Momentum(LM, Forbids(token), top_k=11, resistance="constant", alpha=50.0), most=60)
        assert all(token not in text for text in said)


def test_a_batch_is_its_requests(pair) -> None:
    alone_or_together(Momentum(LM, FREE))
    alone_or_together(Momentum(pair[0], FREE), most=20)


def test_one_call_a_step_and_nothing_left_behind(pair) -> None:
    state, held, guessed = run(Momentum(pair[0], FREE), PROMPTS, 6)
    like_fresh(pair[0], state.context, held)
    assert state.noise.root_B.tolist() == [6, 6, 6]
    assert guessed == [[[False]] * 3] * 6


def test_requests_come_and_go() -> None:
    check_continuous(Momentum(LM, FREE))


def test_the_published_tables() -> None:
    assert TABLES["blocks"] == (0, 0, 0, 0, 5, math.inf)
    assert TABLES["logarithm"][5] == pytest.approx(5.0)
    assert TABLES["exponential"][2] == pytest.approx(1.125)


@pytest.mark.parametrize("knobs", [{"alpha": -0.1}, {"alpha": math.inf}, {"top_k": 0}])
def test_impossible_knobs_are_refused(knobs) -> None:
    with pytest.raises(BadInput, match="momentum needs an alpha of at least 0"):
        Momentum(LM, FREE, **knobs)

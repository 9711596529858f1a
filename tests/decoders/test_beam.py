"""Beam search keeps the best few texts, finds the best of all where it may keep enough, and says what is certain."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.beam import Beam
from decant.decoders.continuous import Continuous, Request
from decant.decoders.generate import generate, right_pad
from decant.decoders.stopping import Stopping
from decant.errors import BadInput
from decant.models.folder import HOUSE
from decant.models.load import load
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.testing.laws import check_continuous
from decant.testing.markov import MarkovLM
from decant.types import PAD, select_rows
from tests.decoders.checks import LM, PROMPTS, Forbids, alone_or_together, like_fresh, run, texts

FREE = Unconstrained()
SMALL = MarkovLM.random(vocab=3, seed=5, spread=1.0)
ENDS = frozenset({3, 5})


@dataclass(frozen=True)
class OnceEach:
    """A constraint with a state: no token of the text comes again, but for those of the prompt."""

    vocab: int

    def start(self, prompt_BT):
        return torch.zeros(len(prompt_BT), self.vocab, dtype=torch.bool)

    def adjust(self, state, draft, logits_BMV):
        return logits_BMV.masked_fill(state[:, None], -torch.inf)

    def observe(self, state, verdict, scores):
        return state.scatter(1, verdict.tokens_BC[:, :1], True)


def nats(lm: MarkovLM, text: list[int], banned: Collection[int] = ()) -> list[float]:
    """What follows a text, as log-probabilities."""
    logits = logits_of(lm)[text[-2] if len(text) > 1 else lm.vocab][text[-1]]
    weights = [0.0 if token in banned else math.exp(logit) for token, logit in enumerate(logits)]
    total = sum(weights)
    return [math.log(weight / total) if weight else -math.inf for weight in weights]


@cache
def logits_of(lm: MarkovLM) -> list:
    return lm.logits_UVV.tolist()


def by_hand(prompt, width, length, ends=frozenset(), penalty=1.0, patience=1.0, lm=LM, once=False) -> list[int]:
    """The card in plain Python; it never ends early because nobody else can win."""

    def score(one):
        return one[0] / len(one[1]) ** penalty

    alive, pool = [(0.0, [])], []
    for _ in range(length):
        children = [
            (logp + more, [*text, token])
            for logp, text in alive
            for token, more in enumerate(nats(lm, prompt + text, text if once else ()))
            if more > -math.inf
        ]
        children.sort(key=lambda one: -one[0])
        pool += [one for one in children[:width] if one[1][-1] in ends]
        alive = [one for one in children if one[1][-1] not in ends][:width]
        if len(pool) >= width * patience or not alive:
            return max(pool, key=score)[1]
    return max(pool + alive, key=score)[1]


def first_stretch(decoder, prompts) -> list[list[int]]:
    """What is said until each request's first stretch is over."""
    said = [[] for _ in prompts]
    for row, prompt in enumerate(prompts):
        state = decoder.start(right_pad([prompt]), Noise.of([0]))
        while True:
            state, step = decoder.step(state)
            said[row] += [token for token in step.tokens_BC[0].tolist() if token != PAD]
            if bool(state.standing.over_B) or not int(state.standing.length_B):
                break
    return said


@pytest.mark.parametrize("length", [1, 7, 64])
def test_width_one_is_greedy(length: int) -> None:
    plain = texts(Autoregressive(LM, greedy(), FREE))
    assert texts(Beam(LM, FREE, width=1, length=length)) == plain
    # Behind an end the search goes on, as plain decoding does.
    assert texts(Beam(LM, FREE, width=1, length=length, ends=ENDS)) == plain


@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
@pytest.mark.parametrize("patience", [1.0, math.inf])
@pytest.mark.parametrize("ends", [frozenset(), frozenset({1})], ids=["endless", "ends"])
def test_an_exhaustive_width_finds_the_best_text(ends, patience: float, penalty: float) -> None:
    length = 4
    decoder = Beam(SMALL, FREE, 27, length, penalty, patience, ends)
    for prompt, found in zip(PROMPTS, first_stretch(decoder, [[t % 3 for t in p] for p in PROMPTS]), strict=True):
        prompt, best = [token % 3 for token in prompt], (-math.inf, [])
        for whole in product(range(3), repeat=length):
            stop = next((at + 1 for at, token in enumerate(whole) if token in ends), length)
            text = list(whole[:stop])
            logp = sum(nats(SMALL, prompt + text[:at])[token] for at, token in enumerate(text))
            best = max(best, (logp / stop**penalty, text))
        assert found == best[1]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("patience", [0.5, 1.0, math.inf])
@pytest.mark.parametrize("width", [2, 5])
def test_it_is_the_card_step_by_step(width: int, patience: float, penalty: float) -> None:
    """Early ends and settled prefixes change nothing. Where the bound looks at the next length only, 3 of these
    fail; where all children of a hypothesis say what the first says, all of width 5 and endless patience."""
    prompts = [*PROMPTS, [9, 8], [4, 4, 4]]
    for ends in (frozenset(), ENDS):
        found = first_stretch(Beam(LM, FREE, width, 9, penalty, patience, ends), prompts)
        assert found == [by_hand(prompt, width, 9, ends, penalty, patience) for prompt in prompts]


def test_what_is_certain_is_said_at_once() -> None:
    decoder = Beam(LM, FREE, width=3, length=32)
    state, counts = decoder.start(right_pad([[0, 1]]), Noise.of([0])), []
    for _ in range(32):
        state, step = decoder.step(state)
        counts.append(int((step.tokens_BC != PAD).sum()))
        assert step.positions_BC[step.tokens_BC != PAD].tolist() == list(range(sum(counts) - counts[-1], sum(counts)))
    assert sum(counts) == 32
    assert 0 in counts, "some steps settle nothing"
    assert sum(counts[:16]) > 0, "and some settle before the stretch is over"
    assert state.standing.noise.root_B.tolist() == [32]


@pytest.mark.parametrize("network", ["lean", "padded"])
def test_every_hypothesis_has_its_own_cache(pair, padded, network: str) -> None:
    model = pair[0] if network == "lean" else padded
    state, held, _ = run(Beam(model, FREE, width=3, length=16), PROMPTS, 5)
    now = state.standing
    assert (now.logp_BK > -math.inf).all()
    full = [
        prompt + [token for token in text if token != PAD]
        for prompt, request in zip(PROMPTS, now.text_BKL.tolist(), strict=True)
        for text in request
    ]
    assert len({tuple(text) for text in full}) == 9
    like_fresh(model, state.context, full)
    for request, text in enumerate(held):
        assert all(other[: len(text)] == text for other in full[3 * request : 3 * request + 3]), "settled is settled"


def test_a_step_is_one_target_call() -> None:
    calls = []

    @dataclass(frozen=True)
    class Counted:
        lm: MarkovLM
        trees = False

        def __getattr__(self, name):
            return getattr(self.lm, name)

        def score(self, context, draft):
            calls.append(tuple(draft.tokens_BN.shape))
            return self.lm.score(context, draft)

    counted: Any = Counted(LM)
    run(Beam(counted, FREE, width=4), PROMPTS, 6)
    assert calls == [(12, 0)] * 6


@pytest.mark.parametrize("ends", [frozenset(), ENDS], ids=["endless", "ends"])
def test_a_batch_is_its_requests(pair, ends) -> None:
    alone_or_together(Beam(LM, FREE, width=3, length=8, ends=ends))
    alone_or_together(Beam(pair[0], FREE, width=3, length=8, ends=ends), most=12)


def test_a_constraint_holds_for_every_hypothesis() -> None:
    for width in (1, 2, 4):
        found = first_stretch(Beam(LM, OnceEach(11), width, 8, ends=ENDS), PROMPTS)
        assert found == [by_hand(prompt, width, 8, ENDS, once=True) for prompt in PROMPTS]
    assert not {0} & {token for text in texts(Beam(LM, Forbids(0), length=8)) for token in text}


def test_a_dead_end_still_ends() -> None:
    """Behind eleven different tokens nothing is allowed; the decoder says something, and the request ends."""
    assert [len(text) for text in texts(Beam(LM, OnceEach(11), length=20), most=15)] == [15, 15, 15]


def test_requests_come_and_go(pair) -> None:
    asked = [
        (prompt, seed, 4 * tokens)
        for prompt, seed, tokens in (([0, 1, 2, 0, 1], 1, 3), ([3, 1], 2, 1), ([2], 3, 4), ([1, 2, 3], 4, 2))
    ]
    check_continuous(Beam(LM, FREE, width=3, length=4), asked=asked)
    check_continuous(Beam(pair[0], FREE, width=2, length=4), asked=asked)


def test_texts_that_end_come_and_go_too() -> None:
    """Of requests that outlive their end tokens, which are read anew behind them."""
    decoder = Beam(LM, FREE, width=3, length=8, ends=ENDS)
    prompts = [*PROMPTS, [7], [9, 8], [4, 4, 4]]
    want = [generate(decoder, right_pad([p]), Noise.of([0]), [Stopping(20)]).outputs[0].tokens for p in prompts]
    assert all(ENDS & set(text[:-1]) for text in want)
    requests = [Request(prompt, 0, Stopping(12 + 2 * at)) for at, prompt in enumerate(prompts[:4])]
    crank, coming = Continuous(decoder, batch=2), list(requests)
    while coming or crank.running or crank.waiting:
        if coming:
            crank.add(coming.pop(0))
        crank.step()
    assert [one.output.tokens for one in requests] == [text[: 12 + 2 * at] for at, text in enumerate(want[:4])]


def test_a_text_is_its_stretches() -> None:
    decoder = Beam(LM, FREE, width=3, length=6)
    for prompt, text in zip(PROMPTS, texts(decoder, most=18), strict=True):
        whole = list(prompt)
        for _ in range(3):
            whole += by_hand(whole, 3, 6)
        assert prompt + text == whole


def test_states_hold_all_hypotheses_of_each_request() -> None:
    decoder = Beam(LM, FREE, width=2, length=8)
    state, _, _ = run(decoder, PROMPTS, 3)
    last = select_rows(state, torch.tensor([2, 2, 0]))
    rows = torch.tensor([4, 5, 4, 5, 0, 1])
    assert torch.equal(last.context.tokens_BT, state.context.tokens_BT[rows])
    assert torch.equal(last.standing.logp_BK, state.standing.logp_BK[torch.tensor([2, 2, 0])])
    assert decoder.cache_bytes([10, 20]) == LM.cache_bytes([18, 18, 28, 28])
    assert decoder.prepare(right_pad([[1, 2]]))


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_it_agrees_with_transformers(penalty: float) -> None:
    loaded = load("house:draft", exact="off")
    other: Any = AutoModelForCausalLM.from_pretrained(HOUSE / "draft", dtype=torch.float32).eval()
    prompt, most = loaded.encode("Once upon a time there was a"), 20
    plain = generate(Beam(loaded.model, FREE, 4, most), right_pad([prompt]), Noise.of([0]), [Stopping(most)])
    ends = frozenset(plain.outputs[0].tokens[9:11])  # so that some hypotheses end on the way
    for stops in (loaded.ends, ends):
        decoder = Beam(loaded.model, FREE, 4, most, penalty, ends=stops)
        said = generate(decoder, right_pad([prompt]), Noise.of([0]), [Stopping(most, stops)]).outputs[0].tokens
        want = other.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            num_beams=4,
            do_sample=False,
            early_stopping=True,
            length_penalty=penalty,
            max_new_tokens=most,
            eos_token_id=sorted(stops),
            pad_token_id=loaded.model.vocab - 1,
        )
        assert said == [token for token in want[0, len(prompt) :].tolist() if token != loaded.model.vocab - 1]


@pytest.mark.parametrize(
    "knobs", [{"width": 0}, {"length": 0}, {"patience": 0.0}, {"patience": math.nan}, {"length_penalty": math.inf}]
)
def test_impossible_knobs_are_refused(knobs) -> None:
    with pytest.raises(BadInput, match="a beam search needs a width and a length of at least 1"):
        Beam(LM, FREE, **knobs)

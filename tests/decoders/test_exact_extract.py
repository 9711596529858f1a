"""The most probable span equals brute force over all spans, each scored by itself."""

import itertools
from typing import Any

import pytest
import torch

from decant.decoders import exact_extract as module
from decant.decoders.exact_extract import exact_extract, span_logp
from decant.decoders.generate import right_pad
from decant.errors import BadInput
from decant.models.load import load
from decant.testing.markov import MarkovLM
from decant.types import Taps

ENDS = frozenset([0, 5])
PASSAGE = [1, 2, 3, 1, 2, 4, 4, 2]
PROMPT = [*PASSAGE, 3, 1]


@torch.inference_mode()
def spelt_out(model: Any, prompt: list[int], span: list[int], ends: frozenset[int]) -> float:
    """log p(span, then an end), from one pass over the whole text."""
    whole = [*prompt, *span]
    logits_TV = model.start(right_pad([[*whole, 0]]), Taps(logits=True))[1].logits_BMV[0]
    logp_TV = logits_TV[len(prompt) - 1 :].double().log_softmax(-1)
    said = sum(float(logp_TV[at, token]) for at, token in enumerate(span))
    return said + float(logp_TV[len(span), sorted(ends)].logsumexp(-1))


def brute_force(model: Any, prompt: list[int], passage: list[int], ends: frozenset[int], longest: int) -> dict:
    return {
        (start, stop): spelt_out(model, prompt, passage[start:stop], ends)
        for start, stop in itertools.combinations(range(len(passage) + 1), 2)
        if stop - start <= longest
    }


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("longest", [1, 3, 20])
def test_it_equals_brute_force(seed: int, longest: int) -> None:
    model = MarkovLM.random(vocab=6, seed=seed)
    spans = brute_force(model, PROMPT, PASSAGE, ENDS, longest)
    found = exact_extract(model, PROMPT, PASSAGE, ENDS, longest=longest)
    assert found.logp == pytest.approx(max(spans.values()))
    assert spans[found.start, found.stop] == pytest.approx(found.logp)


def test_every_span_has_its_own_log_probability() -> None:
    model = MarkovLM.random(vocab=6, seed=9)
    spans = brute_force(model, PROMPT, PASSAGE, ENDS, 4)
    logp_SL = span_logp(model, PROMPT, PASSAGE, ENDS, longest=4)
    for (start, stop), logp in spans.items():
        assert float(logp_SL[start, stop - start - 1]) == pytest.approx(logp)
    assert int(logp_SL.isfinite().sum()) == len(spans)


def test_few_starts_at_a_time_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MarkovLM.random(vocab=6, seed=1)
    whole_SL = span_logp(model, PROMPT, PASSAGE, ENDS, longest=3)
    monkeypatch.setattr(module, "ROWS", 9)  # two starts
    torch.testing.assert_close(span_logp(model, PROMPT, PASSAGE, ENDS, longest=3), whole_SL)


def test_without_an_end_the_shortest_would_always_win() -> None:
    """The mistake: a span's own log-probability only falls with its length."""
    longer = 0
    for seed in range(12):
        model = MarkovLM.random(vocab=6, seed=seed, spread=3.0)
        found = exact_extract(model, PROMPT, PASSAGE, ENDS)
        longer += found.stop - found.start > 1
    assert longer >= 3


def test_it_is_never_below_greedy_where_that_is_a_span() -> None:
    for seed in range(20):
        model = MarkovLM.random(vocab=6, seed=seed)
        text = list(PROMPT)
        while len(text) < len(PROMPT) + 8 and text[-1] not in ENDS:
            text.append(int(model.logits_UVV[text[-2], text[-1]].argmax()))
        greedy = [token for token in text[len(PROMPT) :] if token not in ENDS]
        if greedy:
            passage = [3, *greedy, 2]
            said = spelt_out(model, PROMPT, greedy, ENDS)
            assert exact_extract(model, PROMPT, passage, ENDS).logp >= said - 1e-5


def test_a_model_with_a_cache_and_a_passage_as_it_is_spelt_in_its_prompt() -> None:
    draft = load("house:draft", exact="off", dtype="float32")
    prompt = draft.encode_chat([{"role": "user", "content": "Maria = M75-44\nTim = 666\n\nLook up:\nTim"}])
    passage = prompt[2:18]
    spans = brute_force(draft.model, prompt, passage, draft.ends, 3)
    found = exact_extract(draft.model, prompt, passage, draft.ends, longest=3)
    assert found.logp == pytest.approx(max(spans.values()), abs=1e-3)
    assert spans[found.start, found.stop] == pytest.approx(found.logp, abs=1e-3)


@pytest.mark.parametrize(
    ("passage", "ends", "longest"),
    [([], ENDS, 3), ([1], frozenset(), 3), ([1], ENDS, 0)],
    ids=["passage", "end", "length"],
)
def test_what_has_no_span_is_refused(passage: list[int], ends: frozenset[int], longest: int) -> None:
    with pytest.raises(BadInput, match="a span is looked for in a passage of one token or more"):
        exact_extract(MarkovLM.random(vocab=6, seed=0), PROMPT, passage, ends, longest=longest)

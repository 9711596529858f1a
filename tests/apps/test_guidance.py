"""What leads a text, from the keywords and options to the model that methods decode."""

from dataclasses import fields
from typing import Any

import pytest

from decant.apps.api import Settings, generate
from decant.apps.choosing import choose, refuse_history, warp_of
from decant.apps.cli.choosing import GUIDANCE, Flags
from decant.apps.compose import applicable, compose
from decant.apps.guidance import Guidance
from decant.apps.opening import Opening
from decant.apps.prompts import text_prompt
from decant.apps.sampling import Sampling
from decant.apps.session import open_session
from decant.apps.trial import Question, prepare
from decant.errors import BadInput, IncompatibleParts
from decant.models.dola import Dola
from decant.models.load import load
from decant.models.loaded import Loaded
from decant.models.paired import Paired
from tests.models.pairs import TEXT

DRAWN: dict[str, Any] = {"temperature": 1.0, "max_tokens": 16, "seed": 3}
DOLA = Guidance(dola="high")
PROMPTS = [text_prompt(TEXT, "p.txt line 1")]


@pytest.fixture(scope="module")
def small() -> Loaded:
    return load("house:draft", dtype="float32", exact="on")


@pytest.fixture(scope="module")
def large() -> Loaded:
    return load("house:target", dtype="float32", exact="on")


def test_every_keyword_is_an_option():
    assert tuple(one.name for one in fields(Guidance)) == GUIDANCE
    assert {*GUIDANCE} <= {*Settings.__annotations__}
    assert {*GUIDANCE} <= {one.name for one in fields(Flags)}


@pytest.mark.parametrize(
    "lead", [{"guidance": 1.5}, {"guidance": 2.0, "negative_prompt": "A sad story"}, {"dola": "high"}], ids=str
)
def test_a_led_text_is_that_of_plain_decoding_and_not_the_models_own(small, lead):
    want = generate(small, TEXT, method="plain", **DRAWN, **lead)
    assert generate(small, TEXT, method="prompt-lookup", **DRAWN, **lead).tokens == want.tokens
    assert generate(small, TEXT, method="plain", **DRAWN).tokens != want.tokens


def test_one_small_model_may_draft_and_be_the_amateur(large, small):
    lead = {"contrast": small, "contrast_beta": 2.0}
    want = generate(large, TEXT, method="plain", **DRAWN, **lead)
    assert generate(large, TEXT, draft=small, **DRAWN, **lead).tokens == want.tokens
    assert generate(large, TEXT, method="plain", **DRAWN).tokens != want.tokens


def test_a_weight_of_one_changes_nothing(small):
    assert generate(small, TEXT, guidance=1.0, **DRAWN).tokens == generate(small, TEXT, **DRAWN).tokens


def test_several_prompts_are_led_and_keep_their_beginnings(small):
    """Kept prefixes are the bare model's, which is wrapped behind them."""
    alone = [generate(small, text, guidance=2.0, **DRAWN).tokens for text in (TEXT, "Once")]
    assert [said.tokens for said in generate(small, [TEXT, "Once"], guidance=2.0, **DRAWN)] == alone


def test_the_target_stays_bare_and_the_draft_model_is_not_led(large, small):
    session = open_session(large, small, Sampling(), Opening(), guidance=Guidance(guidance=1.5))
    assert session.target.model is large.model
    assert isinstance(session.method.decoder.target, Paired)
    assert session.method.decoder.drafter.model.network is small.model.network


def test_a_negative_prompt_takes_room_of_the_context(small):
    session = open_session(small, None, Sampling(), Opening(), guidance=Guidance(1.5, "One two three four"))
    assert session.led.model.context == small.model.context - len(small.encode("One two three four")) + 1


def test_an_amateur_is_exact_where_the_target_is(large, small):
    guide = Guidance(contrast=small).opened(Opening())
    assert guide.lead(large).model.rows == large.model.rows
    assert guide.lead(large.exactly(False)).model.rows is None


def test_bench_and_prove_hold_methods_against_led_decoding(small):
    trial = prepare(small, Question("all", "p.txt", max_tokens=8), PROMPTS, Sampling(0.0), Opening(), None, DOLA)
    for method in (trial.exact_plain, trial.fastest_plain, *trial.methods):
        if method.name in {"plain", "prompt-lookup", "token-recycling", "early-exit"}:
            assert isinstance(method.decoder.target, Dola), method.name
    assert trial.settings()["dola"] == "high"


def test_what_is_told(large, small):
    guide = Guidance(contrast=small, negative_prompt="No", contrast_beta=0.2).opened(Opening())
    chosen = choose(Sampling(0.0), large, {}, guide=guide)
    said = "house:draft with negative_prompt 'No', contrast_beta 0.2"
    assert (chosen.applied[0].name, chosen.applied[0].value) == ("contrast", said)
    assert {"contrast": "house:draft", "contrast_beta": 0.2}.items() <= chosen.facts().items()
    assert Guidance().opened(Opening()) is None
    refuse_history(chosen)
    with pytest.raises(BadInput, match="leave out presence_penalty"):
        refuse_history(choose(Sampling(0.0, presence_penalty=1.0), large, {}, guide=guide))


@pytest.mark.parametrize(
    ("said", "method", "why"),
    [
        (
            {"guidance": 1.5},
            "early-exit",
            "early-exit drafts in the target's own cache, which does not go with guidance 1.5",
        ),
        ({"guidance": 1.5}, "sorted-exits", "sorted-exits drafts in the target's own cache"),
        ({"guidance": 1.5}, "del", "del drafts in the target's own cache"),
        (
            {"contrast": "house:draft"},
            "early-exit",
            "early-exit drafts .* does not go with contrast house:draft; .* leave con",
        ),
        (
            {"dola": "low"},
            "superposed",
            "superposed feeds the target mixtures of tokens, which does not go with dola low",
        ),
        ({"guidance": 1.5}, "ppd", "ppd sends guesses of its own through the target's pass"),
        ({"dola": "low"}, "hidden-transfer", "hidden-transfer sends guesses of its own through the target's pass"),
    ],
)
def test_methods_that_need_the_bare_target_are_refused(large, said, method, why):
    guide, warp = Guidance(**said).opened(Opening(dtype="float32")), warp_of(Sampling(0.0))
    with pytest.raises(IncompatibleParts, match=why):
        compose(method, large, None, warp, guide=guide)


def test_all_skips_them_and_says_why(target, draft):
    guide = Guidance(guidance=1.5).opened(Opening())
    methods, skipped = applicable("all", target, draft, warp_of(Sampling(0.0)), guide=guide)
    why = {name for name, reason in skipped if "does not go with guidance 1.5" in reason}
    assert why == {"early-exit", "sorted-exits", "del", "superposed"}
    assert {"draft-model", "token-recycling", "pearl", "beam"} <= {method.name for method in methods}


@pytest.mark.parametrize("method", ["early-exit:exit=1", "sorted-exits:rungs=1-2", "del"])
def test_early_exits_draft_under_dola(small, method):
    want = generate(small, TEXT, method="plain", dola="low", **DRAWN)
    assert generate(small, TEXT, method=method, dola="low", **DRAWN).tokens == want.tokens


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"guidance": 1.5, "dola": "low"}, "guidance and dola each lead the text; give one of them"),
        ({"guidance": 1.5, "contrast": "house:draft"}, "guidance and contrast each lead the text"),
        ({"negative_prompt": "no"}, "negative_prompt goes with guidance or contrast, and neither was given"),
        ({"negative_prompt": "no", "dola": "low"}, "negative_prompt goes with guidance or contrast"),
        ({"contrast_beta": 0.5}, "contrast_beta goes with contrast, which was not given"),
        ({"contrast": "house:draft", "contrast_beta": -1.0}, "beta must be 0 or more and finite, got -1.0"),
        ({"guidance": float("inf")}, "the weight of guidance must be finite, got inf"),
        ({"dola": "deep"}, "dola is low or high, the half of the layers to be contrasted with, got 'deep'"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_model_is_loaded(said, message):
    with pytest.raises(BadInput, match=message):
        generate("nowhere", TEXT, **said)


def test_an_amateur_of_another_tokenizer_is_refused(small, stranger):
    with pytest.raises(IncompatibleParts, match="take an amateur of the same tokenizer"):
        generate(small, TEXT, contrast=stranger)

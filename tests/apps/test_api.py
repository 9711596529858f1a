from dataclasses import replace

import pytest

from decant.apps.api import generate, stream
from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.session import Batching, Limits, open_session
from decant.constraints.grammar import Choice
from decant.errors import BadInput, IncompatibleParts, UnknownMethod
from decant.models.load import load
from decant.models.loaded import Loaded
from decant.models.rows import RowClass
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from tests.models.families import build

PROMPT = "Take 1, then add 2."
DRAWN = {"temperature": 1.0, "max_tokens": 24}


def test_text_tokens_and_reason_agree(target):
    said = generate(target, PROMPT, max_tokens=12)
    assert len(said.tokens) == len(said.drafted) == 12
    assert said.reason == "length"
    assert said.text == target.after(target.encode(PROMPT))(said.tokens)
    assert 1 <= said.acceptance_length == 12 / said.steps


def test_the_draft_that_the_folder_names_is_used(folder):
    said = generate(folder, PROMPT, dtype="float32", max_tokens=12)
    assert any(said.drafted)


def test_plain_decoding_guesses_nothing(target):
    said = generate(target, PROMPT, method="plain", max_tokens=12)
    assert not any(said.drafted)
    assert said.steps == 12


@pytest.mark.parametrize("method", ["draft-model", "prompt-lookup", "token-recycling", None])
def test_the_same_seed_gives_the_same_text_whatever_the_method(target, draft, method):
    exactly = target.exactly(True)
    expected = generate(exactly, PROMPT, method="plain", seed=3, **DRAWN)
    assert generate(exactly, PROMPT, draft=draft, method=method, seed=3, **DRAWN).tokens == expected.tokens


def test_another_seed_gives_another_text(target):
    texts = {generate(target, PROMPT, method="plain", seed=seed, **DRAWN).text for seed in range(3)}
    assert len(texts) == 3


def test_several_prompts_come_back_in_order(target):
    prompts = [PROMPT, "Take 7", [{"role": "user", "content": "Take 2"}]]
    together = generate(target, prompts, method="plain", max_tokens=8)
    assert [len(said.tokens) for said in together] == [8, 8, 8]
    assert len({said.text for said in together}) == 3
    assert generate(target, [], max_tokens=8) == []


BEGINNING = "Take 1, then add 2. " * 40
MANY = [PROMPT, BEGINNING + "Take 3", "Take 7", BEGINNING + "Take 4", BEGINNING, "Naïve", "Take 11, then", "add 5."]


@pytest.fixture(scope="module")
def pair() -> tuple[Loaded, Loaded]:
    """Trained: every prompt has a text of its own also at temperature 1."""
    return load("house:target", dtype="float32", exact="on"), load("house:draft", dtype="float32", exact="off")


METHODS = ("plain", "draft-model", "prompt-lookup", "token-recycling")
ALL_BATCHES = [pytest.param(method, (1, 3, 8), marks=pytest.mark.slow) for method in METHODS]


@pytest.mark.parametrize(("method", "batches"), [("plain", (3,)), ("draft-model", (8,)), *ALL_BATCHES])
def test_texts_do_not_depend_on_the_batch(pair, method, batches):
    target, draft = pair
    asked = [list(prompt.messages) for prompt in read("house:tasks", 6)] + [MANY[1], MANY[3]]
    given = {"draft": draft, "method": method, "temperature": 1.0, "max_tokens": 24, "seed": 3}
    alone = [generate(target, prompt, **given) for prompt in asked]
    assert len({said.text for said in alone}) == len(alone)
    assert len({len(said.tokens) for said in alone}) > 2, "requests end at different times"
    for batch in batches:
        together = generate(target, asked, batch=batch, **given)
        for one, other in zip(alone, together, strict=True):
            assert (other.text, other.tokens, other.reason) == (one.text, one.tokens, one.reason)


@pytest.mark.parametrize("processed", [False, True])
def test_log_probabilities_are_plain_decodings(pair, processed):
    """Bit by bit in exact mode, whatever guesses and however many requests run together; else up to rounding."""
    target, draft = pair
    given = {
        "logprobs": 3, "processed_logprobs": processed, "temperature": 0.8, "top_k": 20, "max_tokens": 10, "seed": 3,
        "repetition_penalty": 1.1,
    }  # fmt: skip
    want = generate(target, MANY[:2], method="plain", **given)
    assert all(len(said.logprobs) == len(said.tokens) for said in want)
    assert all(len(one.top) == 3 and one.logp <= one.top[0][1] for said in want for one in said.logprobs)
    for method in ("draft-model", "token-recycling"):
        found = generate(target, MANY[:2], draft=draft, method=method, batch=1, **given)
        assert any(any(said.drafted) for said in found)
        assert [said.logprobs for said in found] == [said.logprobs for said in want]
    loose = generate(target.exactly(False), MANY[0], draft=draft, method="draft-model", **given)
    if loose.tokens == want[0].tokens:
        logps = [[one.logp for one in said.logprobs] for said in (loose, want[0])]
        assert logps[0] == pytest.approx(logps[1], abs=1e-4)


def test_none_are_told_unless_asked(target):
    assert generate(target, PROMPT, max_tokens=4).logprobs is None
    assert [one.top for one in generate(target, PROMPT, max_tokens=4, logprobs=0).logprobs] == [()] * 4
    flow = stream(target, PROMPT, max_tokens=4, logprobs=1)
    assert len(list(flow)) > 0
    assert len(flow.completion.logprobs) == 4


@pytest.mark.parametrize("method", ["plain", "prompt-lookup", "token-recycling"])
def test_a_sampler_of_warps_and_settings_of_every_kind(target, method):
    exactly, given = target.exactly(True), {"max_tokens": 16, "seed": 1}
    drawn = generate(exactly, PROMPT, method=method, sampler=[temperature(0.9), top_k(8)], **given)
    assert drawn.tokens == generate(exactly, PROMPT, method="plain", temperature=0.9, top_k=8, **given).tokens
    settings = {"no_repeat_ngram_size": 1, "mirostat": 2, "mirostat_tau": 4.0, "bad_words": ["Take"]}
    once = generate(exactly, PROMPT, method=method, **settings, **given)
    assert once.tokens == generate(exactly, PROMPT, method="plain", **settings, **given).tokens
    assert len(set(once.tokens)) == len(once.tokens)


@pytest.mark.parametrize("method", ["plain", "token-recycling"])
def test_a_constraint_may_be_described(target, method):
    pytest.importorskip("llguidance")
    said = generate(target, PROMPT, method=method, constraint=Choice(["Take 7", "add"]), max_tokens=12)
    assert (said.text in {"Take 7", "add"}, said.reason) == (True, "stop")


def test_steps_are_those_that_a_request_took_part_in(target):
    together = generate(target, ["Take 1", "Take 1, then", "add"], method="plain", max_tokens=9, batch=2)
    assert [said.steps for said in together] == [len(said.tokens) for said in together]


def test_requests_wait_for_the_cache_and_one_that_never_fits_is_refused(target):
    given = {"method": "plain", "max_tokens": 8}
    assert generate(target, MANY, cache_mb=2, **given) == generate(target, MANY, batch=1, **given)
    with pytest.raises(
        BadInput, match=r"up to 900 new ones needs .* MB of cache, and there are 0.01; raise the budget"
    ):
        generate(target, PROMPT, max_tokens=900, cache_mb=0.01)


def test_prompts_that_begin_alike_are_read_once(target, draft):
    session = open_session(target, draft, Sampling(), Opening(), prefix_mb=64)
    run = session.run([target.encode(prompt) for prompt in MANY], 0, Limits(4))
    while run.ended < len(MANY):
        next(iter(run))
    assert session.target.model.prefixes.hits >= 2
    assert target.model.prefixes is None
    assert open_session(session.target, draft, Sampling(), Opening(), prefix_mb=8).target is session.target


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[1] * 1025], "the prompt has 1025 tokens, but the model's context holds 1024"),
        ([[1], [1] * 1025], "prompt 2 has 1025 tokens, but the model's context holds 1024"),
        ([[1], [1], []], "prompt 3 is empty: a language model needs at least one token to continue"),
    ],
)
def test_ids_that_cannot_be_continued_are_refused_before_anything_runs(target, prompts, message):
    session = open_session(target, None, Sampling(), Opening(), method="plain")
    with pytest.raises(BadInput, match=message):
        session.run(prompts, 0, Limits(4))


def test_exact_mode_may_hold_fewer_at_a_time(folder):
    loaded = load(str(folder), dtype="float32", exact="off", lean=False)
    # Steps of 16 rows in blocks of up to 64: four requests fit in 16 columns, five would need 80 rows.
    narrow = replace(loaded, model=replace(loaded.model, rows=RowClass(16, 64, 16), steady=True))
    session = open_session(narrow, None, Sampling(temperature=0.0), Opening(), method="plain")
    ids = [narrow.encode(prompt) for prompt in (PROMPT, "Take 2", "Take 3", "Take 4", "Take 5", "Take 6")]
    assert [session.run(ids[:many], 0, Limits(2), Batching(5)).batch for many in (4, 6)] == [5, 4]
    run = session.run(ids, 0, Limits(2))
    assert [len(new) for new in run] == [4, 4, 2, 2]
    assert run.batch == 4


def test_a_conversation_goes_through_the_template(target):
    said = generate(target, [{"role": "user", "content": "Take 2"}], method="plain", max_tokens=8)
    assert (
        said.text == generate(target, [[{"role": "user", "content": "Take 2"}]], method="plain", max_tokens=8)[0].text
    )
    assert said.tokens != generate(target, "Take 2", method="plain", max_tokens=8).tokens


def test_a_stop_string_is_cut_off(target):
    whole = generate(target, PROMPT, max_tokens=24, temperature=1.0)
    stop = whole.text[4:7]
    said = generate(target, PROMPT, max_tokens=24, temperature=1.0, stop=stop)
    assert said.text == whole.text[: whole.text.index(stop)]
    assert said.reason == "stop"
    assert generate(target, PROMPT, max_tokens=24, temperature=1.0, stop=[stop]) == said


def test_a_stream_is_the_text_in_pieces(target):
    flow = stream(target, PROMPT, seed=1, **DRAWN)
    assert flow.completion.text == ""
    pieces = list(flow)
    assert len(pieces) > 1
    assert "".join(pieces) == flow.completion.text == generate(target, PROMPT, seed=1, **DRAWN).text


def test_a_request_ends_where_its_context_ends(target):
    prompt = "Take 1 " * 250
    room = target.model.context - len(target.encode(prompt))
    said = generate(target, prompt, method="prompt-lookup", max_tokens=10_000, temperature=1.0)
    assert 0 < len(said.tokens) <= room


def test_a_loaded_transformers_model_needs_a_tokenizer_for_text():
    with pytest.raises(BadInput, match="has no tokenizer files"):
        generate(build("llama"), PROMPT, max_tokens=4)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"method": "prompt-lokup"}, UnknownMethod, "did you mean prompt-lookup"),
        ({"temperature": -1.0}, BadInput, "temperature is 0"),
        ({"max_tokens": 0}, BadInput, "max_tokens is 1 or more, got 0"),
        ({"stop": ["a", ""]}, BadInput, "a stop string is empty"),
        ({"batch": 0}, BadInput, "batch is 1 or more, got 0"),
        ({"cache_mb": 0}, BadInput, "cache_mb is more than 0, got 0; leave it out for no limit"),
        ({"cache_mb": float("nan")}, BadInput, "cache_mb is more than 0, got nan"),
        ({"method": "draft-model"}, BadInput, "names none; give one with --draft"),
        ({"logprobs": -1}, BadInput, r"logprobs is 0 \(the chosen token alone\) or more, got -1"),
        ({"logprobs": 10**6}, BadInput, "logprobs 1000000 are more than there are tokens; the model knows"),
        ({"processed_logprobs": True}, BadInput, "logprobs how many; give both or neither"),
        ({"mirostat": 2, "top_p": 0.9}, BadInput, "leave out top_p"),
        ({"sampler": [], "temperature": 1.0}, BadInput, "sampler stands in place of temperature"),
        ({"constraint": Choice(["a.b"]), "stop": "."}, BadInput, "the stop string '.' cuts the choice 'a.b'"),
    ],
)
def test_what_is_wrong_is_said(draft, settings, kind, message):
    with pytest.raises(kind, match=message):
        generate(draft, PROMPT, **settings)


def test_a_loop_of_its_own_tells_no_log_probabilities(target, draft):
    with pytest.raises(IncompatibleParts, match="bild decodes in a loop of its own, which tells no log-probabilities"):
        generate(target, PROMPT, draft=draft, method="bild", logprobs=1)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt is empty"),
        ("  ", "the prompt is empty"),
        (["Take 1", ""], "prompt 2 is empty"),
        ([{"role": "user", "content": " "}], "the prompt is empty; its last message says nothing"),
        ([{"role": "user"}], "the prompt: messages is a list of"),
        (3, "the prompt: a prompt is text, got 3"),
    ],
)
def test_a_prompt_that_says_nothing_is_refused(target, prompt, message):
    with pytest.raises(BadInput, match=message):
        generate(target, prompt)

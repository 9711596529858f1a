import pytest

from decant.apps.api import generate, stream
from decant.errors import BadInput, UnknownMethod
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
        ({"method": "draft-model"}, BadInput, "names none; give one with --draft"),
    ],
)
def test_what_is_wrong_is_said(draft, settings, kind, message):
    with pytest.raises(kind, match=message):
        generate(draft, PROMPT, **settings)


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

"""What the two endpoints answer, held against `decant.generate`."""

import json

import pytest

import decant
from decant.constraints.grammar import Json
from decant.noise import sample_seed
from tests.apps.server.conftest import MODEL, MOST, SCHEMA, events

PROMPT = "Take 1, then add 2."
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Take 1"}]
DRAWN = {"temperature": 1.0, "max_tokens": 12}


def generated(exactly, draft, prompt=PROMPT, **settings):
    return decant.generate(exactly, prompt, draft=draft, method="draft-model", **settings)


def test_a_completion_is_what_generate_says(ask, exactly, draft):
    reply = ask(prompt=PROMPT, seed=3, **DRAWN).json()
    expected = generated(exactly, draft, seed=3, **DRAWN)
    choice = reply["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["index"]) == (expected.text, expected.reason, 0)
    assert (reply["object"], reply["model"]) == ("text_completion", MODEL)
    assert reply["usage"]["prompt_tokens"] == len(exactly.encode(PROMPT))
    assert reply["usage"]["completion_tokens"] == len(expected.tokens)
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + len(expected.tokens)
    told = reply["decant"]
    assert told["target_calls"] == expected.steps
    assert told["acceptance_length"] == expected.acceptance_length
    assert told["drafted"] == sum(expected.drafted) <= told["proposed"]
    assert (told["method"], told["promise"], told["seed"], told["tokens"]) == ("draft-model", "tokens", 3, 12)
    assert 0 < told["ttft_seconds"] < 60
    assert told["tokens_per_second"] > 0


def test_a_conversation_goes_through_the_template(ask, exactly, draft):
    reply = ask(messages=CHAT, seed=3, **DRAWN).json()
    expected = generated(exactly, draft, CHAT, seed=3, **DRAWN)
    assert reply["choices"][0]["message"] == {"role": "assistant", "content": expected.text, "refusal": None}
    assert reply["object"] == "chat.completion"
    parts = [CHAT[0] | {"role": "developer"}, {"role": "user", "content": [{"type": "text", "text": "Take 1"}]}]
    assert ask(messages=parts, seed=3, **DRAWN).json()["choices"] == reply["choices"]


@pytest.mark.parametrize("asked", [{"prompt": PROMPT}, {"messages": CHAT}])
def test_a_stream_adds_up_to_the_whole(ask, asked):
    how = {"seed": 5, "n": 2, "logprobs": 2 if "prompt" in asked else True, "decant": {"tokens": True}, **DRAWN}
    whole = ask(**asked, **how).json()
    *chunks, done = events(ask(**asked, **how, stream=True, stream_options={"include_usage": True}).text)
    assert done is None
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    for choice in whole["choices"]:
        own = [one for chunk in chunks for one in chunk["choices"] if one["index"] == choice["index"]]
        said = [one["text"] if "prompt" in asked else one["delta"].get("content", "") for one in own]
        assert "".join(said) == (choice["text"] if "prompt" in asked else choice["message"]["content"])
        assert [one["finish_reason"] for one in own][-1] == choice["finish_reason"]
        assert not any(one["finish_reason"] for one in own[:-1])
        assert [token for one in own for token in one.get("decant", {"tokens": []})["tokens"]] == choice["decant"][
            "tokens"
        ]
        names = "tokens" if "prompt" in asked else "content"
        told = [token for one in own if one["logprobs"] for token in one["logprobs"][names]]
        assert told == choice["logprobs"][names]
    last = [chunk for chunk in chunks if chunk["choices"] and chunk["choices"][0]["finish_reason"]]
    assert sum(chunk["decant"]["tokens"] for chunk in last) == whole["decant"]["tokens"]


def test_samples_have_the_seeds_of_decant_samples(ask, exactly, draft):
    choices = ask(prompt=[PROMPT, "Take 7"], n=2, seed=11, **DRAWN).json()["choices"]
    expected = [
        generated(exactly, draft, prompt, seed=sample_seed(11, number), **DRAWN).text
        for prompt in (PROMPT, "Take 7")
        for number in range(2)
    ]
    assert [choice["text"] for choice in choices] == expected
    assert [choice["index"] for choice in choices] == list(range(4))
    assert len(set(expected[:2])) == 2


def test_a_seed_is_drawn_and_said(ask):
    first, second = (ask(prompt=PROMPT, **DRAWN).json() for _ in range(2))
    assert first["decant"]["seed"] != second["decant"]["seed"]
    again = ask(prompt=PROMPT, seed=first["decant"]["seed"], **DRAWN).json()
    assert again["choices"] == first["choices"]


def test_ids_are_as_good_as_their_text(ask, exactly):
    ids = exactly.encode(PROMPT)
    texts = [ask(prompt=prompt, seed=3, **DRAWN).json()["choices"][0]["text"] for prompt in (PROMPT, ids, [ids])]
    assert len(set(texts)) == 1


def test_an_echo_stands_in_front(ask):
    alone = ask(prompt=PROMPT, seed=3, **DRAWN).json()["choices"][0]["text"]
    assert ask(prompt=PROMPT, seed=3, echo=True, **DRAWN).json()["choices"][0]["text"] == PROMPT + alone
    chunks = events(ask(prompt=PROMPT, seed=3, echo=True, stream=True, **DRAWN).text)[:-1]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == PROMPT + alone


@pytest.mark.parametrize("stop", ["e", ["zzz", "a", "e"]])
def test_a_stop_string_is_never_shown(ask, exactly, draft, stop):
    settings = {"seed": 1, "temperature": 1.0, "max_tokens": 200}
    expected = generated(exactly, draft, stop=stop, **settings)
    assert expected.reason == "stop"
    choice = ask(prompt=PROMPT, stop=stop, **settings).json()["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (expected.text, "stop")
    chunks = events(ask(prompt=PROMPT, stop=stop, stream=True, **settings).text)[:-1]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == expected.text


def test_logprobs_are_those_of_generate(ask, exactly, draft):
    expected = generated(exactly, draft, seed=3, logprobs=3, **DRAWN).logprobs
    told = ask(prompt=PROMPT, seed=3, logprobs=3, **DRAWN).json()["choices"][0]
    assert told["logprobs"]["token_logprobs"] == [one.logp for one in expected]
    assert [max(top.values()) for top in told["logprobs"]["top_logprobs"]] == [one.top[0][1] for one in expected]
    for text, offset, after in zip(
        told["logprobs"]["tokens"], told["logprobs"]["text_offset"], told["logprobs"]["text_offset"][1:], strict=False
    ):
        assert offset <= after
        assert text.startswith("bytes:") or told["text"][offset:after].lstrip("\ufffd") == text
    bare = ask(messages=CHAT, seed=3, logprobs=True, **DRAWN).json()["choices"][0]["logprobs"]["content"]
    more = ask(messages=CHAT, seed=3, logprobs=True, top_logprobs=4, **DRAWN).json()["choices"][0]["logprobs"][
        "content"
    ]
    assert [one["logprob"] for one in bare] == [one["logprob"] for one in more]
    assert {len(one["top_logprobs"]) for one in more} == {4}
    assert not any(one["top_logprobs"] for one in bare)
    spelt = [one for one in more if one["bytes"] and not one["token"].startswith("bytes:")]
    assert spelt
    assert all(bytes(one["bytes"]).decode() == one["token"] for one in spelt)


def test_coloured_tokens_are_the_text(ask, exactly, draft):
    choice = ask(prompt=PROMPT, seed=3, decant={"tokens": True}, **DRAWN).json()["choices"][0]
    expected = generated(exactly, draft, seed=3, **DRAWN)
    tokens = choice["decant"]["tokens"]
    assert "".join(token["text"] for token in tokens) == choice["text"] == expected.text
    assert [token["drafted"] for token in tokens] == expected.drafted
    assert 0 < sum(expected.drafted) < len(tokens)


def test_one_call_can_do_without_speculation(ask, exactly):
    reply = ask(prompt=PROMPT, seed=3, decant={"method": "plain"}, **DRAWN).json()
    expected = decant.generate(exactly, PROMPT, method="plain", seed=3, **DRAWN)
    assert reply["choices"][0]["text"] == expected.text
    told = reply["decant"]
    assert (told["method"], told["drafted"], told["proposed"], told["target_calls"]) == ("plain", 0, 0, 12)


def test_json_follows_the_schema(ask, exactly, draft):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
    reply = ask(messages=CHAT, response_format=form, seed=2, temperature=1.0, max_tokens=200).json()
    said = reply["choices"][0]["message"]["content"]
    expected = generated(exactly, draft, CHAT, constraint=Json(SCHEMA), seed=2, temperature=1.0, max_tokens=200)
    assert said == expected.text
    assert set(json.loads(said)) == {"sure", "count"}
    plain = ask(messages=CHAT, response_format={"type": "text"}, seed=2, **DRAWN).json()["choices"][0]
    assert plain["message"]["content"] == generated(exactly, draft, CHAT, seed=2, **DRAWN).text


@pytest.mark.parametrize(
    "settings",
    [
        {"logit_bias": {"40": 100.0}},
        {"top_k": 3, "min_p": 0.01, "repetition_penalty": 1.3},
        {"presence_penalty": 2, "frequency_penalty": 2.0, "top_p": 0.3},
        {"mirostat": 2, "mirostat_tau": 3.0},
        {"temperature": 0},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_every_setting_of_the_sampler_reaches_it(ask, exactly, draft, settings):
    how = DRAWN | settings
    own = how | ({"logit_bias": {40: 100.0}} if "logit_bias" in how else {})
    expected = generated(exactly, draft, seed=7, **own).text
    assert ask(prompt=PROMPT, seed=7, **how).json()["choices"][0]["text"] == expected
    assert expected != generated(exactly, draft, seed=7, **DRAWN).text


def test_bad_words_are_not_said(ask, exactly, draft):
    first = generated(exactly, draft, seed=7, **DRAWN).tokens[0]
    expected = generated(exactly, draft, seed=7, bad_words=[[first], "the"], **DRAWN)
    assert expected.tokens[0] != first
    assert ask(prompt=PROMPT, seed=7, bad_words=[[first], "the"], **DRAWN).json()["choices"][0]["text"] == expected.text


def test_a_text_ends_with_the_context(ask, exactly):
    ids = [40] * (exactly.model.context - 5)
    reply = ask(prompt=ids, max_tokens=MOST).json()
    assert (reply["usage"]["completion_tokens"], reply["choices"][0]["finish_reason"]) == (5, "length")


def test_the_one_model_is_named(client):
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == [MODEL]
    assert client.get(f"/v1/models/{MODEL}").json()["id"] == MODEL
    assert client.get("/v1/models/other").json()["error"]["code"] == "model_not_found"
    assert client.get("/health").json()["status"] == "ok"


def test_prometheus_reads_what_was_counted(client, ask):
    def read(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"decant_{name} "))

    names = ("generated_tokens_total", "drafted_tokens_total", "accepted_tokens_total", "target_calls_total")
    before = [read(name) for name in names]
    told = ask(prompt=PROMPT, seed=3, **DRAWN).json()["decant"]
    after = [read(name) for name in names]
    counts = [told[name] for name in ("tokens", "proposed", "drafted", "target_calls")]
    assert [new - old for old, new in zip(before, after, strict=True)] == counts
    assert read("time_to_first_token_seconds_count") == read("acceptance_length_count") > 0
    assert 'decant_requests_total{code="200",path="/v1/completions"}' in client.get("/metrics").text

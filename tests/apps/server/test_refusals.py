"""Every refusal says which field is to blame, in the shape of the OpenAI API; nothing is a 422 or a 500."""

import json
import sys

import pytest
from pydantic import ValidationError

from decant.apps.sampling import NAMES
from decant.apps.server.wire import Chat, Completions, Sampler
from tests.apps.server.conftest import MODEL, MOST

CHAT = [{"role": "user", "content": "Take 1"}]
TEXT = {"prompt": "Take 1"}
TALK = {"messages": CHAT}
AT = "response_format.json_schema.schema"


def schema(of: dict) -> dict:
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": of}}}


def test_every_setting_of_the_sampler_is_a_field():
    assert set(Sampler.model_fields) == set(NAMES)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (TALK | {"tools": []}, "tools", "not supported"),
        (TEXT | {"suffix": "x"}, "suffix", "not supported"),
        (TALK | {"messages": [{"role": "user", "content": "a", "name": "b"}]}, "messages[0].name", "not supported"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role", "'user'"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "valid string or"),
        ({"messages": [{"role": "user", "content": " "}]}, None, "says nothing"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "is required"),
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"prompt": "  "}, None, "is empty"),
        ({"prompt": []}, "prompt", "at least 1 item"),
        ({"prompt": [10**6]}, "prompt", "names token 1000000"),
        ({"prompt": [[1], "a"]}, "prompt", "valid string"),
        ({"prompt": "\ud800"}, "prompt", "unicode"),
        (TEXT | {"temperature": "hot"}, "temperature", 'valid number, got "hot"'),
        (TEXT | {"temperature": -1}, "temperature", "is 0 (greedy) or more, got -1"),
        (TEXT | {"temperature": float("nan")}, "temperature", "got nan"),
        (TEXT | {"top_p": 2}, "top_p", "lies in (0, 1], got 2"),
        (TEXT | {"top_k": 1.5}, "top_k", "valid integer"),
        (TEXT | {"top_k": True}, "top_k", "valid integer"),
        (TEXT | {"top_k": 10**30}, "top_k", "less than or equal to 2147483647"),
        (TEXT | {"no_repeat_ngram_size": 2**31}, "no_repeat_ngram_size", "less than or equal to 2147483647"),
        (TEXT | {"logit_bias": dict.fromkeys(map(str, range(4097)), 1)}, "logit_bias", "at most 4096 items, not 4097"),
        (TEXT | {"bad_words": ["a"] * 1025}, "bad_words", "at most 1024 items, not 1025"),
        (TEXT | {"bad_words": ["a" * 65]}, "bad_words[0]", "at most 64 characters"),
        (TEXT | {"bad_words": [[1] * 65]}, "bad_words[0]", "at most 64 items, not 65"),
        (TEXT | {"metadata": dict.fromkeys(map(str, range(17)), "")}, "metadata", "at most 16 items, not 17"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content", "halves of characters"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "\udfff"}]}]},
            "messages[0].content",
            "valid string",
        ),
        (TEXT | {"mirostat_tau": 3.0}, "mirostat_tau", "goes with mirostat"),
        (TEXT | {"logit_bias": {"x": 1}}, "logit_bias", "pattern"),
        (TEXT | {"logit_bias": {"999999": 1}}, "logit_bias", "names token 999999"),
        (TEXT | {"logit_bias": {"1": 1e999}}, "logit_bias", "lies in [-100, 100]"),
        (TEXT | {"n": 0}, "n", "greater than or equal to 1"),
        (TEXT | {"n": 100}, "n", "more than the 72"),
        (TEXT | {"stop": ["a"] * 17}, "stop", "at most 16 items"),
        (TEXT | {"stop": ""}, "stop", "at least 1 character"),
        (TEXT | {"seed": 2**64}, "seed", "less than or equal"),
        (TEXT | {"max_tokens": MOST + 1}, "max_tokens", f"at most {MOST} here"),
        (TALK | {"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "one of them"),
        (TALK | {"max_completion_tokens": 0}, "max_completion_tokens", "greater than or equal to 1"),
        (TEXT | {"logprobs": 6}, "logprobs", "less than or equal to 5"),
        (TEXT | {"logprobs": 1, "echo": True}, "echo", "without logprobs"),
        (TALK | {"top_logprobs": 2}, "top_logprobs", "logprobs: true"),
        (TEXT | {"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
        (TEXT | {"stream": True, "stream_options": {"x": 1}}, "stream_options.x", "not supported"),
        (TALK | {"response_format": {"type": "xml"}}, "response_format.type", "'json_object'"),
        (TALK | {"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", "needs"),
        (
            TALK | {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}},
            None,
            "schema",
        ),
        (TALK | schema({"enum": ["a" * 2**17]}), AT, "has 131,086 bytes and may have 131,072"),
        (TALK | {"response_format": {"type": "json_object"}, "stop": "{"}, None, "all JSON of this schema"),
        (TEXT | {"decant": {"method": "suffix"}}, "decant.method", "decodes with draft-model"),
        (TEXT | {"decant": {"spin": 1}}, "decant.spin", "not supported"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else None,
)
def test_what_is_wrong_is_named(client, body, param, words):
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    text = json.dumps({"model": MODEL, **body})
    reply = client.post(path, content=text, headers={"content-type": "application/json"})
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]


def test_fields_that_change_nothing_are_read_and_forgotten(ask):
    idle = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "tools": None,
        "temperature": None,
        "modalities": ["text"],
        "parallel_tool_calls": True,
        "tool_choice": "none",
        "presence_penalty": 0,
    }
    plain = ask(messages=CHAT, seed=1, max_tokens=4).json()["choices"]
    assert ask(messages=CHAT, seed=1, max_tokens=4, **idle).json()["choices"] == plain
    assert ask(messages=CHAT, store=True).json()["error"]["param"] == "store"


def test_a_prompt_that_leaves_no_room(ask, exactly):
    for body in ({"prompt": [1] * exactly.model.context}, {"messages": [{"role": "user", "content": "x" * 3000}]}):
        error = ask(**body).json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", next(iter(body)))
        assert "holds 1,024" in error["message"]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"{", "application/json", "is not JSON"),
        (b"[]", "application/json", "is a JSON object"),
        (b'{"model": 1}', "text/plain", "Content-Type: application/json"),
        (b"\xff\xfe", "application/json", "body"),
        (b"[" * 100_000, "application/json", "body"),
        (b'{"model": 1, "prompt": "a"}', "application/json", "model"),
        (b'{"prompt": "a"}', "application/json", "model is required"),
        (b'{"prompt": "\xff"}', "application/json", "cannot be read as JSON"),
        (b'{"top_k": ' + b"1" * 5000 + b"}", "application/json", "cannot be read as JSON"),
    ],
)
def test_a_body_that_is_none(client, body, kind, words):
    reply = client.post("/v1/completions", content=body, headers={"content-type": kind})
    assert reply.status_code == 400
    assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize("depth", [700, 900, *range(930, 961)])
def test_however_deep_a_schema_is_it_is_the_clients_affair(client, depth):
    """What the interpreter's stack holds depends on where it is asked: in the parser, or behind it."""
    text = '{"x":' * depth + "1" + "}" * depth
    body = json.dumps({"model": MODEL, "max_tokens": 1, **TALK, **schema({})}).replace("{}", text)
    reply = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert any(words in reply.json()["error"]["message"] for words in ("read as JSON", "too deeply", "cannot be comp"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": [1] * 999 + ["x"]},
        {"prompt": [[""]] * 999},
        {"prompt": "a", "stop": [0] * 999},
        {"prompt": "a", "bad_words": [0] * 999},
        {"prompt": "a", "bad_words": [["x"] * 999]},
        {"prompt": "a", "metadata": dict.fromkeys(map(str, range(999)), 1)},
        {"prompt": "a", "logit_bias": dict.fromkeys(map(str, range(9999)), "x")},
        {"prompt": "a", **dict.fromkeys(map(str, range(999)), 1)},
        {"messages": [0] * 999},
        {"messages": [{"role": "user", "content": [0] * 999}]},
        {"messages": [{"role": "user", "content": [dict.fromkeys(map(str, range(999)), 1)] * 999}]},
        {"messages": CHAT, "modalities": [0] * 999},
    ],
    ids=lambda body: json.dumps(body)[:50],
)
def test_a_thousand_faults_cost_no_more_than_a_few(wrong):
    """Each is told apart by a thousand bytes; a body of two megabytes held half a million."""
    with pytest.raises(ValidationError) as caught:
        (Chat if "messages" in wrong else Completions).model_validate({"model": MODEL, **wrong})
    assert caught.value.error_count() <= 8


def test_paths_models_and_verbs_that_there_are_not(client, ask):
    assert ask(prompt="a", model="gpt-x").json()["error"]["code"] == "model_not_found"
    assert ask(prompt="a", model="gpt-x").status_code == 404
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    wrong = client.get("/v1/completions")
    assert (wrong.status_code, wrong.json()["error"]["code"], wrong.headers["allow"]) == (
        405,
        "method_not_allowed",
        "POST",
    )


def test_a_grammar_without_its_extra_says_how_to_get_it(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance.numpy", None)
    schema = {"type": "object", "properties": {"only-here": {"type": "null"}}}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    reply = ask(messages=CHAT, response_format=form)
    assert reply.status_code == 400
    assert "pip install 'decant[grammar]'" in reply.json()["error"]["message"]


def test_the_description_promises_what_is_answered(client):
    described = client.get("/openapi.json").json()
    for path in ("/v1/chat/completions", "/v1/completions"):
        answers = described["paths"][path]["post"]["responses"]
        assert {"200", "400", "401", "404", "413", "429", "503"} <= set(answers)
        assert "422" not in answers
    fields = described["components"]["schemas"]["Chat"]["properties"]
    assert set(NAMES) | {"messages", "stream", "seed", "decant", "response_format"} <= set(fields)
    assert described["components"]["schemas"]["Chat"]["additionalProperties"] is False

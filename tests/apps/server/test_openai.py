"""The official Python client, against a server behind a port: thirty calls and what they come back with."""

import json

import openai
import pytest

import decant
from tests.apps.server.conftest import MODEL, SCHEMA, behind_a_port

PROMPT = "Take 1, then add 2."
CHAT = [{"role": "user", "content": "Take 1"}]
HOW = {"model": MODEL, "max_tokens": 6, "temperature": 1.0, "seed": 3}
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def openai_client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0, timeout=60) as found:
        yield found


@pytest.fixture(scope="module")
def chat(openai_client):
    return lambda **more: openai_client.chat.completions.create(**{"messages": CHAT, **HOW, **more})


@pytest.fixture(scope="module")
def complete(openai_client):
    return lambda **more: openai_client.completions.create(**{"prompt": PROMPT, **HOW, **more})


def test_models_are_listed_and_found(openai_client):  # calls 1 and 2
    assert [one.id for one in openai_client.models.list()] == [MODEL]
    assert openai_client.models.retrieve(MODEL).object == "model"


def test_whole_answers(chat, complete, exactly, draft):  # 3 and 4
    expected = decant.generate(
        exactly, PROMPT, draft=draft, method="draft-model", max_tokens=6, temperature=1.0, seed=3
    )
    said = complete()
    assert (said.choices[0].text, said.choices[0].finish_reason) == (expected.text, expected.reason)
    assert said.usage.completion_tokens == len(expected.tokens)
    assert said.usage.completion_tokens_details.accepted_prediction_tokens == sum(expected.drafted)
    answer = chat()
    assert answer.choices[0].message.role == "assistant"
    assert answer.decant["method"] == "draft-model"


def test_the_same_seed_the_same_answer(chat):  # 5 to 7
    first, again, other = chat(seed=1), chat(seed=1), chat(seed=2)
    assert first.choices == again.choices
    assert first.system_fingerprint == again.system_fingerprint
    assert first.choices[0].message.content != other.choices[0].message.content


def test_streams(chat, complete):  # 8 to 11
    whole = chat().choices[0].message.content
    *chunks, last = chat(stream=True, stream_options={"include_usage": True})
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == whole
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "length"
    assert chunks[-1].decant["tokens"] == last.usage.completion_tokens == 6
    assert "".join(one.choices[0].text for one in complete(stream=True)) == complete().choices[0].text


def test_stop(chat):  # 12 to 14
    whole = chat(max_tokens=40).choices[0].message.content
    mark = next(letter for letter in whole[4:] if letter.isascii() and letter.isprintable())
    said = chat(max_tokens=40, stop=mark).choices[0]
    assert (said.message.content, said.finish_reason) == (whole[: whole.index(mark)], "stop")
    assert chat(max_tokens=40, stop=["\u2603", mark]).choices[0].message.content == said.message.content


def test_logprobs(chat, complete):  # 15 to 17
    bare = chat(logprobs=True).choices[0].logprobs.content
    more = chat(logprobs=True, top_logprobs=5).choices[0].logprobs.content
    assert [one.logprob for one in bare] == [one.logprob for one in more]
    assert all(len(one.top_logprobs) == 5 and one.top_logprobs[0].logprob >= one.logprob for one in more)
    told = complete(logprobs=2).choices[0].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.text_offset) == 6


def test_json(chat):  # 18 and 19
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
    said = chat(response_format=form, max_tokens=200).choices[0].message.content
    assert set(json.loads(said)) == {"sure", "count"}
    opening = chat(response_format={"type": "json_object"}, max_tokens=3).choices[0].message.content
    assert opening.lstrip().startswith("{")


def test_several(chat, complete):  # 20 and 21
    assert [one.index for one in chat(n=3, max_tokens=3).choices] == [0, 1, 2]
    assert len(complete(prompt=["Take 1", "Take 2"], n=2, max_tokens=2).choices) == 4


def test_fields_of_our_own(chat, complete):  # 22 to 24
    told = chat(extra_body={"top_k": 1, "decant": {"tokens": True, "method": "plain"}})
    assert told.decant["method"] == "plain"
    assert "".join(one["text"] for one in told.choices[0].decant["tokens"]) == told.choices[0].message.content
    greedy = chat(temperature=0)
    assert greedy.choices[0].message.content == told.choices[0].message.content
    biased = complete(logit_bias={"40": 100}, max_tokens=2, temperature=0)
    assert len(set(biased.choices[0].text)) == 1


def test_what_the_client_raises(chat, complete, exactly):  # 25 to 29
    with pytest.raises(openai.BadRequestError, match="tools is not supported") as caught:
        chat(tools=[TOOL])
    assert (caught.value.param, caught.value.code) == ("tools", "unsupported_parameter")
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        chat(model="gpt-x")
    with pytest.raises(openai.BadRequestError, match="lies in") as caught:
        chat(temperature=1.0, presence_penalty=3)
    assert caught.value.param == "presence_penalty"
    with pytest.raises(openai.BadRequestError) as caught:
        complete(prompt=[1] * exactly.model.context)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="at most 900 here"):
        chat(max_tokens=901)


def test_a_stream_that_is_ended_raises_in_the_client(serving):  # 30
    with behind_a_port(serving()) as live:
        client = openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0, timeout=60)

        def read() -> None:
            stream = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=900, temperature=0, stream=True)
            for number, _ in enumerate(stream):
                if number == 2:
                    live.engine.drain()
                    live.engine.fail()

        with client, pytest.raises(openai.APIError, match="the server is stopping"):
            read()

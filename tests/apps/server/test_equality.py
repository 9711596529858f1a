"""What a server says does not depend on who else asks: 32 calls of mixed settings at a time."""

import asyncio
import random

import httpx
import pytest

import decant
from decant.constraints.grammar import Json
from decant.noise import sample_seed
from tests.apps.server.conftest import MODEL, SCHEMA

PROMPTS = ["Take 1, then add 2.", "Take 7", "Naïve café, 日本語.\nTake 12, then add 4. The answer is", "x" * 150]
WAYS = [
    {},
    {"temperature": 0.7, "top_k": 20},
    {"temperature": 1.0, "repetition_penalty": 1.2},
    {"temperature": 1.0, "response_format": SCHEMA},
    {"temperature": 0.9, "stop": ["a"]},
    {"temperature": 1.0, "decant": {"method": "plain"}},
    {"temperature": 1.0, "logprobs": 1},
]


def calls(count: int) -> list[dict]:
    rng = random.Random(0)
    return [
        {
            "prompt": rng.choice(PROMPTS),
            "seed": rng.randrange(10**6),
            "max_tokens": rng.randint(2, 8),
            "n": rng.choice([1, 1, 1, 1, 1, 2]),
            **rng.choice(WAYS),
        }
        for _ in range(count)
    ]


def expected(call: dict, exactly, draft) -> list[str]:
    """Each sample, alone in `decant.generate`."""
    settings = {
        name: value for name, value in call.items() if name not in {"prompt", "n", "seed", "decant", "logprobs"}
    }
    method = "plain" if "decant" in call else "draft-model"
    prompt = call["prompt"]
    if "response_format" in settings:
        settings["constraint"] = Json(settings.pop("response_format"))
        prompt = [{"role": "user", "content": prompt}]
    return [
        decant.generate(
            exactly, prompt, draft=draft, method=method, seed=sample_seed(call["seed"], at), **settings
        ).text
        for at in range(call["n"])
    ]


def sent(call: dict) -> tuple[str, dict]:
    """Path and body; answers to a schema are chats, which alone know schemas."""
    body = {"model": MODEL, **call}
    if "response_format" not in call:
        return "/v1/completions", body
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": body.pop("response_format")}}
    messages = [{"role": "user", "content": body.pop("prompt")}]
    return "/v1/chat/completions", {**body, "messages": messages, "response_format": schema}


async def together(app, asked: list[dict], apart: bool) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=240) as client:
        posts = [client.post(path, json=body) for path, body in map(sent, asked)]
        return [await post for post in posts] if apart else list(await asyncio.gather(*posts))


@pytest.mark.parametrize("apart", [True, False], ids=["alone", "together"])
def test_every_answer_is_that_of_generate(service, exactly, draft, apart):
    asked = calls(6 if apart else 32)
    replies = asyncio.run(together(service.app, asked, apart))
    assert {reply.status_code for reply in replies} == {200}
    for call, reply in zip(asked, replies, strict=True):
        texts = [one["text"] if "text" in one else one["message"]["content"] for one in reply.json()["choices"]]
        assert texts == expected(call, exactly, draft), call


def test_another_seed_would_have_been_noticed(service, exactly, draft):
    asked = [call for call in calls(32) if call.get("temperature") == 1.0][:1]
    replies = asyncio.run(together(service.app, [one | {"seed": one["seed"] + 1} for one in asked], True))
    assert [one["text"] for one in replies[0].json()["choices"]] != expected(asked[0], exactly, draft)

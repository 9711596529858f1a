"""Somebody else's engine: honest ones hold, broken ones do not, and what cannot be asked is said."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from decant.distill.server import Server
from decant.errors import BadInput
from decant.prove.engine import Terms, run
from decant.prove.engine.asking import Pair
from decant.prove.engine.parting import NEAR, explain
from decant.prove.engine.served import Served, address
from decant.testing.completions import MODEL, Speaker, serving

PROMPTS = ["abc", "hag", "de", "fb", "gg", "ca"]
TERMS = Terms(max_tokens=16, samples=120, length=6)
CHECK = {"name", "holds", "prompts", "statistic", "p_value", "power", "planted_fault_caught", "first_divergence"}
QUICK = {"tries": 2, "patience": 0.0, "who": "engine"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def certify(engine: Any, twin: Any, prompts: list[str] = PROMPTS, terms: Terms = TERMS, **more: Any) -> dict[str, Any]:
    found = run(Pair(engine, twin, prompts, at_once=1), terms, {"name": "a table"}, **more)
    return json.loads(json.dumps(found, allow_nan=False))


def test_an_honest_engine_holds() -> None:
    """Power: of the law test against a temperature of 0.5 above 0.99; refused wrongly in 2 of 1,000 seeds."""
    kept: list[dict] = []
    found = certify(Speaker.of("lossless", 3, 1), Speaker.of("plain", 3, 2), partial=kept.append)
    assert found["holds"]
    assert set(found) == {"holds", "machine", "model", "settings", "checks", "not_covered"}
    assert [len(one["checks"]) for one in kept] == [1, 2]
    greedy, law = found["checks"]
    for check in (greedy, law):
        assert set(check) >= CHECK
        assert check["planted_fault_caught"]
    assert greedy["always_the_same"] == len(PROMPTS)
    assert law["power"] > 0.99
    assert law["smallest_share_caught"] < 1
    assert found["settings"]["max_tokens"] == 16
    assert any("Whether the twin is right" in line for line in found["not_covered"])


def test_near_ties_on_both_sides_hold() -> None:
    """Both waver: the twin leaves itself, and the engine leaves it no more often."""
    found = certify(Speaker.of("lossless", 4, 1, ties=True), Speaker.of("plain", 4, 2, ties=True))
    greedy = found["checks"][0]
    assert found["holds"]
    assert greedy["disagreement"]["twin and itself"] > 0
    assert greedy["near_tied_prompts"] > 0


def test_noise_without_log_probabilities_holds_too() -> None:
    """Nobody tells what is near: shuffling alone says that both waver alike."""
    engine, twin = (Silent(Speaker.of(kind, 4, draws, ties=True)) for kind, draws in (("lossless", 1), ("plain", 2)))
    greedy = certify(engine, twin)["checks"][0]
    assert greedy["holds"]
    assert greedy["near_tied_prompts"] == 0
    assert greedy["disagreement"]["twin and itself"] > 0


@pytest.mark.parametrize("ties", [False, True])
def test_an_engine_that_keeps_every_guess_does_not_hold(ties: bool) -> None:
    found = certify(Speaker.of("accepts all", 3, 1, ties), Speaker.of("plain", 3, 2, ties))
    assert not found["holds"]
    for check in found["checks"]:
        assert check["p_value"] < check["doubt"]
        assert not check["holds"]
    first = found["checks"][0]["first_divergence"]
    assert first["cause"] == "unexplained"
    assert abs(first["margin"]) > NEAR
    assert first["plain"] != first["method"]


def test_a_wrong_residual_shows_in_the_law_alone() -> None:
    terms = Terms(max_tokens=16, samples=360)
    greedy, law = certify(Speaker.of("no residual", 3, 1), Speaker.of("plain", 3, 2), terms=terms)["checks"]
    assert greedy["holds"]
    assert not law["holds"]
    assert law["planted_fault_caught"]


@dataclass
class Sure:
    """Says its best tokens at every temperature below `wavers`."""

    inner: Speaker
    wavers: float

    def say(self, prompt: str, max_tokens: int, temperature: float, seed: int = 0) -> str:
        return self.inner.say(prompt, max_tokens, 1.0 if temperature >= self.wavers else 0.0, seed)

    def tops(self, prompt: str) -> None:
        return None


def test_a_model_that_is_sure_at_temperature_1_is_asked_at_2() -> None:
    greedy = certify(*(Sure(Speaker.of("plain", 3, draws), 2.0) for draws in (1, 2)))["checks"][0]
    assert greedy["holds"]
    assert "temperature 2" in greedy["planted_fault"]["what"]


def test_a_twin_that_heeds_no_temperature_proves_nothing() -> None:
    greedy = certify(*(Sure(Speaker.of("plain", 3, draws), 9.0) for draws in (1, 2)))["checks"][0]
    assert not greedy["holds"]
    assert greedy["p_value"] >= greedy["doubt"]
    assert greedy["planted_fault_caught"] is False
    assert greedy["unsure"]


@dataclass
class Silent:
    """Tells no log-probabilities."""

    inner: Speaker

    def say(self, prompt: str, max_tokens: int, temperature: float, seed: int = 0) -> str:
        return self.inner.say(prompt, max_tokens, temperature, seed)

    def tops(self, prompt: str) -> None:
        return None


@dataclass
class Fixed:
    """Draws nothing at all: a server with one seed for everything."""

    inner: Speaker
    said: dict = field(default_factory=dict)

    def say(self, prompt: str, max_tokens: int, temperature: float, seed: int = 0) -> str:
        asked = prompt, max_tokens
        return self.said.setdefault(asked, self.inner.say(prompt, max_tokens, temperature))

    def tops(self, prompt: str) -> None:
        return None


def test_servers_that_draw_nothing_prove_nothing() -> None:
    greedy, law = certify(*(Fixed(Speaker.of("plain", 3, 1)) for _ in range(2)))["checks"]
    assert not law["holds"]
    assert law["planted_fault_caught"] is False
    assert "start it without a fixed seed" in law["note"]
    assert not greedy["planted_fault_caught"]


@pytest.mark.parametrize("path", ["completions", "chat"])
def test_over_http(stack: ExitStack, path: str) -> None:
    asked: list[dict] = []
    urls = [stack.enter_context(serving(Speaker.of(kind, 3, 1), asked)) for kind in ("accepts all", "plain")]
    prompts: list = PROMPTS if path == "completions" else [[{"role": "user", "content": one}] for one in PROMPTS]
    servers = [Server(url, key="open sesame", **QUICK) for url in urls]
    sides = [Served.found(server, None, chat=path == "chat") for server in servers]
    assert [side.model for side in sides] == [MODEL, MODEL]
    found = run(Pair(*sides, prompts[:2], at_once=4), Terms(8, 36, 4), {})
    assert not found["holds"]
    assert {one["path"] for one in asked} == {"/v1/models", f"/v1/{'chat/' * (path == 'chat')}completions"}
    assert all(one["key"] == "Bearer open sesame" for one in asked)
    seeds = [one["seed"] for one in asked if "seed" in one and one["max_tokens"] == 4]
    assert len(set(seeds)) == len(seeds), "every draw has a seed of its own"


def test_what_cannot_be_asked_is_said(stack: ExitStack) -> None:
    with pytest.raises(BadInput, match=r"the engine at http://127.0.0.1:9/v1 gave no answer .* in 2 tries"):
        Served.found(Server("http://127.0.0.1:9/v1", **QUICK), None, chat=False)
    url = stack.enter_context(serving(Speaker.of("plain", 0)))
    with pytest.raises(BadInput, match=r"the engine at .* refuses the list of its models: 404"):
        Served.found(Server(url + "/elsewhere", **QUICK), None, chat=False)
    assert address("http://host:8000/") == "http://host:8000/v1"
    assert address("https://host/api/v1") == "https://host/api/v1"
    with pytest.raises(BadInput, match="there is no prompt"):
        certify(Speaker.of("plain", 0), Speaker.of("plain", 0), [])
    with pytest.raises(BadInput, match="at least 1 token and 24 samples, got 8 and 3"):
        Terms(samples=3)


@dataclass
class Telling:
    """A twin whose tokens are words of three letters, with log-probabilities behind each text."""

    laws: dict[str, dict[str, float]]

    def say(self, prompt: str, max_tokens: int, temperature: float, seed: int = 0) -> str:
        raise AssertionError

    def tops(self, prompt: str) -> dict[str, float]:
        return self.laws.get(prompt, {})


def test_texts_that_part_within_a_token_are_examined_at_its_start() -> None:
    laws = {"Q: a": {" car": -1.0, " cat": -1.1, " c": -3.0}}
    near = explain(Telling(laws), ["Q:"], 0, " a car is", " a cat is")
    assert near is None or near.position == 5
    laws = {"Q: a": {" car": -1.0, " cat": -1.1}}
    found = explain(Telling(laws), ["Q:"], 0, " a car is", " a cat is")
    assert (found.position, found.plain, found.cause) == (5, "r is", "near-tie")
    assert found.margin == pytest.approx(0.1)
    far = explain(Telling({"Q: a": {" car": -1.0, " cat": -2.0}}), ["Q:"], 0, " a car is", " a cat is")
    assert far.cause == "unexplained"
    nobody = explain(Telling({}), ["Q:"], 0, " a car", " a cat")
    assert (nobody.margin, nobody.cause) == (None, "unexplained")
    later = {"Q: a": {" ca": -0.1}, "Q: a ca": {"r": -0.7, "t": -0.8}}
    assert explain(Telling(later), ["Q:"], 0, " a car", " a cat").margin == pytest.approx(0.1)
    assert explain(Telling({}), ["Q:"], 0, "same", "same") is None

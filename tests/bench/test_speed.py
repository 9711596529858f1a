"""The race: its shape, its honesty, and what is left of it when it is interrupted."""

import json
from dataclasses import replace

import pytest

from decant import bench
from decant.bench import report as tables
from decant.bench.speed import KEYS
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.ead import EAD
from decant.decoders.method import Method
from decant.decoders.speculative import Speculative
from decant.decoders.workload import Workload
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.errors import BadInput
from decant.policies.fixed import Fixed
from decant.protocols import Warp
from decant.prove.faults import OneTooMany
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled
from decant.verifiers.lenience import Lenience
from decant.verifiers.rejection import Rejection

LM = MarkovLM.random(vocab=29, seed=0)
HOT = temperature(1.0)
WORK = Workload([[1, 2, 3], [4], [5, 6, 5, 6]], max_tokens=24, batch=2, seed=3, ends=frozenset({7}))


class Named:
    def facts(self) -> dict:
        return {"name": "a chain"}


def plain(warp: Warp = HOT) -> Method:
    return Method("plain", Autoregressive(LM, warp, Unconstrained()), "tokens")


def drafted(
    name: str, drafter: object, verifier: object = Coupled(), promise: str | None = "tokens", warp: Warp = HOT
) -> Method:
    return Method(name, Speculative(LM, drafter, verifier, Fixed(3), warp, Unconstrained()), promise)


def race(*methods: Method, work: Workload = WORK, **more: object) -> dict:
    found = bench.run(Named(), [plain(), *methods], work, exact_plain=plain(), repeat=3, **more)
    return json.loads(json.dumps(found, allow_nan=False))


def test_the_shape_that_is_promised() -> None:
    found = race(
        drafted("model", DraftModel(LM.blurred(1))),
        drafted("law", DraftModel(LM.blurred(1), coupled=False), Rejection(), "distribution"),
        skipped=[("other", "needs what is not here")],
        settings={"temperature": 1.0},
        machine={"name": "here"},
    )
    assert found["machine"] == {"name": "here"}
    assert found["model"] == {"name": "a chain"}
    assert found["settings"]["temperature"] == 1.0
    assert found["settings"]["repeat"] == 3
    assert found["finished"] == {"repeats": 3, "prompts": 3}
    first, model, law, other = found["methods"]
    assert all(set(row) == set(KEYS) for row in found["methods"])
    assert first["name"] == "plain"
    assert first["speedup"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert first["acceptance_length"] == 1.0
    assert first["acceptance_by_position"] == []
    assert first["identical"] is model["identical"] is True
    assert model["differs"] == {"near_ties": 0, "unexplained": 0}
    assert model["acceptance_length"] > 1.2
    assert len(model["acceptance_by_position"]) == 3
    assert model["tokens"] == first["tokens"]
    assert model["target_calls"] < first["target_calls"]
    assert set(model["seconds"]) == {"draft", "target", "other"}
    assert all(seconds > 0 for seconds in model["seconds"].values())
    assert law["identical"] is None
    assert law["promise"] == "distribution"
    assert other["skipped"] == "needs what is not here"
    assert other["speedup"] is None


def test_acceptance_length_counts_what_was_said() -> None:
    perfect = race(drafted("perfect", DraftModel(LM)), work=Workload([[1]], max_tokens=10))["methods"][1]
    # Drafts of 3 and a bonus: 4 + 4 + 2 of 4, in three target calls.
    assert perfect["target_calls"] == 3
    assert perfect["acceptance_length"] == pytest.approx(10 / 3, abs=1e-3)
    assert perfect["acceptance_by_position"] == [1.0, 1.0, 1.0]


def two_models(name: str, threshold: float) -> Method:
    return Method(name, EAD(LM, LM.blurred(1), HOT, Unconstrained(), threshold, dwell=2), None)


def test_acceptance_length_is_by_target_calls_whatever_a_step_is() -> None:
    found = race(two_models("some", 3.0), two_models("none", 99.0), work=Workload([[1]], max_tokens=60))
    some, none = found["methods"][1:]
    assert 0 < some["target_calls"] < 60
    assert some["acceptance_length"] == pytest.approx(60 / some["target_calls"], abs=1e-3)
    assert (none["target_calls"], none["acceptance_length"]) == (0, None)
    assert [row["tokens a call"] for row in tables.rows(found)][2:] == [""]


def test_texts_of_other_draws_are_not_compared_token_by_token() -> None:
    exact = drafted("lenient", DraftModel(LM.blurred(1), coupled=False), Lenience(1.0), None)
    exact = replace(exact, knobs={"lenience": 1.0}, coupled=False)
    cold = drafted("cold", DraftModel(LM.blurred(1)), Lenience(0.1), None)
    found = race(exact, cold)
    lenient, compared = found["methods"][1:]
    assert lenient["identical"] is None, "Lenience(1.0) is exact, and its texts are others"
    assert lenient["lost"]["agreement"] is None
    assert lenient["lost"]["nats"] is not None
    assert lenient["differs"] == {"near_ties": None, "unexplained": None}
    assert (lenient["knobs"], compared["knobs"]) == ({"lenience": 1.0}, None)
    assert 0 <= compared["lost"]["agreement"] < 1
    assert tables.rows(found)[1]["equal to plain"] == "lossy"


def test_ratios_are_taken_within_a_repeat() -> None:
    row = race(drafted("lookup", PromptLookup()))["methods"][1]
    assert row["speedup"]["low"] <= row["speedup"]["median"] <= row["speedup"]["high"]
    assert row["total_tokens_per_second"]["median"] < row["tokens_per_second"]["median"]


def test_a_wrong_verifier_is_seen() -> None:
    row = race(drafted("wrong", DraftModel(LM.blurred(1)), OneTooMany(Coupled())))["methods"][1]
    assert row["identical"] is False
    assert row["differs"]["unexplained"] == 3


def test_repetitive_text_is_flagged() -> None:
    loop = Workload([[1, 2]], max_tokens=200)
    warp = greedy()  # a Markov chain that is followed greedily ends in a cycle
    found = bench.run(Named(), [plain(warp)], loop, exact_plain=plain(warp), repeat=1)["methods"][0]
    assert found["distinct_4grams"] < 0.5
    assert "repetitive text" in found["flag"]
    assert race()["methods"][0]["flag"] is None


def test_methods_take_turns_within_a_repeat() -> None:
    seen = []
    race(drafted("lookup", PromptLookup()), progress=lambda done, total, text: seen.append((done, total, text)))
    order = [text.split(", ")[1] for _, _, text in seen if text.startswith("repeat 1")]
    assert order == ["plain", "lookup", "plain", "lookup"]
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1] == (2 * (3 * 2 + 1), 2 * (3 * 2 + 1), "done")


def test_a_method_that_refuses_is_skipped_with_its_reason() -> None:
    flat = MarkovLM(LM.logits_UVV, trees=False)
    tree = Method("tree", Speculative(flat, TokenRecycling(), Coupled(), Fixed(3), HOT, Unconstrained()), "tokens")
    work = Workload([[1, 2, 3, 1, 2, 3, 1, 2]], max_tokens=24)
    found = race(tree, drafted("lookup", PromptLookup()), work=work)["methods"]
    assert [row["name"] for row in found] == ["plain", "lookup", "tree"]
    assert "TokenRecycling drafts trees, but this MarkovLM model cannot score one" in found[2]["skipped"]


def test_an_interrupted_run_keeps_what_was_finished() -> None:
    kept = []

    def stop(done: int, total: int, text: str) -> None:
        if text.startswith("repeat 2") and done > 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        race(drafted("lookup", PromptLookup()), progress=stop, partial=kept.append)
    assert [one["finished"] for one in kept] == [
        {"repeats": 1, "prompts": 2},
        {"repeats": 1, "prompts": 3},
        {"repeats": 1, "prompts": 3},
    ]
    assert kept[0]["methods"][1]["identical"] is True


def test_the_baseline_comes_first() -> None:
    lookup = drafted("lookup", PromptLookup())
    with pytest.raises(BadInput, match="the first method is the baseline, plain decoding, and lookup is not"):
        bench.run(Named(), [lookup], WORK, exact_plain=plain())
    with pytest.raises(BadInput, match="repeat is 1 or more, got 0"):
        bench.run(Named(), [plain()], WORK, exact_plain=plain(), repeat=0)


def test_a_table_of_text() -> None:
    found = race(drafted("wrong", DraftModel(LM.blurred(1)), OneTooMany(Coupled())), skipped=[("tree", "no masks")])
    table = tables.rows(found)
    assert table[0]["equal to plain"] == "yes"
    assert table[0]["speed-up"] == "1.00 (1.00 to 1.00)"
    assert table[1]["equal to plain"] == "no: 3 unexplained"
    assert table[2]["notes"] == "skipped: no masks"
    lines = tables.text(table).splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("plain")

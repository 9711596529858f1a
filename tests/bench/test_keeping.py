"""An interrupted race goes on where its last whole round ended, and says so where it cannot."""

import json

import pytest

from decant import bench
from decant.bench.keeping import Kept
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import Method
from decant.decoders.speculative import Speculative
from decant.decoders.workload import Workload
from decant.drafters.token_recycling import TokenRecycling
from decant.errors import BadInput
from decant.policies.fixed import Fixed
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled

LM = MarkovLM.random(vocab=29, seed=0)
WARP = temperature(1.0)
WORK = Workload([[1, 2, 3], [4], [5, 6, 5, 6]], max_tokens=12, seed=3)
PLAIN = Method("plain", Autoregressive(LM, WARP, Unconstrained()), "tokens")
LEARNER = Method(
    "learner", Speculative(LM, TokenRecycling(), Coupled(), Fixed(3), WARP, Unconstrained()), "tokens"
)  # fmt: skip


class Named:
    def facts(self) -> dict:
        return {"name": "a chain"}


def race(kept: Kept | None, work: Workload = WORK, progress=lambda done, total, text: None) -> dict:
    return bench.run(Named(), [PLAIN, LEARNER], work, exact_plain=PLAIN, repeat=3, kept=kept, progress=progress)


class Killed(Exception):
    pass


def killed_in_the_second_round(done: int, total: int, text: str) -> None:
    if text == "repeat 2 of 3, learner":
        raise Killed


def counted(found: dict) -> list[dict]:
    timed = {"tokens_per_second", "speedup", "seconds", "prefill_seconds", "ttft_seconds", "total_tokens_per_second"}
    return [{key: value for key, value in row.items() if key not in timed} for row in found["methods"]]


def test_a_race_that_was_killed_goes_on(tmp_path) -> None:
    kept, seen = Kept(tmp_path / "race.json"), []
    with pytest.raises(Killed):
        race(kept, progress=killed_in_the_second_round)
    found = race(kept, progress=lambda done, total, text: seen.append(text))
    assert not [text for text in seen if text.startswith(("repeat 1", "plain in exact"))], "round 1 was run again"
    assert [text for text in seen if text.startswith("repeat 2")], "round 2, which was cut short, was not"
    assert found["finished"] == {"repeats": 3, "prompts": 3}
    assert counted(found) == counted(race(None))


def test_a_finished_race_is_only_told_again(tmp_path) -> None:
    kept, seen = Kept(tmp_path / "race.json"), []
    found = race(kept)
    assert race(kept, progress=lambda done, total, text: seen.append(text)) == found
    assert seen == ["done"]


def test_rounds_that_were_kept_before_calls_of_requests_were_counted(tmp_path) -> None:
    file = tmp_path / "race.json"
    whole = race(Kept(file))
    old = json.loads(file.read_text())
    for lap in (lap for laps in old["kept"]["laps"] for lap in laps):
        del lap["asked"]
    file.write_text(json.dumps(old))
    assert race(Kept(file)) == whole, "alone, a request that steps as often as it calls"
    for lap in (laps[1] for laps in old["kept"]["laps"]):
        lap["calls"] = 2
    file.write_text(json.dumps(old))
    assert race(Kept(file))["methods"][1]["acceptance_length"] is None


def test_another_race_is_refused(tmp_path) -> None:
    kept = Kept(tmp_path / "race.json")
    race(kept)
    with pytest.raises(BadInput, match="the rounds of another race: prompts, settings differ"):
        race(kept, Workload([[1, 2, 3], [4]], max_tokens=12, seed=3))


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"question": {}})])
def test_a_file_that_is_no_race_is_refused(tmp_path, text) -> None:
    file = tmp_path / "notes.json"
    file.write_text(text)
    with pytest.raises(BadInput, match="holds no rounds of a race"):
        race(Kept(file))

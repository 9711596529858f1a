"""A tuning from end to end on tiny models, whose times mean nothing: what is written, and that it goes on."""

import json
from dataclasses import replace

import pytest

from decant.apps import deciding, investing, tuning
from decant.apps.candidates import Candidate, hosts, listed, sole, variants
from decant.apps.deciding import sketch, tune
from decant.apps.desk import PROGRESS, Asked, opened
from decant.apps.opening import Opening
from decant.apps.planned import planned
from decant.apps.prompts import read, text_prompt
from decant.errors import BadInput
from decant.tune import costs
from decant.tune.lanes import Lanes
from decant.tune.plan import Plan
from decant.tune.predict import Passes, Profile
from decant.tune.race import Interval, Outcome, Standing
from decant.types import CostCurve

PROMPTS = [text_prompt(f"Take {number}, then add {number + 2}.", f"line {number}") for number in range(4)]
NAMES = ("draft-model", "prompt-lookup", "beam")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times are not what is tested: few passes, and a small guess at the bandwidth."""
    monkeypatch.setattr(costs, "TOKENS", (1, 4))
    monkeypatch.setattr(costs, "COARSE", (1, 4))
    monkeypatch.setattr("decant.bench.costs.read_bandwidth_gb_s", lambda device: 10.0)
    monkeypatch.setattr(deciding, "SAMPLES", 20)


@pytest.fixture
def asked(tmp_path) -> Asked:
    return Asked("prompts.txt", PROMPTS, tmp_path / "out", 0.5, methods=NAMES, max_tokens=6)


def test_a_tuning_writes_a_plan_and_what_it_rests_on(target, folder, asked):
    found = tune(target, asked, Opening(), command=lambda plan: "decant serve x")
    written = {one.name for one in asked.out.iterdir()}
    assert {"plan.json", "report.json", "report.html", PROGRESS} <= written
    assert Plan.load(asked.out) == found.plan
    (choice,) = found.plan.choices
    assert (choice.batch, choice.temperature) == (1, 0.0)
    report = json.loads((asked.out / "report.json").read_text())
    assert report["command"] == "decant serve x"
    (scene,) = report["scenes"]
    assert dict(scene["refused"])["beam"].startswith("it promises neither")
    assert report["race"]["methods"][0]["name"] == "plain"
    assert all(row["identical"] for row in report["race"]["methods"] if row["skipped"] is None)
    assert len(report["texts"]) == 3
    assert {one["origin"] for text in report["texts"] for one in text["tokens"]} <= {
        *("drafted", "corrected", "bonus", "plain"),
    }
    assert ("certificate.json" in written) == (choice.method != "plain")
    assert planned(asked.out, target, Opening(), batch=1, temperature=0.0) == choice


def test_what_fails_its_certificate_is_not_advised(target, asked, monkeypatch):
    """The planted bug: a method that is faster and says something else."""
    gain = Interval(0.875, 0.788, 0.956)
    won = Outcome("draft-model", gain, (), "why", (Standing("draft-model", gain, 9, None),), 1.0)
    genuine = tuning.race
    monkeypatch.setattr(tuning, "race", lambda *given: replace(won, standings=genuine(*given).standings))
    false = {"holds": False, "checks": [], "not_covered": [], "machine": {}, "model": {}, "settings": {}}
    monkeypatch.setattr(deciding, "_prove", lambda *given: false)
    monkeypatch.setattr("decant.pages.certificate", lambda facts: "<p>no</p>")
    monkeypatch.setattr("decant.pages.report", lambda facts: "<p>no</p>")
    (choice,) = tune(target, asked, Opening()).plan.choices
    assert choice.method == "plain"
    assert "draft-model was faster, but its certificate does not hold" in choice.why
    monkeypatch.setattr(deciding, "_prove", lambda *given: {**false, "holds": True})
    (choice,) = tune(target, replace(asked, out=asked.out.parent / "other"), Opening()).plan.choices
    assert choice.method == "draft-model"


def test_every_batch_and_temperature_has_a_choice_of_its_own(target, asked):
    many = replace(asked, methods=("draft-model",), batches=(1, 3), temperatures=(0.0, 0.8), objective="throughput")
    found = tune(target, many, Opening())
    wanted = [(1, 0.0), (3, 0.0), (1, 0.8), (3, 0.8)]
    assert [(one.batch, one.temperature) for one in found.plan.choices] == wanted
    assert [(one["batch"], one["temperature"]) for one in found.report["scenes"]] == wanted
    assert {curve["batch"] for curve in found.report["costs"]["curves"]} == {1, 3}
    looked = {*found.report["acceptance"]["profiles"]}
    assert "draft-model" in looked


def test_texts_of_the_report_are_the_texts(target, asked):
    """Token by token, they are what was decoded: a character of several tokens included."""
    desk = opened(target, asked, Opening())
    there = tuning.probed(desk, 0.0, tuning.priced(desk))
    from decant.apps.tuned import texts

    for name, ids in (("plain", there.plainly), ("draft-model", there.probes["draft-model"])):
        for text, prompt, said in zip(texts(desk, there, name), desk.few, ids.texts, strict=True):
            whole = target.after(prompt)([token for token, _ in said])
            assert "".join(token["text"] for token in text["tokens"]) == whole.rstrip("\ufffd")


def test_an_interrupted_tuning_goes_on_and_times_nothing_twice(target, asked, monkeypatch):
    timed = []
    genuine = Lanes._timed

    def interrupted(self, name, turn):
        if len(timed) == 3:
            raise KeyboardInterrupt
        timed.append((name, turn))
        return genuine(self, name, turn)

    monkeypatch.setattr(Lanes, "_timed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(target, asked, Opening())
    assert not (asked.out / "plan.json").exists()
    kept = json.loads((asked.out / PROGRESS).read_text())["kept"]
    assert set(kept["probes"]["0"]) >= {"plain", "draft-model", "prompt-lookup"}

    again = []

    def noted(self, name, turn):
        again.append((name, turn))
        return genuine(self, name, turn)

    monkeypatch.setattr(Lanes, "_timed", noted)
    monkeypatch.setattr(tuning, "probe", lambda *given: pytest.fail("a probe was made twice"))
    tune(target, asked, Opening())
    assert not {*again} & {*timed}
    assert Plan.load(asked.out).choices


def test_another_question_in_the_same_folder_is_refused(target, asked):
    opened(target, asked, Opening()).note()
    with pytest.raises(BadInput, match="settings differ"):
        opened(target, replace(asked, max_tokens=7), Opening())


def test_a_plan_is_refused_for_another_model_and_elsewhere(target, draft, asked, monkeypatch):
    tune(target, asked, Opening())
    with pytest.raises(BadInput, match="made for another model: parameters was"):
        planned(asked.out, draft, Opening())
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    with pytest.raises(BadInput, match="made for another machine: threads was 1 and is 64"):
        planned(asked.out, target, Opening())


def test_models_that_fill_in_masks_are_refused(filler, asked):
    with pytest.raises(BadInput, match=r"fills in masks.*--suite parallel"):
        opened(filler, asked, Opening())


@pytest.mark.parametrize("wrong", [{"budget": 0.0}, {"batches": ()}, {"temperatures": (-1.0,)}])
def test_what_cannot_be_tuned_for_is_refused(asked, wrong):
    with pytest.raises(BadInput, match="tune needs a budget above 0"):
        replace(asked, **wrong)


def test_a_draft_that_was_given_is_named_where_it_is_used(target, draft_folder, folder):
    there = hosts(target, [str(draft_folder)], Opening())
    found = listed(["prompt-lookup", "draft-model"], there)
    assert found == [Candidate("draft-model", str(draft_folder)), Candidate("prompt-lookup")]
    assert found[0].name == f"draft-model --draft {draft_folder}"
    assert found[0].parts > found[1].parts


def test_variants_are_deeper_where_guesses_stand_and_shorter_where_they_fall():
    flat = Passes({1: CostCurve((1, 16), (1.0, 1.2))})
    one = Candidate("draft-model")
    deep = variants(one, Profile.chain(0.95, 5), flat, [1], 0.0)
    short = variants(one, Profile.chain(0.1, 5), flat, [1], 0.0)
    assert deep[0].method == "draft-model:depth=12"
    assert short[0].method == "draft-model:depth=1"
    assert deep[-1] == Candidate("draft-model", policy="cost-aware")
    assert [each.verifier for each in variants(one, Profile.chain(0.95, 5), flat, [1], 0.8)][-1] == "block"
    assert variants(Candidate("draft-model:depth=3"), Profile.chain(0.5, 3), flat, [1], 0.0) == []


def test_methods_of_one_drafter_are_one_under_one_policy():
    many = [Candidate(name, policy="cost-aware") for name in ("draft-model", "draft-tree", "dyspec", "eagle-2")]
    assert [one.method for one in sole(many)] == ["draft-model", "eagle-2"]


def test_a_choice_says_what_the_race_found(target, asked):
    desk = opened(target, asked, Opening())
    there = tuning.probed(desk, 0.0, tuning.priced(desk))
    gain = Interval(0.875, 0.788, 0.956)
    outcome = Outcome("draft-model", gain, (), "why", (Standing("draft-model", gain, 9, None),), 1.0)
    choice = tuning._choice(there, 1, outcome)
    assert choice.method == "draft-model"
    assert choice.speedup == {"median": 2.3989, "low": 2.199, "high": 2.6013}


def test_a_sketch_measures_and_writes_nothing(target, asked):
    found = sketch(target, asked, Opening())
    assert found["candidates"] == ["draft-model", "prompt-lookup"]
    assert [name for name, _ in found["refused"]] == ["beam"]
    assert sum(seconds for seconds in found["seconds"].values() if seconds) == pytest.approx(asked.budget, abs=0.2)
    assert not asked.out.exists()


def test_a_head_is_never_taught_on_what_is_measured(asked, tmp_path):
    file = tmp_path / "many.txt"
    file.write_text("\n".join(f"prompt {number}" for number in range(10)))
    many = replace(asked, source=str(file), prompts=read(str(file)), train=60.0)
    measured, taught = investing.parted(many)
    assert len(taught) == len(measured.prompts) == 5
    assert not {one.text for one in taught} & {one.text for one in measured.prompts}
    assert investing.parted(replace(asked, source="house:tasks", train=60.0)) == (
        replace(asked, source="house:tasks", train=60.0), (),
    )  # fmt: skip
    with pytest.raises(BadInput, match="give 8 or more"):
        investing.parted(replace(asked, train=60.0))


def test_what_training_should_bring_is_said_with_what_is_assumed(target, asked):
    desk = opened(target, replace(asked, methods=("prompt-lookup",)), Opening())
    there = tuning.probed(desk, 0.0, tuning.priced(desk))
    there.passes = Passes({1: CostCurve((1, 16), (1.0, 1.1))})  # verifying is nearly free
    there.probes.clear()
    bet = investing.foretold(desk, there)
    assert bet.pays == (bet.speedup >= 1.1)
    pays = replace(bet, pays=True)
    assert "acceptance is assumed: that of house:eagle3" in pays.sentence()
    assert "give --train 30m" in pays.sentence()
    assert "teaching it for 30 minutes" in pays.sentence(1800)
    there.passes = Passes({1: CostCurve((1, 2, 16), (1.0, 2.0, 16.0))})  # every row costs a pass
    dear = investing.foretold(desk, there)
    assert not dear.pays
    assert "not expected to pay" in dear.sentence()


@pytest.mark.slow
def test_a_head_that_was_taught_is_raced_with_the_others(folder, asked, tmp_path, monkeypatch):
    """What is expected is said first; what was taught is kept, and a run that goes on does not teach it again."""
    file = tmp_path / "many.txt"
    file.write_text("\n".join(f"Take {number}, then add {number + 1}." for number in range(8)))
    many = replace(asked, source=str(file), prompts=read(str(file)), methods=("eagle3",), train=3.0)
    monkeypatch.setattr(investing, "foretold", lambda desk, there: investing.Bet(1.8, 1.0, 3, True))
    said = []
    found = tune(str(folder), many, Opening(dtype="float32"), say=said.append)
    assert "expected to decode 1.80 times as fast" in said[0]
    head = str((many.out / "eagle3").resolve())
    (scene,) = found.report["scenes"]
    assert f"eagle3 --draft {head}" in {row["name"] for row in scene["ranking"]}
    assert dict(scene["refused"])["eagle3"].startswith("eagle3 needs a trained head")
    monkeypatch.setattr(investing.teaching, "run", lambda *given: pytest.fail("it was taught twice"))
    assert tune(str(folder), many, Opening(dtype="float32")).plan.choices == found.plan.choices

from dataclasses import replace

import pytest

from decant.apps.opening import Opening
from decant.apps.prompts import text_prompt
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, prepare
from decant.errors import BadInput

PROMPTS = [text_prompt(f"Take {n}", f"p.txt line {n}") for n in range(3)]


@pytest.fixture
def trial(target, draft):
    question = Question("all", "p.txt", draft, max_tokens=8, batch=2, seed=5)
    return prepare(target, question, PROMPTS, Sampling(temperature=1.0, top_k=4), Opening())


def test_every_method_whose_needs_are_met_is_in_place(trial, target):
    assert {"draft-model", "prompt-lookup", "token-recycling", "bild"} <= {method.name for method in trial.methods}
    assert all(reason for _, reason in trial.skipped)
    assert (trial.workload.batch, trial.workload.seed, trial.workload.ends) == (2, 5, target.ends)
    assert trial.workload.prompts == [target.encode(f"Take {n}") for n in range(3)]


def test_the_baseline_is_plain_decoding_at_its_fastest_and_the_reference_is_exact(trial):
    rows = trial.fastest_plain.decoder.target.rows
    assert rows is None or rows.cost <= 1  # measured when the model was loaded: either may be
    assert trial.exact_plain.decoder.target.rows is not None
    assert trial.fastest_plain.decoder.target.network is trial.exact_plain.decoder.target.network


def test_a_batch_that_exact_mode_cannot_hold_is_compared_as_loaded(trial):
    rows = trial.exact_plain.decoder.target.rows
    wide = replace(trial, workload=replace(trial.workload, batch=rows.most + 1))
    assert wide.exact_plain.decoder.target is trial.target.model


def test_the_settings_are_enough_to_run_it_again(trial, draft):
    settings = trial.settings()
    assert settings["draft"] == draft.facts()
    assert {key: value for key, value in settings.items() if key != "draft"} == {
        "asked": "all",
        "source": "p.txt",
        "verifier": None,
        "policy": None,
        "temperature": 1.0,
        "top_k": 4,
        "top_p": None,
        "min_p": None,
    }


def test_no_draft_is_loaded_where_no_method_needs_one(folder):
    alone = prepare(folder, Question(["prompt-lookup"], "p.txt"), PROMPTS, Sampling(0.0), Opening(dtype="float32"))
    assert alone.draft is None
    pair = prepare(folder, Question(["draft-model:depth=2"], "p.txt"), PROMPTS, Sampling(0.0), Opening(dtype="float32"))
    assert pair.draft is not None
    assert pair.draft.model.rows is None, "a draft need not be exact"


def test_room_for_the_answer_is_checked_before_anything_is_decoded(target):
    with pytest.raises(BadInput, match=r"p\.txt line 0 has \d+ tokens and 5,000 more were asked for"):
        prepare(target, Question(["prompt-lookup"], "p.txt", max_tokens=5000), PROMPTS, Sampling(0.0), Opening())


def test_what_promises_nothing_is_left_out_of_all_and_refused_by_name(trial, target, draft):
    few = replace(trial, methods=[one for one in trial.methods if one.name in {"bild", "prompt-lookup"}], skipped=[])
    found = few.certify(100, lambda done, total, text: None)
    assert [check["method"] for check in found["checks"]] == ["prompt-lookup"]
    assert any(line.startswith("bild, which was left out: it promises neither") for line in found["not_covered"])
    named = replace(few, question=replace(few.question, methods=["bild"]))
    with pytest.raises(BadInput, match="bild promises neither tokens nor a law"):
        named.certify(100, lambda done, total, text: None)


def test_a_policy_for_all_keeps_those_that_it_paces(target, draft):
    question = Question("all", "p.txt", draft, policy="cost-aware", max_tokens=8)
    trial = prepare(target, question, PROMPTS, Sampling(temperature=0.0), Opening())
    paced = trial.paced()
    kept, why = [method.name for method in paced.methods], dict(paced.skipped)
    assert {"draft-model", "prompt-lookup", "token-recycling", "early-exit", "spectr"} <= set(kept)
    assert why["draft-tree"] == why["sequoia"] == "with this policy it is draft-model"
    assert why["del"] == "with this policy it is early-exit"
    assert "loop of its own" in why["pearl"]
    assert "loop of its own" in why["bild"]
    assert "spectr" not in why, "it has a verifier of its own"
    assert len(kept) + len(paced.skipped) == len(trial.methods) + len(trial.skipped)


def test_with_one_verifier_for_all_and_with_knobs_methods_are_told_apart(target, draft):
    specs = ["draft-model", "draft-model:most=2", "spectr", "prompt-lookup:ngram=2", "prompt-lookup"]
    question = Question(specs, "p.txt", draft, "rejection", "cost-aware", max_tokens=8)
    trial = prepare(target, question, PROMPTS, Sampling(temperature=1.0), Opening())
    assert [method.name for method in trial.paced().methods] == [*specs[:2], *specs[3:]]
    assert dict(trial.paced().skipped) == {"spectr": "with this policy it is draft-model"}


def test_without_a_policy_for_all_everything_stays(trial):
    assert trial.paced() is trial

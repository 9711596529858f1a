import json
from dataclasses import replace

import pytest

from decant.errors import BadInput
from decant.tune.plan import FILE, Choice, Plan

HERE = {"fingerprint": "m1", "processor": "A", "cores": 2, "threads": 1, "device": "cpu", "torch": "2.9"}
MODEL = {"fingerprint": "f1", "name": "house:target", "dtype": "bfloat16", "parameters": 5}
GAIN = {"median": 2.4, "low": 2.2, "high": 2.6}
CHOICES = (
    Choice(1, 0.0, "eagle3", speedup=GAIN, policy="cost-aware", why="it was the fastest"),
    Choice(8, 0.0, "plain", why="nothing was faster"),
    Choice(1, 0.8, "draft-model:depth=3", "house:draft", "block", speedup=GAIN),
)
PLAN = Plan("0.1", MODEL, HERE, "latency", CHOICES, {"max_tokens": 64})


def test_a_plan_reads_as_it_was_written(tmp_path):
    file = PLAN.save(tmp_path / "deep" / "out")
    assert file.name == FILE
    assert Plan.load(file.parent) == Plan.load(file) == PLAN
    assert [one.name for one in file.parent.iterdir()] == [FILE]  # nothing half written is left


def test_another_machine_or_model_is_refused_with_what_differs():
    PLAN.refuse(MODEL, HERE)
    with pytest.raises(BadInput, match=r"another machine: threads was 1 and is 2.*tune again"):
        PLAN.refuse(MODEL, {**HERE, "threads": 2, "fingerprint": "m2", "load": 3.0})
    with pytest.raises(BadInput, match="another model: dtype was bfloat16 and is float32"):
        PLAN.refuse({**MODEL, "dtype": "float32", "fingerprint": "f2"}, HERE)
    with pytest.raises(BadInput, match="another model: the weights differ"):
        PLAN.refuse({**MODEL, "fingerprint": "f3"}, HERE)


@pytest.mark.parametrize(
    ("batch", "heat", "method", "said"),
    [
        (1, 0.0, "eagle3", "it was the fastest"),
        (1, None, "eagle3", "it was the fastest"),
        (2, 0.0, "eagle3", "batch 2 was not measured; this is for batch 1; it was"),
        (5, 0.0, "plain", "batch 5 was not measured; this is for batch 8"),
        (64, 0.1, "plain", "batch 64 was not measured; this is for batch 8; temperature 0.1 was not measured"),
        (8, 1.5, "draft-model:depth=3", "temperature 1.5 was not measured; this is for 0.8"),
        (1, 0.4, "eagle3", "temperature 0.4 was not measured; this is for 0;"),
    ],
)
def test_the_nearest_choice_is_taken_and_says_what_was_not_measured(batch, heat, method, said):
    found = PLAN.choice(batch, heat)
    assert found.method == method
    assert said in found.why


def test_a_choice_is_spelt_as_a_command_line_takes_it():
    assert CHOICES[2].options == ["--method", "draft-model:depth=3", "--draft", "house:draft", "--verifier", "block"]
    assert CHOICES[1].options == ["--method", "plain"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no plan"),
        ("[]", "is no plan"),
        (json.dumps({**PLAN.facts(), "format": 9}), "format 9, and this decant reads format 1"),
        (json.dumps({**PLAN.facts(), "choices": [{"batch": 1, "colour": 2}]}), "is no plan"),
        (json.dumps(replace(PLAN, choices=()).facts()), "holds no choice"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path, text, said):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(BadInput, match=said):
        Plan.load(tmp_path)


def test_a_folder_without_a_plan_names_the_remedy(tmp_path):
    with pytest.raises(BadInput, match="decant tune MODEL --out DIR"):
        Plan.load(tmp_path)

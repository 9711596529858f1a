"""Cost curves: what is computed, what is left out, and the numbers that follow from the times."""

import json
from dataclasses import replace

import pytest

from decant.bench import costs
from decant.bench.costs import Curve, Grid, Record
from decant.errors import BadInput
from decant.models.load import load
from decant.models.rows import RowClass
from tests.models.families import build

CACHED = 3 * 2 * (8 + 8) * 4  # bytes a token: layers x heads x (keys + values) x float32
SMALL = Grid(contexts=(5, 9), batches=(1, 3), tokens=(1, 2, 4), repeat=2)


@pytest.fixture
def target():
    """A Llama whose context holds 128 tokens, in transformers' hands."""
    return load(build("llama"), exact="off")


@pytest.fixture(autouse=True)
def bandwidths(monkeypatch):
    """What the measurements of the bandwidth say, in GB/s."""
    said = [10.0, 20.0, 15.0, 12.0, 11.0]
    monkeypatch.setattr(costs, "read_bandwidth_gb_s", lambda device: said.pop(0))
    return said


def test_the_shape_that_is_promised(target):
    report = json.loads(json.dumps(costs.run(target, SMALL), allow_nan=False))
    assert set(report) == {"machine", "model", "settings", "bandwidth_gb_s", "bytes", "curves", "skipped"}
    assert report["settings"] == {
        "contexts": [5, 9],
        "batches": [1, 3],
        "tokens": [1, 2, 4],
        "repeat": 2,
        "exact": False,
        "exact_rows": None,
    }
    assert [(curve["batch"], curve["context"]) for curve in report["curves"]] == [(1, 5), (1, 9), (3, 5), (3, 9)]
    for curve in report["curves"]:
        assert set(curve) == {"batch", "context", "floor_ms", "points"}
        assert [point["tokens"] for point in curve["points"]] == [1, 2, 4]
        assert curve["points"][0]["relative"] == 1
        for point in curve["points"]:
            assert set(point) == {"tokens", "ms", "relative", "floor_fraction"}
            assert 0 < point["ms"]["low"] <= point["ms"]["median"] <= point["ms"]["high"]
    assert report["skipped"] == []


def test_the_floor_is_weights_and_cache_over_the_best_bandwidth(target, bandwidths):
    report = costs.run(target, SMALL)
    assert bandwidths == []  # in front, and behind each of four curves
    weights = target.model.network.weight_bytes()
    assert report["bandwidth_gb_s"] == 20
    assert report["bytes"] == {"weights": weights, "cached_token": CACHED}
    floors = [round((weights + batch * context * CACHED) / 20e6, 5) for batch in (1, 3) for context in (5, 9)]
    assert [curve["floor_ms"] for curve in report["curves"]] == floors


def test_every_pass_computes_all_its_rows(target):
    seen = []
    target.model.network.model.register_forward_pre_hook(
        lambda module, given, named: seen.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    target.model.network.token_bytes()  # which a forward shows, once
    seen.clear()
    costs.run(target, Grid((9,), (3,), (1, 2, 4), repeat=2))
    assert seen == [(3, 8), *[(3, 1), (3, 2), (3, 4)] * 3]  # the prefill, a warm-up and two repeats


def test_ids_are_fixed_and_in_the_vocabulary(target):
    ids_BT = costs._ids(target, 2, 50)
    assert ids_BT.equal(costs._ids(target, 2, 50))
    assert 0 <= ids_BT.min() < ids_BT.max() < target.model.vocab


def test_numbers_that_follow_from_the_times():
    # The machine was half as fast in the second repeat; the ratio does not see it.
    facts = Curve(1, 8, 0, {1: [4.0, 8.0, 4.0], 2: [6.0, 12.0, 6.0]}).facts(floor_ms=3.0)
    one, two = facts["points"]
    assert one == {"tokens": 1, "ms": {"median": 4, "low": 4, "high": 8}, "relative": 1, "floor_fraction": 0.75}
    assert two == {"tokens": 2, "ms": {"median": 6, "low": 6, "high": 12}, "relative": 1.5, "floor_fraction": 0.5}


def test_what_the_context_cannot_hold_is_skipped_with_a_reason(target):
    report = costs.run(target, Grid((96, 128, 129), (1,), (1, 32, 33, 34), repeat=1))
    measured = [(curve["context"], [point["tokens"] for point in curve["points"]]) for curve in report["curves"]]
    assert measured == [(96, [1, 32, 33]), (128, [1])]
    reason = "the model's context holds 128 tokens"
    assert report["skipped"] == [
        {"batch": 1, "context": 96, "tokens": [34], "reason": reason},
        {"batch": 1, "context": 128, "tokens": [32, 33, 34], "reason": reason},
        {"batch": 1, "context": 129, "tokens": [1, 32, 33, 34], "reason": reason},
    ]


def test_a_batch_that_exact_mode_cannot_hold_is_skipped_with_a_reason(target):
    narrow = replace(target, model=replace(target.model, rows=RowClass(1, 2)))
    report = costs.run(narrow, Grid((5,), (4, 1), (1, 2), repeat=1))
    assert [curve["batch"] for curve in report["curves"]] == [1]
    [skipped] = report["skipped"]
    assert (skipped["batch"], skipped["context"], skipped["tokens"]) == (4, 5, [1, 2])
    assert "exact mode holds 2 rows on this machine, not a batch of 4" in skipped["reason"]
    assert report["settings"]["exact"] is True
    assert report["settings"]["exact_rows"] == "1 to 2 rows"


def test_the_report_grows_by_a_curve_at_a_time(target):
    grown, told = [], []
    costs.run(target, SMALL, progress=lambda *news: told.append(news), partial=grown.append)
    assert [len(report["curves"]) for report in grown] == [1, 2, 3, 4]
    assert [report["bandwidth_gb_s"] for report in grown] == [20] * 4
    done = [news[0] for news in told]
    assert done == list(range(len(done)))
    assert told[-1] == (done[-1], done[-1], "done")
    assert told[1][2] == "batch 1, context 5: 1 new token"


def test_nothing_measured_is_a_report_too(target):
    report = Record(target, SMALL, {}, 1, bandwidths=[5.0]).report()
    assert (report["curves"], report["bandwidth_gb_s"]) == ([], 5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"contexts": ()}, "are 1 or more, got ()"),
        ({"batches": (2, 0)}, r"got (256, 1024), (2, 0) and 5"),
        ({"repeat": 0}, r"and 0"),
        ({"tokens": (2, 4)}, "numbers of new tokens ascend from 1, got (2, 4)"),
        ({"tokens": (1, 4, 2)}, "ascend from 1"),
        ({"tokens": (0, 1)}, "ascend from 1"),
    ],
)
def test_a_grid_that_cannot_be_measured(wrong, message):
    with pytest.raises(BadInput) as refused:
        Grid(**wrong)
    assert message in str(refused.value)

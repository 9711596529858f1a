"""A machine's numbers come back from the passes that it would take; noise moves them little."""

import math
from dataclasses import replace
from random import Random

import pytest

from decant.errors import BadInput
from decant.tune.calibrate import calibrated, compare, measured, with_levels
from decant.tune.hardware import load
from decant.tune.predict import Drafting, Profile
from decant.tune.shape import Shape
from decant.tune.simulate import Load, pass_seconds, report

SMALL = Shape("small", 12, 768, 3072, 12, 12, 64, 32000)
LARGE = Shape("large", 24, 2048, 5632, 16, 16, 128, 32000)
TRUE = replace(
    load("ryzen-7840u"), overlap=0.3, launch_us=50.0, kernels_per_layer=1.0, attention_efficiency=0.4,
    request_us=20.0, sources={**load("ryzen-7840u").sources, "request_us": "a test"},
)  # fmt: skip
TOKENS = (1, 2, 4, 8, 16, 32, 64)


def noisy(said, spread, seed=0):
    """Every median moved by a factor with this standard deviation of its logarithm."""
    rng = Random(seed)
    for curve in said["curves"]:
        for point in curve["points"]:
            point["ms"]["median"] *= math.exp(rng.gauss(0, spread))
    return said


def test_passes_of_a_known_machine_are_found_again():
    found = calibrated(report(TRUE, SMALL, [256, 1024], [1, 8], TOKENS), SMALL)
    assert found.error < 0.02
    assert found.machine.presumed == []


def test_another_model_follows_from_the_first():
    """What the calibration is for: passes of a model that was not measured, eight times as large."""
    said = noisy(report(TRUE, SMALL, [256, 1024], [1, 8], TOKENS), 0.03)
    found = calibrated(said, SMALL)
    ratios = compare(found.machine, LARGE, report(TRUE, LARGE, [256, 1024], [1, 8], TOKENS))
    assert max(abs(math.log(ratio)) for ratio in ratios) < 0.15
    assert LARGE.parameters > 8 * SMALL.parameters


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_machine_of_half_or_twice_the_speed_is_told_apart(factor):
    said = report(TRUE, SMALL, [256], [1, 8], TOKENS)
    for curve in said["curves"]:
        for point in curve["points"]:
            point["ms"]["median"] *= factor
    ratios = compare(calibrated(said, SMALL).machine, LARGE, report(TRUE, LARGE, [256], [1], TOKENS))
    assert sum(map(math.log, ratios)) / len(ratios) == pytest.approx(math.log(factor), abs=0.15)


def test_the_report_of_a_race_is_no_report_of_costs():
    with pytest.raises(BadInput, match="no report of bench --costs: 'curves' is missing"):
        measured({"methods": []})


@pytest.mark.parametrize("tokens", [(1, 8, 64), (1, 1, 1, 2, 2, 2, 4)])
def test_too_few_passes_are_refused(tokens):
    said = report(TRUE, SMALL, [256], [1], tokens)
    with pytest.raises(BadInput, match="do not tell reading from computing"):
        calibrated(said, SMALL)


def test_what_is_measured_is_what_the_report_says():
    said = report(TRUE, SMALL, [256], [2], (1, 4))
    one = measured(said)[1]
    assert (one.load.batch, one.load.rows, one.load.context) == (2, 4, 256)
    assert one.seconds == pytest.approx(1e-3 * said["curves"][0]["points"][1]["ms"]["median"])


def test_a_level_takes_what_its_pass_does_not_explain():
    pass_ms = 1e3 * pass_seconds(TRUE, SMALL, Load(1, 1, 256))
    profile = Profile.chain(0.5, 4, Drafting(once=1e-3 * 4 * (pass_ms + 0.7)))
    assert with_levels(TRUE, SMALL, profile, 256).level_us == pytest.approx(700)
    assert with_levels(TRUE, SMALL, Profile.chain(0.5, 4), 256).level_us == 0

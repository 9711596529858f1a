"""What is carried from one machine to another: which guesses stand, and the host's work in proportion."""

import copy
from dataclasses import replace

import pytest

from decant.errors import BadInput
from decant.tune.carried import NO_GUESSES, UNKNOWN_TREES, Guesses, Known, moved, of_profile, of_race
from decant.tune.hardware import load
from decant.tune.predict import Drafting, Profile
from decant.types import CostCurve

PLAIN = {
    "name": "plain",
    "skipped": None,
    "seconds": {"draft": 0.0, "target": 9.0, "other": 0.5},
    "target_calls": 100,
    "acceptance_by_position": [],
    "acceptance_length": 1.0,
}
CHAIN = {
    **PLAIN,
    "name": "draft-model",
    "seconds": {"draft": 1.0, "target": 4.0, "other": 0.4},
    "target_calls": 40,
    "acceptance_by_position": [0.8, 0.6, 0.4],
    "acceptance_length": 2.8,
}
REPORT = {"methods": [PLAIN, CHAIN], "settings": {}}


def test_a_chain_that_is_always_there_keeps_its_shares():
    known = of_race(REPORT, ["draft-model"])
    assert known.crank == pytest.approx(0.005)
    profile = known.methods[0].profile
    assert profile.kept == pytest.approx((0.8, 0.6, 0.4))
    assert profile.nodes == (1.0, 1.0, 1.0)
    assert profile.drafting.seconds(1, 3) == pytest.approx(1.0 / 40)
    assert profile.overhead == pytest.approx(0.4 / 40 - 0.005)


def test_a_chain_that_is_there_every_other_step_counts_half():
    """A lookup that finds nothing offers nothing: its shares are of the steps in which it did."""
    row = {**CHAIN, "name": "prompt-lookup:ngram=2", "acceptance_length": 1.9}
    profile = of_race({"methods": [PLAIN, row]}, ["prompt-lookup"]).methods[0].profile
    assert profile.tokens == pytest.approx(1.9)
    assert profile.nodes == pytest.approx((0.5, 0.5, 0.5))
    assert profile.kept == pytest.approx((0.4, 0.3, 0.2))


def test_a_race_cut_short_offers_no_more_than_everything():
    row = {**CHAIN, "acceptance_length": 9.0}
    assert of_race({"methods": [PLAIN, row]}, ["draft-model"]).methods[0].profile.nodes == (1.0, 1.0, 1.0)


def test_shares_that_rise_by_chance_are_held():
    row = {**CHAIN, "acceptance_by_position": [0.5, 0.6, 0.1], "acceptance_length": 2.1}
    kept = of_race({"methods": [PLAIN, row]}, ["draft-model"]).methods[0].profile.kept
    assert list(kept) == sorted(kept, reverse=True)


def test_what_cannot_be_carried_says_why():
    tree, loop = {**CHAIN, "name": "draft-tree"}, {**PLAIN, "name": "ead", "acceptance_length": None}
    mute = {**CHAIN, "acceptance_length": None}
    known = of_race({"methods": [PLAIN, tree, loop, mute, {**CHAIN, "name": "x", "skipped": "no"}]}, ["draft-model"])
    assert known.methods == ()
    assert known.skipped == (("draft-tree", UNKNOWN_TREES), ("ead", NO_GUESSES), (CHAIN["name"], NO_GUESSES))


@pytest.mark.parametrize(
    "broken", [{}, {"methods": []}, {"methods": [{}]}, {"methods": [{**PLAIN, "target_calls": 0}]}]
)
def test_what_is_no_race_is_refused(broken):
    with pytest.raises(BadInput, match=r"no report of a race .*; write one with decant bench --json"):
        of_race(broken, [])


def test_a_profile_comes_back_from_its_facts():
    profile = Profile((0.5, 0.25), (2.0, 3.0), Drafting(0.001, CostCurve((1,), (0.002,))), 1.0, 0.004)
    assert of_profile("medusa", profile.facts()) == Guesses("medusa", profile)
    said = copy.deepcopy(profile.facts())
    del said["kept"]
    with pytest.raises(BadInput, match="the profile of medusa cannot be read: 'kept'"):
        of_profile("medusa", said)


def test_the_host_works_in_proportion_to_a_plain_step():
    """A machine whose steps take a tenth of the host's time has lookups of a tenth, too."""
    profile = Profile((0.5,), (1.0,), Drafting(0.01, CostCurve((1,), (0.02,))), 0.0, 0.03)
    known = Known((), crank=0.002)
    there = replace(load("h100-sxm"), step_us=200.0)
    found = moved(profile, known, there, None)
    assert found.drafting.seconds(1, 1) == pytest.approx(0.003)
    assert found.overhead == pytest.approx(0.003)
    drafted = moved(profile, known, there, Drafting(0.5))
    assert drafted.drafting.seconds(1, 1) == pytest.approx(0.5)
    assert (drafted.kept, drafted.nodes) == (profile.kept, profile.nodes)

"""Rounds of which every number is known."""

import json

import pytest
import torch

from decant.bench.ledger import Round
from decant.decoders.generate import Output
from decant.tune.predict import Drafting, Profile
from decant.tune.probe import Probe, origins, profile_of
from decant.types import PAD, CostCurve


def chain(guesses: int, kept: int, riding: int = 0) -> Round:
    """Of one request; what rides along is PAD where a policy sees it."""
    tokens_BN = torch.tensor([[7] * guesses + [PAD] * riding], dtype=torch.int64)
    nodes_BC = torch.tensor([[*range(kept), PAD]])
    return Round(tokens_BN, None, nodes_BC)


TREE = Round(  # two children of the root, one below the first; the path through the second is kept
    torch.tensor([[1, 2, 3]]), torch.tensor([[PAD, PAD, 0]]), torch.tensor([[1, PAD]])
)


def test_levels_are_counted_over_all_steps():
    found = profile_of([chain(3, 3), chain(3, 1), chain(2, 0), chain(0, 0)], drafting=0.3, overhead=0.01)
    assert found.kept == (0.5, 0.25, 0.25)
    assert found.nodes == (0.75, 0.75, 0.5)
    assert found.tokens == 2.0
    assert found.drafting.seconds(1, found.depth) == pytest.approx(0.3)
    assert (found.riding, found.overhead) == (0.0, 0.01)


def test_a_tree_has_more_nodes_than_levels():
    found = profile_of([TREE], drafting=0.0, overhead=-1.0)
    assert found.kept == (1.0, 0.0)
    assert found.nodes == (2.0, 1.0)
    assert found.rows == 4.0
    assert found.overhead == 0.0


def test_rows_that_ride_along_are_no_guesses():
    found = profile_of([chain(1, 1, riding=4), chain(1, 0, riding=2)], 0.0, 0.0)
    assert (found.nodes, found.riding, found.rows) == ((1.0,), 3.0, 5.0)


def test_nothing_ever_guessed_is_plain_decoding():
    assert profile_of([chain(0, 0)], 0.2, 0.0).drafting.seconds(1, 0) == 0.2


def test_origins_tell_a_correction_from_a_bonus():
    said = Output(list(range(8)), [False] * 8)
    rounds = [chain(2, 2), chain(2, 1), chain(0, 0), chain(3, 3)]
    assert origins(said, rounds) == [
        *("drafted", "drafted", "bonus"), *("drafted", "corrected"), "plain", *("drafted", "drafted"),
    ]  # fmt: skip
    assert origins(Output([1, 2], [True, False]), []) == ["drafted", "plain"]


def test_a_probe_reads_as_it_was_written():
    shape = Profile((0.5,), (1.0,), Drafting(0.1, CostCurve((1, 8), (0.01, 0.02))), 1.0, 0.2)
    for profile in (shape, None):
        found = Probe(profile, 9, 4, 1.0, 0.2, 0.7, (((3, "drafted"), (4, "bonus")),))
        assert Probe.again(json.loads(json.dumps(found.kept()))) == found
    assert found.crank == pytest.approx(0.025)

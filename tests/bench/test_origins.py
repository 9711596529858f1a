"""Origins: the tokens are the method's own, and each is told from the draft that stood behind it."""

from itertools import groupby, pairwise

import pytest
import torch

from decant.bench.ledger import Round
from decant.bench.origins import origins, own_token
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.decoders.workload import Workload
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.policies.fixed import Fixed
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.types import PAD
from decant.verifiers.coupled import Coupled

LM = MarkovLM.random(vocab=29, seed=0)
WORK = Workload([[1, 2, 3], [4], [5, 6, 5, 6]], max_tokens=24, seed=3, ends=frozenset({7}))
DEPTH = 3
DRAFTERS = {
    "model": DraftModel(LM.blurred(1, 1.0)),
    "perfect": DraftModel(LM),
    "lookup": PromptLookup(),
    "recycling": TokenRecycling(),
}


def decoder(drafter):
    return Speculative(LM, drafter, Coupled(), Fixed(DEPTH), temperature(1.0), Unconstrained())


def after(tokens, kept, parents=None):
    """The origin of the target's token behind this draft, of which the nodes `kept` were accepted."""
    nodes = [*kept, *[PAD] * (len(tokens) + 1 - len(kept))]
    parents_BN = None if parents is None else torch.tensor([parents])
    return own_token(Round(torch.tensor([tokens]), parents_BN, torch.tensor([nodes])))


@pytest.mark.parametrize(
    ("tokens", "kept", "origin"),
    [
        ([4, 5], [], "corrected"),
        ([4, 5], [0], "corrected"),
        ([4, 5], [0, 1], "bonus"),
        ([4, PAD], [0], "bonus"),
        ([PAD, PAD], [], "plain"),
    ],
)
def test_of_a_chain(tokens, kept, origin):
    assert after(tokens, kept) == origin


@pytest.mark.parametrize(("kept", "origin"), [([], "corrected"), ([0], "corrected"), ([1], "bonus"), ([0, 2], "bonus")])
def test_of_a_tree_whose_leaves_end_at_different_depths(kept, origin):
    assert after([4, 5, 6], kept, parents=[PAD, PAD, 0]) == origin


def test_an_empty_draft_is_none():
    assert own_token(Round(torch.empty(1, 0, dtype=torch.int64), None, torch.tensor([[PAD]]))) == "plain"


@pytest.mark.parametrize("name", DRAFTERS)
def test_tokens_and_guesses_are_those_of_the_method(name):
    said = list(origins(decoder(DRAFTERS[name]), WORK))
    outputs = [output for _, outputs in WORK.decode(decoder(DRAFTERS[name])) for output in outputs]
    assert [[token for token, _ in text] for text in said] == [output.tokens for output in outputs]
    assert [[origin == "drafted" for _, origin in text] for text in said] == [output.drafted for output in outputs]


def test_a_bonus_stands_behind_a_whole_draft_and_a_correction_behind_less():
    for text in origins(decoder(DRAFTERS["model"]), WORK):
        runs = [(origin, len(list(same))) for origin, same in groupby(origin for _, origin in text)]
        for (before, long), (origin, _) in pairwise(runs):
            if before == "drafted" and origin == "corrected":
                assert long < DEPTH
            if before == "drafted" and origin == "bonus":
                assert long == DEPTH


def test_a_perfect_drafter_is_never_corrected_and_a_poor_one_is():
    told = [origin for text in origins(decoder(DRAFTERS["perfect"]), WORK) for _, origin in text]
    assert set(told) == {"drafted", "bonus"}
    poor = [origin for text in origins(decoder(DraftModel(LM.blurred(2, 8.0))), WORK) for _, origin in text]
    assert "corrected" in poor


def test_plain_decoding_is_plain():
    alone = Autoregressive(LM, temperature(1.0), Unconstrained())
    assert {origin for text in origins(alone, WORK) for _, origin in text} == {"plain"}

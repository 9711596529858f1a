"""Typical acceptance against the rule written out path by path, its knobs, and the limit in which it is exact."""

from itertools import pairwise
from math import exp, inf, log

import pytest
import torch

from decant.errors import BadInput
from decant.noise import Noise
from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import PAD, Draft
from decant.verifiers.typical_acceptance import TypicalAcceptance

DRAWS = 400
NOISE = Noise(torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.int64))
PARENTS = [PAD, PAD, PAD, 0, 0, 1, 2, 3, 5, 5]
TARGET = MarkovLM.random(5, 0, spread=1.0)


def random_tree() -> tuple[Draft, torch.Tensor]:
    """A ragged tree; siblings may repeat."""
    generator = torch.Generator().manual_seed(0)
    tokens_BN = torch.randint(-1, 5, (DRAWS, len(PARENTS)), generator=generator)
    draft = Draft(tokens_BN, torch.tensor(PARENTS).expand(DRAWS, -1))
    context = MarkovContext(torch.zeros(DRAWS, 1, dtype=torch.int64))
    return draft, TARGET.score(context, draft).logits_BMV.softmax(-1)


def best_path(tokens: list[int], probs_MV: torch.Tensor, epsilon: float, delta: float) -> list[int]:
    """The tokens of the longest path that stands, the likeliest of equals."""
    standing: list[tuple[int, float, list[int]]] = [(0, 0.0, [])]
    for node in range(len(tokens)):
        path = [node]
        while PARENTS[path[0]] != PAD:
            path.insert(0, PARENTS[path[0]])
        total = 0.0
        for at in path:
            law_V = probs_MV[PARENTS[at] + 1].double()
            entropy = -float(sum(p * log(p) for p in law_V.tolist()))
            p = float(law_V[tokens[at]]) if tokens[at] != PAD else 0.0
            if p <= min(epsilon, delta * exp(-entropy)):
                break
            total += log(p)
        else:
            standing.append((len(path), total, path))
    return [tokens[node] for node in max(standing)[2]]


@pytest.mark.parametrize(("epsilon", "delta"), [(0.09, 0.3), (0.3, 1.0), (0.0, 0.3), (0.2, inf)])
def test_it_is_the_rule(epsilon: float, delta: float) -> None:
    draft, probs_BMV = random_tree()
    verdict = TypicalAcceptance(epsilon, delta).verify(draft, probs_BMV, NOISE)
    lengths = set()
    for request in range(DRAWS):
        expected = best_path(draft.tokens_BN[request].tolist(), probs_BMV[request], epsilon, delta)
        assert verdict.tokens_BC[request, : int(verdict.accepted_B[request])].tolist() == expected
        lengths.add(len(expected))
    assert len(lengths) > 2


def accepted(epsilon: float, delta: float) -> torch.Tensor:
    draft, probs_BMV = random_tree()
    return TypicalAcceptance(epsilon, delta).verify(draft, probs_BMV, NOISE).accepted_B


def test_stricter_knobs_accept_less() -> None:
    for settings in (
        [(0.0, 0.3), (0.1, inf), (0.2, inf), (0.3, inf), (0.6, inf)],
        [(1.0, 0.0), (1.0, 0.3), (1.0, 0.6), (1.0, 1.0), (1.0, 2.0)],
    ):
        kept = [accepted(*knobs) for knobs in settings]
        for loose_B, strict_B in pairwise(kept):
            assert (strict_B <= loose_B).all()
            assert (strict_B < loose_B).any()


def test_at_the_strictest_nothing_stands_and_the_target_draws_alone() -> None:
    draft, probs_BMV = random_tree()
    verdict = TypicalAcceptance(1.0, inf).verify(draft, probs_BMV, NOISE)
    own_B = NOISE.draw(probs_BMV[:, 0], torch.zeros(DRAWS, dtype=torch.int64))
    assert int(verdict.accepted_B.sum()) == 0
    assert torch.equal(verdict.tokens_BC[:, 0], own_B)


@pytest.mark.parametrize("knobs", [(0.09, 0.3), (1.0, inf)])
def test_a_certain_target_is_obeyed(knobs: tuple[float, float]) -> None:
    draft, probs_BMV = random_tree()
    certain_BMV = torch.nn.functional.one_hot(probs_BMV.argmax(-1), 5).float()
    verdict = TypicalAcceptance(*knobs).verify(draft, certain_BMV, NOISE)
    for request in range(DRAWS):
        row = 0
        for token, node in zip(verdict.tokens_BC[request].tolist(), verdict.nodes_BC[request].tolist(), strict=True):
            assert token in (PAD, int(certain_BMV[request, row].argmax()))
            row = node + 1


@pytest.mark.parametrize("knobs", [(-0.1, 0.3), (0.1, -1.0), (float("nan"), 0.3)])
def test_a_negative_knob_is_refused(knobs: tuple[float, float]) -> None:
    with pytest.raises(BadInput, match=f"epsilon and delta are 0 or more, got epsilon {knobs[0]} and delta {knobs[1]}"):
        TypicalAcceptance(*knobs)

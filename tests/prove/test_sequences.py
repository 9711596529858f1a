"""Whole continuations: lawful methods hold, a fault that pairs of tokens do not show does not."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import Method
from decant.decoders.speculative import Speculative
from decant.decoders.workload import Workload
from decant.drafters.draft_model import DraftModel
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.prove import distribution, sequences
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.types import Draft, Verdict
from decant.verifiers.rejection import Rejection

LM = MarkovLM.random(vocab=9, seed=0)
HOT = temperature(1.0)
WORK = Workload([[1, 2, 3], [4]], max_tokens=16, seed=3)
SAMPLES = 480


def certify(verifier: Any, warp: Any = HOT, room: Any = sequences) -> dict[str, Any]:
    plain = Autoregressive(LM, warp, Unconstrained())
    decoder = Speculative(LM, DraftModel(LM.blurred(1), coupled=False), verifier, Fixed(3), warp, Unconstrained())
    return room.check(plain, Method("it", decoder, "distribution"), WORK, SAMPLES, lambda text, tokens: None)


def test_rejection_keeps_the_law_of_whole_continuations() -> None:
    found = certify(Rejection())
    assert found["holds"]
    assert found["planted_fault_caught"]
    assert found["power"] > 0.5
    assert found["p_value"] > 1e-3


@dataclass(frozen=True)
class Tired:
    """Right for two tokens; from the third on it keeps every guess."""

    inner: Rejection
    exact = True
    seeded = False
    accepts = Rejection.accepts
    trees = False

    def verify(self, draft: Draft, target_BMV: torch.Tensor, noise: Noise) -> Verdict:
        right = self.inner.verify(draft, target_BMV, noise)
        depth = draft.tokens_BN.shape[1]
        everything_B = torch.full_like(noise.seed_B, depth)
        last_B = noise.draw(target_BMV[:, depth], everything_B, "tired")
        wrong = Verdict.of_chain(draft.tokens_BN, everything_B, last_B)
        late_B1 = (noise.root_B >= 2)[:, None]
        return Verdict(wrong.tokens_BC.where(late_B1, right.tokens_BC), wrong.nodes_BC.where(late_B1, right.nodes_BC))


def test_a_fault_behind_the_second_token_shows_here_alone() -> None:
    assert certify(Tired(Rejection()), room=distribution)["p_value"] > 1e-3
    found = certify(Tired(Rejection()))
    assert not found["holds"]
    assert found["p_value"] < 1e-3


def test_where_nothing_is_left_to_chance_nothing_is_tested() -> None:
    found = certify(Rejection(), warp=greedy())
    assert found["holds"]
    assert found["planted_fault_caught"] is None
    assert "certain" in found["note"]


@pytest.mark.parametrize("samples", [100, 2000])
def test_progress_is_bounded(samples: int) -> None:
    each = max(2, samples // 2 // sequences.GROUPS)
    assert sequences.tokens(samples) >= 5 * sequences.LENGTH * each * sequences.GROUPS

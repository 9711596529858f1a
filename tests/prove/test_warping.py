"""Sampler settings against their definitions, and definitions against examples worked out by hand."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.workload import Workload
from decant.protocols import Warp
from decant.prove import definitions, warping
from decant.prove.faults import Leaning, OneTooFew
from decant.prove.warping import Setting
from decant.samplers.greedy import greedy
from decant.samplers.min_p import min_p
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.samplers.top_p import top_p
from decant.samplers.xtc import xtc
from decant.testing.markov import MarkovLM

LM = MarkovLM.random(vocab=60, seed=1)
WORK = Workload([[1, 2, 3, 9, 4, 5, 6, 7, 8], [4, 9, 9], [5]], max_tokens=4)
LAW = np.log([0.4, 0.3, 0.2, 0.1])


def check(*settings: Setting) -> dict:
    return warping.check(Autoregressive(LM, greedy(), Unconstrained()), [settings], WORK)


@pytest.mark.parametrize(
    ("setting", "value", "kept"),
    [
        ("top_k", 2, 2), ("top_k", 9, 4), ("top_p", 0.65, 2), ("top_p", 0.75, 3), ("min_p", 0.6, 2), ("min_p", 0.2, 4),
        ("epsilon_cutoff", 0.15, 3), ("epsilon_cutoff", 0.9, 1), ("eta_cutoff", 0.15, 3), ("top_n_sigma", 1.0, 2),
        ("top_h", 0.55, 2), ("top_h", 0.5, 1), ("typical_p", 0.25, 1),
    ],
)  # fmt: skip
def test_definitions_keep_what_one_would_keep_by_hand(setting: str, value: float, kept: int) -> None:
    """The law is 0.4, 0.3, 0.2, 0.1; its entropy 1.280 nats, that of the first two as a law of their own 0.683."""
    found = definitions.CUTS[setting](LAW, value)
    assert found.stays_V.sum() == kept
    if setting != "typical_p":
        assert found.stays_V[:kept].all()
    else:
        assert found.stays_V[1], "its surprise, 1.204 nats, is nearest to the entropy"
    assert not found.edge_V.any() or setting == "typical_p"


def test_the_edge_is_left_to_rounding() -> None:
    assert definitions.top_p(LAW, 0.7).edge_V.tolist() == [False, False, True, False]
    assert not definitions.epsilon_cutoff(LAW, 0.9).edge_V.any(), "the likeliest stays, whatever the cutoff"
    assert definitions.min_p(LAW, 0.75).edge_V.tolist() == [False, True, False, False]


def test_laws_by_hand() -> None:
    assert definitions.temperature(LAW, 0).tolist() == [1, 0, 0, 0]
    assert definitions.temperature(LAW, 0.5) == pytest.approx(np.array([16, 9, 4, 1]) / 30)
    # At times 0.4 and 0.3 go, the least likely of the top choices, 0.2, stays.
    assert definitions.xtc(LAW, 0.5, 0.15) == pytest.approx([0.2, 0.15, 0.1 + 1 / 3, 0.05 + 1 / 6])


def test_what_is_as_defined_holds() -> None:
    chain = (Setting("temperature", 0.7, temperature(0.7)), Setting("top_k", 12, top_k(12)))
    found = check(*chain, Setting("top_p", 0.8, top_p(0.8)), Setting("xtc_probability", 0.5, xtc(0.5, 0.05), 0.05))
    assert found["holds"]
    assert found["planted_fault_caught"]
    assert found["wrong"] == []
    assert found["rows"] == 8 + 3 + 1
    assert found["steps"][1]["kept"] == 12


@dataclass(frozen=True)
class MeanwhileFlat:
    """Cuts before it knows the law: min-p of the logits at half the temperature."""

    inner: Warp

    def __call__(self, logits_XV: torch.Tensor) -> torch.Tensor:
        return logits_XV.masked_fill(self.inner(2 * logits_XV) == -math.inf, -math.inf)


@pytest.mark.parametrize(
    "setting",
    [
        Setting("temperature", 0.7, temperature(0.71)),
        Setting("top_k", 12, top_k(11)),
        Setting("top_p", 0.8, OneTooFew(top_p(0.8))),
        Setting("min_p", 0.05, MeanwhileFlat(min_p(0.05))),
        Setting("xtc_probability", 0.5, xtc(0.6, 0.05), 0.05),
        Setting("temperature", 1.0, Leaning(temperature(1.0))),
    ],
    ids=["temperature", "top_k", "top_p", "min_p", "xtc", "leaning"],
)
def test_what_is_not_as_defined_does_not_hold(setting: Setting) -> None:
    found = check(setting)
    assert not found["holds"]
    assert found["wrong"]


def test_where_one_token_is_left_nothing_can_be_planted() -> None:
    found = check(Setting("temperature", 0, greedy()))
    assert found["holds"]
    assert found["planted_fault_caught"] is None


def test_real_rows_are_those_behind_the_prompts() -> None:
    rows_RV = warping.real_logits(Autoregressive(LM, greedy(), Unconstrained()), WORK)
    assert torch.equal(rows_RV[0], LM.logits_UVV[1, 2]), "of nine tokens the last eight positions"
    assert torch.equal(rows_RV[7], LM.logits_UVV[7, 8])
    assert torch.equal(rows_RV[-1], LM.logits_UVV[60, 5]), "behind a prompt of one token"

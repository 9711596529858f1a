"""Every sampler obeys the law of warps."""

import pytest
import torch

from decant.samplers.chain import chain
from decant.samplers.epsilon import epsilon
from decant.samplers.eta import eta
from decant.samplers.greedy import greedy
from decant.samplers.min_p import min_p
from decant.samplers.temperature import temperature
from decant.samplers.top_h import top_h
from decant.samplers.top_k import top_k
from decant.samplers.top_n_sigma import top_n_sigma
from decant.samplers.top_p import top_p
from decant.samplers.typical import typical
from decant.samplers.xtc import xtc
from decant.testing.laws import check_warp

WARPS = {
    "greedy": greedy(),
    "temperature 0.7": temperature(0.7),
    "temperature 1": temperature(1.0),
    "temperature 1e-30": temperature(1e-30),
    "top_k 1": top_k(1),
    "top_k 3": top_k(3),
    "top_k 99": top_k(99),
    "top_p 0.8": top_p(0.8),
    "top_p 1e-9": top_p(1e-9),
    "min_p 0.1": min_p(0.1),
    "min_p 1": min_p(1.0),
    "top_h 0.4": top_h(0.4),
    "top_h 1": top_h(1.0),
    "top_h 0.4, shipped": top_h(0.4, shipped_top=4),
    "typical 0.3": typical(0.3),
    "typical 0.95": typical(0.95),
    "eta 0.1": eta(0.1),
    "eta 0.999999": eta(0.999999),
    "epsilon 0.1": epsilon(0.1),
    "epsilon 0.9": epsilon(0.9),
    "top_n_sigma 1": top_n_sigma(1.0),
    "top_n_sigma 1e-9": top_n_sigma(1e-9),
    "xtc 0.5 0.1": xtc(0.5, 0.1),
    "xtc 1 0.05": xtc(1.0, 0.05),
    "chain": chain(temperature(0.7), top_k(5), top_p(0.9), min_p(0.05)),
    "empty chain": chain(),
}

PLANTED = {
    "normalises over the batch": lambda logits: logits - logits.exp().sum(),
    "allows what was forbidden": lambda logits: logits.clamp_min(-9.0),
    "forbids everything": lambda logits: torch.full_like(logits, -torch.inf),
    "forgets the type": lambda logits: logits.double(),
    "writes into its argument": lambda logits: logits.div_(2.0),
    "cuts at an absolute score": lambda logits: logits.masked_fill(
        (logits < -1) & (logits < logits.amax(-1, keepdim=True)), -torch.inf
    ),
}


@pytest.mark.parametrize("name", WARPS)
def test_warp(name: str) -> None:
    check_warp(WARPS[name])


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught(name: str) -> None:
    with pytest.raises(AssertionError):
        check_warp(PLANTED[name])

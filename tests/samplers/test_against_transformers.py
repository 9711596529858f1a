"""The samplers that transformers has too: the same law, row by row.

Ties are where conventions differ. top_k, min_p, typical, eta and epsilon keep all of them on both sides. top_p here
keeps all that tie with the token that crosses; transformers keeps as many as reach the mass. top_h keeps equally many
on both sides: here the lowest ids, there whichever come first from topk. The token that crosses is kept by top_p and
typical, and forbidden by top_h, on both sides. At an alpha of 1 top_h keeps its hundred; there, rounding decides.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor
from transformers.generation import logits_process as theirs

from decant.protocols import Warp
from decant.samplers.epsilon import epsilon
from decant.samplers.eta import eta
from decant.samplers.min_p import min_p
from decant.samplers.temperature import temperature
from decant.samplers.top_h import top_h
from decant.samplers.top_k import top_k
from decant.samplers.top_p import top_p
from decant.samplers.typical import typical

Made = tuple[Callable[[float], Warp], Callable[[float], LogitsProcessor], tuple[float, ...]]
PAIRS: dict[str, Made] = {
    "temperature": (temperature, theirs.TemperatureLogitsWarper, (0.3, 0.7, 1.5)),
    "top_k": (lambda k: top_k(int(k)), lambda k: theirs.TopKLogitsWarper(int(k)), (1, 5, 50, 1000)),
    "top_p": (top_p, theirs.TopPLogitsWarper, (0.1, 0.5, 0.9, 0.99)),
    "min_p": (min_p, theirs.MinPLogitsWarper, (0.01, 0.1, 0.5, 1.0)),
    "typical": (typical, theirs.TypicalLogitsWarper, (0.1, 0.5, 0.9, 0.99)),
    "epsilon": (epsilon, theirs.EpsilonLogitsWarper, (3e-4, 9e-4, 0.02, 0.7)),
    "eta": (eta, theirs.EtaLogitsWarper, (3e-4, 4e-3, 0.1, 0.9)),
    "top_h": (
        lambda alpha: top_h(alpha, shipped_top=100),
        theirs.TopHLogitsWarper,
        (0.1, 0.4, 0.9),
    ),
}
CASES = [pytest.param(*pair[:2], knob, id=f"{name} {knob}") for name, pair in PAIRS.items() for knob in pair[2]]
NO_IDS = torch.LongTensor(1, 0)


def rows() -> Tensor:
    """logits_XV: from nearly flat to nearly certain, some with a third of the tokens forbidden, one certain row."""
    generator = torch.Generator().manual_seed(0)
    logits_XV = torch.randn(60, 400, generator=generator) * torch.linspace(0.05, 12, 60)[:, None]
    logits_XV[::3, ::3] = -torch.inf
    logits_XV[59, 1:] = -torch.inf
    return logits_XV


@pytest.mark.parametrize(("ours", "their", "knob"), CASES)
def test_the_same_law(ours, their, knob: float) -> None:
    logits_XV = rows()
    torch.testing.assert_close(ours(knob)(logits_XV).softmax(-1), their(knob)(NO_IDS, logits_XV).softmax(-1))


@pytest.mark.parametrize("name", PAIRS)
def test_the_comparison_sees_a_knob_that_is_off(name: str) -> None:
    ours, their, knobs = PAIRS[name]
    logits_XV = rows()
    have_XV = ours(knobs[0])(logits_XV).softmax(-1)
    assert not torch.allclose(have_XV, their(knobs[1])(NO_IDS, logits_XV).softmax(-1))


@pytest.mark.parametrize("name", PAIRS)
def test_ties(name: str) -> None:
    logits_XV = torch.zeros(1, 64)
    ours, their, knobs = PAIRS[name]
    have_V = ours(knobs[1])(logits_XV)[0].isfinite()
    want_V = their(knobs[1])(NO_IDS, logits_XV)[0].isfinite()
    if name == "top_p":
        assert have_V.all()
        assert want_V.sum() == 32
    elif name == "top_h":
        assert have_V.sum() == want_V.sum() == 25
        assert have_V[:25].all()
    else:
        assert torch.equal(have_V, want_V)
        assert have_V.all()

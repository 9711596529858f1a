"""What a model says of a canvas, made by hand."""

import torch
from torch import Tensor

from decant.diffusion import Outlook, Scope
from decant.noise import Noise
from decant.samplers.greedy import greedy

WORDS = 6
MASK = WORDS


def outlook(canvas_BL: Tensor, scope: Scope, sure: dict[int, tuple[int, float]]) -> Outlook:
    """Of one request: at a place its likeliest id, with that probability; id 0 elsewhere, hardly surer than others."""
    row_N, place_N = scope.wanted_BL.nonzero(as_tuple=True)
    probs_NV = torch.zeros(len(row_N), WORDS + 1)
    for at, place in enumerate(place_N.tolist()):
        token, share = sure.get(place, (0, 0.25))
        probs_NV[at, :WORDS] = (1 - share) / (WORDS - 1)
        probs_NV[at, token] = share
    return Outlook(canvas_BL, row_N, place_N, probs_NV.log(), greedy(), Noise.of([1] * len(canvas_BL)))

"""Flatter or steeper: divide logits by a temperature.

Source: Ackley, Hinton and Sejnowski 1985, doi:10.1016/S0364-0213(85)80012-4.
"""

import math

from torch import Tensor

from decant.errors import BadInput
from decant.protocols import Warp


def temperature(tau: float) -> Warp:
    """Divide logits by tau > 0; raises BadInput for any other tau."""
    if not (tau > 0 and math.isfinite(tau)):
        raise BadInput(f"temperature must be positive, got {tau}; for argmax decoding use greedy()")

    def warp(logits_XV: Tensor) -> Tensor:
        # Measured from the row's maximum, so that a tiny tau overflows to -inf, which is right, and never to inf.
        return logits_XV if tau == 1 else (logits_XV - logits_XV.amax(-1, keepdim=True)) / tau

    return warp

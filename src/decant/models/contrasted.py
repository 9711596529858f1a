"""Contrastive decoding: what an expert says and an amateur does not, among the tokens that the expert finds plausible.

The amateur is a smaller model of the same tokenizer, or the expert behind another prompt.
Source: Li et al. 2022, arXiv:2210.15097; with `beta`: O'Brien and Lewis 2023, arXiv:2309.09117.
"""

import math
from typing import Any

from torch import Tensor

from decant.errors import BadInput
from decant.models.other_prompts import OtherPrompt, Same
from decant.models.paired import Blend, Paired, one_model
from decant.models.powers import plausible, powers, refuse_alpha
from decant.models.sides import Apart
from decant.protocols import LanguageModel


def contrasted(
    expert: LanguageModel[Any],
    amateur: LanguageModel[Any],
    alpha: float = 0.1,
    beta: float | None = 0.5,
    temperature: float = 1.0,
    prompt: OtherPrompt | None = None,
) -> Paired[Any]:
    """`expert` against `amateur`. prompt: what the amateur reads; None: the request's own prompt.

    Raises BadInput for knobs out of range (see `contrast`), IncompatibleParts for two numbers of logits.
    """
    sides = one_model(expert) if amateur is expert else Apart(expert, amateur)
    return Paired(sides, contrast(alpha, beta, temperature), Same() if prompt is None else prompt)


def contrast(alpha: float = 0.1, beta: float | None = 0.5, temperature: float = 1.0) -> Blend:
    """log of expert^(1 + beta) amateur^-beta; without a beta, of expert / amateur, the older form.

    alpha:       tokens that the expert finds less than alpha times as likely as its likeliest are forbidden.
    temperature: of the amateur, by which its logits are divided first.
    Raises BadInput unless 0 <= alpha <= 1, beta >= 0 and temperature > 0, both finite.
    """
    refuse_alpha(alpha)
    if beta is not None and not (math.isfinite(beta) and beta >= 0):
        raise BadInput(f"beta must be 0 or more and finite, got {beta}; 0 leaves the amateur out")
    if not (math.isfinite(temperature) and temperature > 0):
        raise BadInput(f"the amateur's temperature must be above 0 and finite, got {temperature}; 1 changes nothing")
    weight, other_weight = (1.0, -1.0) if beta is None else (1 + beta, -beta)

    def blend(logits_XV: Tensor, other_XV: Tensor) -> Tensor:
        amateur_XV = (other_XV / temperature).log_softmax(-1)
        return plausible(powers(logits_XV.log_softmax(-1), weight, amateur_XV, other_weight), logits_XV, alpha)

    return blend

"""Classifier-free guidance: what a prompt adds to a text is made stronger, or weaker, by a power.

log p = log p_u + weight (log p_c - log p_u), where p_c follows the prompt and p_u another one: the prompt's last token
alone, or a negative prompt, from which guidance leads away. A weight of 1 is the prompt's own law, 0 the other's.
Source: Sanchez et al. 2023, arXiv:2306.17806.
"""

import math
from typing import Any

from torch import Tensor

from decant.errors import BadInput
from decant.models.other_prompts import Last, OtherPrompt
from decant.models.paired import Blend, Paired, one_model
from decant.models.powers import plausible, powers, refuse_alpha
from decant.protocols import LanguageModel


def guided(
    model: LanguageModel[Any], weight: float = 1.5, prompt: OtherPrompt | None = None, alpha: float = 0.0
) -> Paired[Any]:
    """`model` under guidance. prompt: the other one; None: the last token of a request's own.

    Raises BadInput for knobs out of range (see `guidance`).
    """
    return Paired(one_model(model), guidance(weight, alpha), Last() if prompt is None else prompt)


def guidance(weight: float = 1.5, alpha: float = 0.0) -> Blend:
    """weight: of the prompt; negative ones lead away from it. alpha: tokens less than alpha times as likely behind the
    prompt as the likeliest are forbidden: large weights else pick nonsense that neither law means.

    Raises BadInput unless the weight is finite and 0 <= alpha <= 1.
    """
    if not math.isfinite(weight):
        raise BadInput(f"the weight of guidance must be finite, got {weight}; 1 is the prompt's own law")
    refuse_alpha(alpha)

    def blend(logits_XV: Tensor, other_XV: Tensor) -> Tensor:
        said_XV = powers(logits_XV.log_softmax(-1), weight, other_XV.log_softmax(-1), 1 - weight)
        return plausible(said_XV, logits_XV, alpha)

    return blend

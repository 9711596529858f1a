"""Knowledge distillation in one loop, without any of decant's parts: to read first, and to hold the composed one to.

It neither resumes nor spreads, and its learning rate stays; `hinton:alpha=1` is the same loss out of parts.
Source: Hinton et al. 2015, arXiv:1503.02531.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from decant.distill.composition import Composition
from decant.recipes.hinton import Hinton
from decant.recipes.kit import Kit


def train(
    student: Any,
    teacher: Any,
    batches: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    lr: float,
    temperature: float,
) -> list[float]:
    """Move `student` towards `teacher`; the nats of each step.

    batches: step -> ids_BT and weights_BT, the weight of predicting each id from those before it.
    """
    optimiser = torch.optim.AdamW(student.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    curve = []
    for step in range(steps):
        ids_BT, weights_BT = (part.to(student.device) for part in batches(step))
        with torch.no_grad():
            p_logp_BTV = (teacher(ids_BT).logits.float() / temperature).log_softmax(-1)
        q_logp_BTV = (student(ids_BT).logits.float() / temperature).log_softmax(-1)
        nats_BT = (p_logp_BTV.exp() * (p_logp_BTV - q_logp_BTV)).sum(-1) * temperature**2
        weight_BT = weights_BT[:, 1:]  # row t of the logits predicts id t + 1
        loss = (nats_BT[:, :-1] * weight_BT).sum() / weight_BT.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        curve.append(loss.item())
    return curve


@final
@dataclass(frozen=True, slots=True)
class PlainKD:
    """temperature: of both laws."""

    temperature: float = 2.0

    def compose(self, kit: Kit) -> Composition:
        """The same loss out of parts, by which the loop is planned."""
        return Hinton(alpha=1.0, temperature=self.temperature).compose(kit)

    def teach(self, kit: Kit) -> None:
        """The loop."""
        rows, settings = kit.rows_of(), kit.settings
        train(kit.student, kit.model().network, rows.pieces, settings.steps, settings.peak, self.temperature)

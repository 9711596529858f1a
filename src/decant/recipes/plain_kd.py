"""Knowledge distillation in one loop, without decant's parts but for the report: to read first, and to hold the
composed one to.

It neither resumes nor spreads, and its learning rate stays; `hinton:alpha=1` is the same loss out of parts.
Source: Hinton et al. 2015, arXiv:1503.02531.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from decant.distill.checkpoint import BAD_BATCH, keep_bad
from decant.distill.composition import Composition
from decant.distill.progress import Tally, forget, reporting
from decant.distill.settings import Settings
from decant.errors import BadInput
from decant.recipes.hinton import Hinton
from decant.recipes.kit import Kit


def train(
    student: Any,
    teacher: Any,
    batches: Callable[[int], tuple[Tensor, Tensor]],
    settings: Settings,
    temperature: float,
    folder: Path,
) -> list[float]:
    """Move `student` towards `teacher`; the nats of each step, whose report goes to `folder`.

    batches: step -> ids_BT and weights_BT, the weight of predicting each id from those before it.
    Raises BadInput for a step that is not finite.
    """
    optimiser = torch.optim.AdamW(student.parameters(), lr=settings.peak, betas=(0.9, 0.95), weight_decay=0.0)
    folder.mkdir(parents=True, exist_ok=True)
    forget(folder, 0)
    curve, tally = [], Tally()
    with reporting(settings, folder, 0) as report:
        for step in range(settings.steps):
            ids_BT, weights_BT = (part.to(student.device) for part in batches(step))
            with torch.no_grad():
                p_BTV = teacher(ids_BT).logits.float() / temperature
            q_BTV = student(ids_BT).logits.float() / temperature
            size = min(p_BTV.shape[-1], q_BTV.shape[-1])  # heads may be padded to different widths
            p_logp_BTV, q_logp_BTV = (one[..., :size].log_softmax(-1) for one in (p_BTV, q_BTV))
            nats_BT = (p_logp_BTV.exp() * (p_logp_BTV - q_logp_BTV)).sum(-1) * temperature**2
            weight_BT = weights_BT[:, 1:]  # row t of the logits predicts id t + 1
            loss = (nats_BT[:, :-1] * weight_BT).sum() / weight_BT.sum()
            optimiser.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            if not math.isfinite(loss.item() + norm.item()):
                keep_bad([(ids_BT, weights_BT)], step, None, folder / BAD_BATCH)
                raise BadInput(
                    f"step {step + 1} is not finite: mean nats {loss.item()}, norm of the gradient {norm.item()}. Its "
                    f"texts are in {folder / BAD_BATCH}: look at them with torch.load; lower the learning rate (--lr), "
                    f"or take those texts out, then start again"
                )
            optimiser.step()
            curve.append(loss.item())
            tally.nats.append(loss.item())
            tally.norms.append(norm.item())
            tally.tokens += weight_BT.sum().item()
            if (step + 1) % settings.report_every == 0:
                report(tally.row(step + 1, settings.peak))
                tally = Tally()
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
        train(kit.student, kit.model().network, kit.rows_of().pieces, kit.settings, self.temperature, kit.folder)

"""A share of the true label in every target: without it, self-distillation regularises more at each generation, without
end; with it, endless generations equal one fit with lambda / alpha.

Source: Borup & Andersen 2021, arXiv:2102.13088.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class GroundTruth:
    """alpha: the label's share; 0 is the teacher alone, 1 the text alone. `best_alpha` says which."""

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise BadInput(f"alpha is the label's share, in [0, 1], not {self.alpha}")

    def start(self) -> None:
        """Nothing is remembered."""

    def target(self, state: None, p_logp_XV: Tensor, q_logp_XV: Tensor, label_X: Tensor) -> Tensor:
        """log(alpha [label] + (1 - alpha) p)."""
        if self.alpha == 0:
            return p_logp_XV
        p = floored(p_logp_XV) + (math.log1p(-self.alpha) if self.alpha < 1 else -torch.inf)
        label_X1 = label_X[:, None]
        whole = torch.logaddexp(p.gather(-1, label_X1), p.new_tensor(math.log(self.alpha)))
        return floored(p.scatter(-1, label_X1, whole))

    def observe(self, state: None, step: int, steps: int, nats: float) -> None:
        """Nothing is learnt."""


def best_alpha(truth_X: Tensor, of_truth_X: Tensor, of_teacher_X: Tensor) -> float:
    """The alpha of least squares on validation: the fit is linear in its targets, so that of any alpha lies on the line
    between the two extremes.

    of_truth_X, of_teacher_X: predictions of a student with alpha = 1 and with alpha = 0. Cut to [0, 1]; above 1 the
    student is not regularised enough. Raises BadInput where both say the same.
    """
    along_X = (of_truth_X - of_teacher_X).double()
    length = float(along_X.square().sum())
    if not length:
        raise BadInput("both extremes predict the same; any alpha is best")
    found = float(((truth_X.double() - of_teacher_X.double()) * along_X).sum()) / length
    return min(1.0, max(0.0, found))

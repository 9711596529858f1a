"""Mutual information (MI-alpha): states of the student tell which state of the teacher stands at the same position.

A critic f scores pairs of states. With the K positions of a text as samples, m = mean e^f and D = alpha m + (1 - alpha)
g, the bound on what one state says of the other is

    I = 1 + E_pairs[f - log D] - E_strangers[e^f / D],   at most log(K / alpha);

alpha 1 is InfoNCE, whose first and last terms cancel; alpha 0 has little bias and much variance. The loss is -I.
Strangers are the text's other positions: in their term m is taken without the pair itself. The critic (bilinear) and
the baseline g of the student's state are learnt along.
The bound is derived from the literature of bounds; defaults are from memory, and the critic's width is ours. Not as
published: samples are the positions of one text, so that the size of micro-batches does not matter.
Source: He et al. 2021, arXiv:2109.11105; Poole et al. 2019, arXiv:1905.06922 (the bound).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from decant.distill.seams import Gives, Study
from decant.errors import BadInput
from decant.models.student import Looks


@final
@dataclass(frozen=True, slots=True)
class MutualInformation:
    """layer, teacher_layer: whose states; 0 is the embedding, -1 the last. width: of the critic.

    Raises BadInput for a knob out of range.
    """

    alpha: float = 0.9
    layer: int = -1
    teacher_layer: int = -1
    width: int = 64

    needs: ClassVar[Gives] = "states"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or self.width < 1:
            raise BadInput(f"MutualInformation needs alpha between 0 and 1 and width >= 1, got {self}")

    @property
    def looks(self) -> Looks:
        """Of the student."""
        return Looks((self.layer,))

    @property
    def teacher_looks(self) -> Looks:
        """Of the teacher."""
        return Looks((self.teacher_layer,))

    def extra(self, student: Any, teacher: Any) -> nn.Module:
        """The critic and the baseline."""
        return Critic(student.hidden_size, teacher.hidden_size, self.width)

    def __call__(self, study: Study) -> Tensor:
        """-I at each position, in nats; 0 in a text with one position alone."""
        critic, found = study.extra, []
        assert isinstance(critic, Critic)
        for row, rows, _ in study.at.texts():
            at_K = study.at.at_N[rows]
            q_KD = study.student.layers[self.layer][row, at_K].float()
            p_KD = study.teacher.layers[self.teacher_layer][row, at_K].float()
            scores_KK, baseline_K = critic(q_KD, p_KD)
            found.append(-bound(scores_KK, baseline_K, self.alpha))
        return torch.cat(found)


@final
class Critic(nn.Module):
    """Bilinear; states are brought to one length first, so that no score is beyond an exponential."""

    def __init__(self, student: int, teacher: int, width: int) -> None:
        super().__init__()
        self.own = nn.Sequential(nn.RMSNorm(student), nn.Linear(student, width, bias=False))
        self.other = nn.Sequential(nn.RMSNorm(teacher), nn.Linear(teacher, width, bias=False))
        self.baseline = nn.Linear(student, 1)
        nn.init.zeros_(self.baseline.weight)
        nn.init.zeros_(self.baseline.bias)

    def forward(self, q_KD: Tensor, p_KD: Tensor) -> tuple[Tensor, Tensor]:
        """scores_KK of each state of the student (rows) with each of the teacher's, and log g of the student's."""
        own_KW, other_KW = self.own(q_KD), self.other(p_KD)
        return own_KW @ other_KW.T / own_KW.shape[-1] ** 0.5, self.baseline(self.own[0](q_KD))[:, 0]


def bound(scores_KK: Tensor, baseline_K: Tensor, alpha: float) -> Tensor:
    """I_K of each row, whose own pair lies on the diagonal; baseline_K: log g."""
    count = len(scores_KK)
    pair_K = scores_KK.diagonal()
    if count == 1:
        return pair_K * 0.0
    logs = torch.tensor([alpha, 1 - alpha, count, count - 1], device=scores_KK.device).log().unbind()

    def mixed(log_mean_K: Tensor) -> Tensor:
        return torch.logaddexp(logs[0] + log_mean_K, logs[1] + baseline_K)

    itself_KK = torch.eye(count, dtype=torch.bool, device=scores_KK.device)
    log_all_K = scores_KK.logsumexp(-1) - logs[2]
    log_others_K = scores_KK.masked_fill(itself_KK, -torch.inf).logsumexp(-1) - logs[3]
    return 1 + pair_K - mixed(log_all_K) - (log_others_K - mixed(log_others_K)).exp()

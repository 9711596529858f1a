"""Policy gradient of the sequence's reverse KL: what each token of an answer that was written just now leads to,
further on, where teacher and student differ.

A token's return begins one token later. What the token itself costs is KL(q || p) at its position, exactly and with
less noise: `Pointwise(ReverseKL())`, to be asked beside this one. A return that began at the token would count it
twice; the authors' code does, their paper does not (from memory).
Source: Gu et al. 2024, arXiv:2306.08543 (MiniLLM).
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from decant.distill.seams import Gives, Study, by_chunks
from decant.distill.texts import Positions
from decant.errors import BadInput
from decant.numerics import FLOOR, floored

FLAT: Final = 1e-8  # added to the variance, so that equal returns are zero and not NaN


@final
@dataclass(frozen=True, slots=True)
class PolicyGradient:
    """PPO's clipped surrogate of rewards (log p - log q) / scale.

    most:     rewards are cut to +-most.
    gamma:    a reward k tokens later counts gamma^k.
    mean:     returns are divided by the number of tokens that are left, so that long answers are not favoured.
    whiten:   returns of a piece get mean 0 and variance 1. Nothing is remembered between pieces, so this is the only
              place where their size matters: with `micro` at the rows of a step it is the paper's.
    epsilon:  how far q over the law that the answer was drawn from may leave 1 before it teaches nothing; inf: never.
    """

    scale: float = 0.5
    most: float = 100.0
    gamma: float = 0.95
    mean: bool = True
    whiten: bool = True
    epsilon: float = 0.2

    needs: ClassVar[Gives] = "dense"  # log p of the label, which may be none of the teacher's best ids

    def __post_init__(self) -> None:
        if min(self.scale, self.most, self.epsilon) <= 0 or not 0 <= self.gamma <= 1:
            raise BadInput(f"scale, most and epsilon are above 0, gamma lies in [0, 1]: {self}")

    def __call__(self, study: Study) -> Tensor:
        """nats_N. Raises BadInput for a text that was not written just now."""
        batch, at = study.batch, study.at
        if bool((batch.numbers_B >= 0).any()):  # sync: whose texts these are
            raise BadInput(
                "a policy gradient learns from answers that were written just now, and this batch holds texts of the "
                "data set; take the rollouts mixed_policy or student_samples"
            )
        q_N, p_N = self._said(study).unbind(-1)
        reward_N = ((p_N - q_N).detach() / self.scale).clamp(-self.most, self.most)
        worth_N = later(reward_N, at, self.gamma)
        if self.mean:
            worth_N = worth_N / later(torch.ones_like(reward_N), at, 1.0).clamp_min(1)
        if self.whiten:
            worth_N = (worth_N - worth_N.mean()) * (worth_N.var(correction=0) + FLAT).rsqrt()
        ratio_N = (q_N - batch.logp_BT[at.row_N, at.at_N + 1]).exp()
        near_N = ratio_N.clamp(1 - self.epsilon, 1 + self.epsilon)
        return -torch.minimum(ratio_N * worth_N, near_N * worth_N)

    def _said(self, study: Study) -> Tensor:
        """logp_N2 of each label: the student's, with its gradient, and the target's."""
        signal, label_N = study.signal, study.at.label_N
        assert signal is not None

        def both(rows: slice) -> Tensor:
            q_XV, label_X = study.student.logp(rows), label_N[rows]
            q_X = floored(q_XV.gather(-1, label_X[:, None])[:, 0])
            p, q, _ = signal.law(rows).beside(q_XV.detach(), label_X)
            known_X = label_X < p.shape[-1]  # a wider student may write ids that its teacher does not have
            label_X = label_X.where(known_X, 0)
            p_X = floored(study.target(p, q, label_X).gather(-1, label_X[:, None])[:, 0])
            return torch.stack([q_X, p_X.where(known_X, FLOOR)], -1)

        return by_chunks(len(label_N), study.student.vocab, both)


def later(values_N: Tensor, at: Positions, gamma: float) -> Tensor:
    """sum_N over the later positions k > t of each text, times gamma^(k - t)."""
    found_N = torch.zeros_like(values_N)
    for _, mine, _ in at.texts():
        place_L = torch.arange(mine.stop - mine.start, device=values_N.device)
        gap_LL = place_L - place_L[:, None]
        share_LL = (gamma ** gap_LL.clamp_min(0).to(values_N)).where(gap_LL > 0, 0)
        found_N[mine] = share_LL @ values_N[mine]
    return found_N

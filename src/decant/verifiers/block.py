"""Block verification: a chain is judged as a whole, so that a lucky token makes up for an unlucky one before it.

With w_0 = 1 and w_i = min(1, w_{i-1} p(x_i) / q(x_i)), the first i guesses stand with probability w_i, where rejection
keeps them with the product of the min(1, p / q): never more, and less once one of them is above 1. No other exact way
to judge chains accepts more tokens on average.

Source: Sun et al. 2024, arXiv:2403.10444.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.noise import Noise
from decant.numerics import chain_laws, normalise, take
from decant.types import Draft, Siblings, Verdict


@final
@dataclass(frozen=True, slots=True)
class Block:
    """Keep the longest start i whose own number is below s / (s + 1 - w_i), where s is the mass of max(w_i p - q, 0)
    behind it; then draw from that residual.

    That the first i guesses stand has probability w_i by induction from the end: 1 - w_i = (1 - w_i + s) times the
    chance that i is not kept, since the longer starts stand with sum of min(q, w_i p) = w_i - s. What ends a ragged
    chain is a guess without mass. Chains only; O(M V) for each request, as all rows are looked at.
    """

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"fixed", "independent"})
    trees: ClassVar[bool] = False

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """The accepted start of the chain, then one token from what it left over of the target."""
        tokens_BN = draft.tokens_BN
        batch, nodes = tokens_BN.shape
        q_BMV = chain_laws(draft, target_BMV)
        joint_BM = self._joint(take(target_BMV[:, :-1], tokens_BN), take(q_BMV[:, :-1], tokens_BN))
        left_BMV = (joint_BM[..., None] * target_BMV - q_BMV).clamp_min(0)
        spare_BM = left_BMV.sum(-1)
        keep_BM = spare_BM / (spare_BM + 1 - joint_BM).clamp_min(torch.finfo(spare_BM.dtype).tiny)

        depth_BN = torch.arange(nodes, device=tokens_BN.device).expand(batch, nodes)
        kept_BN = noise.uniform(depth_BN, "accept") < keep_BM[:, 1:]
        # The start of no guesses always stands.
        lengths_BM = pad((depth_BN + 1) * kept_BN, (1, 0))
        accepted_B = lengths_BM.amax(-1)
        requests_B = torch.arange(batch, device=tokens_BN.device)
        law_BV = normalise(left_BMV[requests_B, accepted_B], target_BMV[requests_B, accepted_B])
        return Verdict.of_chain(tokens_BN, accepted_B, noise.draw(law_BV, accepted_B, "residual"))

    def _joint(self, p_BN: Tensor, q_BN: Tensor) -> Tensor:
        """w_BM: with what probability each start of the chain stands; 0 behind a token that its law cannot draw."""
        joint = [p_BN.new_ones(len(p_BN))]
        for p_B, q_B in zip(p_BN.unbind(1), q_BN.unbind(1), strict=True):
            # The product comes first: p / q may be infinite where w is 0.
            joint.append((joint[-1] * p_B / q_B).clamp_max(1).where(q_B > 0, 0))
        return torch.stack(joint, 1)

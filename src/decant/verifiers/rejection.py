"""Speculative sampling: the rejection test of Leviathan and Chen, for chains.

Source: Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.noise import Noise
from decant.numerics import normalise, take
from decant.types import PAD, Draft, Siblings, Verdict


@final
@dataclass(frozen=True, slots=True)
class Rejection:
    """Keep guess x with probability min(1, p(x) / q(x)); once refused, draw from max(p - q, 0).

    A fixed guess has the law that is all x. Chains only; no host synchronisation but that of the last draw.
    """

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"fixed", "independent"})
    trees: ClassVar[bool] = False

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """The accepted start of the chain, then one token from the residual or, after all of it, from the target."""
        tokens_BN = draft.tokens_BN
        batch, nodes = tokens_BN.shape
        laws_BNV = None if draft.siblings == "fixed" or draft.laws_BMV is None else draft.laws_BMV[:, :nodes]
        p_BN = take(target_BMV[:, :-1], tokens_BN)
        q_BN = torch.ones_like(p_BN) if laws_BNV is None else take(laws_BNV, tokens_BN)
        u_BN = noise.uniform(torch.arange(nodes, device=tokens_BN.device).expand(batch, nodes), "accept")
        # An absent node has p(x) = 0 and is refused; a token that its law cannot draw was never really proposed.
        accepted_B = ((u_BN * q_BN < p_BN) & (q_BN > 0)).long().cumprod(-1).sum(-1)

        requests_B = torch.arange(batch, device=tokens_BN.device)
        refused_B = pad(tokens_BN, (0, 1), value=PAD)[requests_B, accepted_B]
        p_BV = target_BMV[requests_B, accepted_B]
        q_BV = self._refused_law(refused_B, laws_BNV, accepted_B, p_BV)
        last_B = noise.draw(normalise((p_BV - q_BV).clamp_min(0), p_BV), accepted_B, "residual")
        return Verdict.of_chain(tokens_BN, accepted_B, last_B)

    def _refused_law(self, refused_B: Tensor, laws_BNV: Tensor | None, accepted_B: Tensor, like_BV: Tensor) -> Tensor:
        """q at the refused guess; nothing where the chain simply ended, since nothing was refused there."""
        real_B1 = (refused_B != PAD)[:, None]
        if laws_BNV is None:
            return torch.zeros_like(like_BV).scatter(-1, refused_B.clamp_min(0)[:, None], real_B1.to(like_BV))
        padded_BMV = torch.cat([laws_BNV, torch.zeros_like(like_BV)[:, None]], dim=1)
        return padded_BMV[torch.arange(len(accepted_B), device=accepted_B.device), accepted_B].where(real_B1, 0)

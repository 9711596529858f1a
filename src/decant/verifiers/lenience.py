"""Speculative sampling with a discount on q: more guesses stand, and the text is no longer the target's.

Source: Leviathan et al. 2023, arXiv:2211.17192 (their lenience).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import chain_laws, normalise, take
from decant.types import Draft, Siblings, Verdict


@final
@dataclass(frozen=True, slots=True)
class Lenience:
    """Keep guess x with probability min(1, p(x) / (lenience * q(x))); once refused, draw from max(p - lenience * q, 0).

    lenience: in (0, 1]. No token becomes likelier than p / lenience. At 1 this is the verifier rejection, bit for bit,
        and exact; the lower, the more of the draft's own text stands.

    It sees warped probabilities: behind a greedy warp p is 0 or 1, and every lenience is exact. Raises BadInput.
    """

    lenience: float = 0.7

    exact: ClassVar[bool] = False
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"fixed", "independent"})
    trees: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.lenience <= 1:
            raise BadInput(f"lenience is above 0 and at most 1, which is exact; got {self.lenience}")

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """The accepted start of the chain, then one token from the residual or, after all of it, from the target."""
        tokens_BN = draft.tokens_BN
        batch, nodes = tokens_BN.shape
        q_BMV = self.lenience * chain_laws(draft, target_BMV)
        p_BN, q_BN = take(target_BMV[:, :-1], tokens_BN), take(q_BMV[:, :-1], tokens_BN)
        u_BN = noise.uniform(torch.arange(nodes, device=tokens_BN.device).expand(batch, nodes), "accept")
        # A token that its law cannot draw was never really proposed: u * 0 < p would take it for certain.
        accepted_B = ((u_BN * q_BN < p_BN) & (q_BN > 0)).long().cumprod(-1).sum(-1)
        requests_B = torch.arange(batch, device=tokens_BN.device)
        p_BV, q_BV = target_BMV[requests_B, accepted_B], q_BMV[requests_B, accepted_B]
        last_B = noise.draw(normalise((p_BV - q_BV).clamp_min(0), p_BV), accepted_B, "residual")
        return Verdict.of_chain(tokens_BN, accepted_B, last_B)

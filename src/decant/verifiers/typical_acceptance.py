"""Medusa's typical acceptance: a guess stands if the target finds it likely enough for how unsure it is.

Source: Cai et al. 2024, arXiv:2401.10774.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import ancestry, chain_parents, take
from decant.types import PAD, Draft, Siblings, Verdict


@final
@dataclass(frozen=True, slots=True)
class TypicalAcceptance:
    """Keep guess x where p(x) > min(epsilon, delta * exp(-H(p))), H being the entropy of p in nats; of the paths whose
    nodes all stand take the longest, of equally long ones the likeliest, and let the target draw what follows.

    epsilon: a guess that is likelier always stands; 1 leaves it to delta.
    delta:   how many times likelier than a token of a flat law of that entropy; inf leaves it to epsilon.

    At epsilon >= 1 and delta = inf nothing stands, and the text is the target's. It sees warped
    probabilities: behind a greedy warp p is 0 or 1, and all settings are exact. The token that the paper always accepts
    is here the last of each verdict, which the target draws. No host synchronisation but that of the draw. Raises
    BadInput.
    """

    epsilon: float = 0.09
    delta: float = 0.3

    exact: ClassVar[bool] = False
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"fixed", "independent", "without_replacement", "greedy_multi"})
    trees: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.epsilon >= 0 and self.delta >= 0):
            raise BadInput(f"epsilon and delta are 0 or more, got epsilon {self.epsilon} and delta {self.delta}")

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """The longest path of typical guesses, then the target's own draw."""
        tokens_BN = draft.tokens_BN
        parents_BN = chain_parents(tokens_BN) if draft.parents_BN is None else draft.parents_BN
        entropy_BM = torch.special.entr(target_BMV).sum(-1)
        least_BM = (self.delta * (-entropy_BM).exp()).clamp_max(self.epsilon)
        # p(x) of each node stands in the row of its parent.
        p_BN = target_BMV[torch.arange(len(tokens_BN), device=tokens_BN.device)[:, None], parents_BN + 1]
        p_BN = take(p_BN, tokens_BN)
        stands_BN = (p_BN > least_BM.gather(1, parents_BN + 1)) & (tokens_BN != PAD)

        sees_BMM = ancestry(parents_BN)
        stands_BM, logp_BM = pad(stands_BN, (1, 0), value=True), pad(p_BN.log().where(stands_BN, 0), (1, 0))
        whole_BM = (stands_BM[:, None] | ~sees_BMM).all(-1)
        depth_BM = sees_BMM.sum(-1) - 1
        length_BM = depth_BM.where(whole_BM, -1)
        longest_BM = length_BM == length_BM.amax(-1, keepdim=True)
        score_BM = (sees_BMM * logp_BM[:, None]).sum(-1).where(longest_BM, -torch.inf)
        end_B = score_BM.argmax(-1)

        requests_B = torch.arange(len(tokens_BN), device=tokens_BN.device)
        last_B = noise.draw(target_BMV[requests_B, end_B], depth_BM[requests_B, end_B])
        # Parents come before children: the nodes of a path ascend, and a sort puts them in front of what is not on it.
        nodes_N = torch.arange(tokens_BN.shape[1], device=tokens_BN.device)
        on_BN = sees_BMM[requests_B, end_B, 1:]
        path_BN = nodes_N.where(on_BN, tokens_BN.shape[1]).sort(-1).values
        return Verdict.of_path(tokens_BN, path_BN.where(path_BN < tokens_BN.shape[1], PAD), last_B)

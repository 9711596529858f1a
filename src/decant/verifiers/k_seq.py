"""SpecTr's K-SEQ: k independent guesses are tried in turn against one discounted law.

Accepts at least 1 - 1/e of what the best verifier could. Along a tree of k chains that share the root, the guesses of
the next position are the children of every node whose path spells what was accepted: they were all drawn from the same
law, after the law was known. The rule for one position is the paper's; how the chains are walked is reconstructed.

Source: Sun et al. 2023, arXiv:2310.15141.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.noise import Noise
from decant.numerics import chain_parents, normalise
from decant.types import PAD, Draft, Siblings, Verdict

HALVINGS = 40


@final
@dataclass(frozen=True, slots=True)
class KSeq:
    """Keep the first guess x that passes with probability min(1, p(x) / (r q(x))); once all k are refused, draw from
    p - min(q, p / r) (1 - (1 - b)^k) / b, where b is the sum of min(q, p / r).

    r in [1, k] is the least for which that is no negative mass. Guesses may repeat. With one guess left r is 1, and
    this is rejection, bit for bit. O(V) for each row on the way, 40 times that where guesses compete.
    """

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"independent"})
    trees: ClassVar[bool] = True

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """One accepted path, then one token from what is left of p at its end."""
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        # One absent node behind the others: a draft of nothing needs no case of its own.
        tokens_BN, parents_BN = pad(draft.tokens_BN, (0, 1), value=PAD), pad(parents_BN, (0, 1), value=PAD)
        walking_R = torch.arange(len(tokens_BN), device=tokens_BN.device)
        last_B, end_B, depth_B = (torch.zeros_like(walking_R) for _ in range(3))
        row_R = torch.zeros_like(walking_R)
        # Rows whose path spells what was accepted; at first the root alone.
        spelt_RM = pad(torch.zeros_like(tokens_BN, dtype=torch.bool), (1, 0), value=True)
        depth = 0
        while len(walking_R):
            tokens_RN = tokens_BN[walking_R]
            tried_RN = spelt_RM.gather(1, parents_BN[walking_R] + 1) & (tokens_RN != PAD)
            p_RV, q_RV = target_BMV[walking_R, row_R], _law(draft, walking_R, row_R, target_BMV)
            scale_R1, left_RV = _discount(p_RV, q_RV, tried_RN.sum(-1))
            p_RN, q_RN = p_RV.gather(1, tokens_RN.clamp_min(0)), q_RV.gather(1, tokens_RN.clamp_min(0))
            depth_RN = torch.full_like(tokens_RN, depth)
            u_RN = noise.select(walking_R).uniform(depth_RN, "accept", tried_RN.long().cumsum(-1) - 1)
            # A token that q cannot draw was never really proposed: u * 0 < p would take it for certain.
            kept_RN = tried_RN & (u_RN * (scale_R1 * q_RN) < p_RN) & (q_RN > 0)
            found_R, node_R = kept_RN.any(-1), kept_RN.long().argmax(-1)

            ended_R = walking_R[~found_R]  # sync: does anybody walk on?
            end_B[ended_R], depth_B[ended_R] = row_R[~found_R], depth
            last_B[ended_R] = noise.select(ended_R).draw(left_RV[~found_R], depth_B[ended_R], "residual")
            same_RN = tried_RN & (tokens_RN == tokens_RN.gather(1, node_R[:, None]))
            walking_R, row_R = walking_R[found_R], node_R[found_R] + 1
            spelt_RM = pad(same_RN[found_R], (1, 0), value=False)
            depth += 1
        return Verdict.of_path(draft.tokens_BN, _path(parents_BN, end_B, depth_B, depth - 1), last_B)


def _law(draft: Draft, walking_R: Tensor, row_R: Tensor, like_BMV: Tensor) -> Tensor:
    """q_RV behind each row; zero where it has none."""
    if draft.laws_BMV is None or draft.siblings == "fixed" or not draft.laws_BMV.shape[1]:
        return torch.zeros_like(like_BMV[walking_R, row_R])
    rows = draft.laws_BMV.shape[1]
    return draft.laws_BMV[walking_R, row_R.clamp_max(rows - 1)].where((row_R < rows)[:, None], 0)


def _discount(p_RV: Tensor, q_RV: Tensor, guesses_R: Tensor) -> tuple[Tensor, Tensor]:
    """r_R1, and what is left of p once every guess is refused, scaled to sum to one."""
    scale_R1 = torch.ones_like(p_RV[:, :1])
    many_R = guesses_R > 1
    if many_R.any():  # sync: chains need no search
        k_S1 = guesses_R[many_R, None]
        p_SV, q_SV = p_RV[many_R].double(), q_RV[many_R].double()
        low_S1, high_S1 = torch.ones_like(p_SV[:, :1]), k_S1.double()
        for _ in range(HALVINGS):
            middle_S1 = (low_S1 + high_S1) / 2
            fits_S1 = _tries(torch.minimum(q_SV, p_SV / middle_S1).sum(-1, keepdim=True), k_S1) <= middle_S1
            low_S1, high_S1 = torch.where(fits_S1, low_S1, middle_S1), torch.where(fits_S1, middle_S1, high_S1)
        # The upper end: any r above the root is exact too, any below leaves negative mass.
        scale_R1[many_R] = high_S1.to(p_RV)
    passed_RV = torch.minimum(q_RV, p_RV / scale_R1)
    tries_R1 = _tries(passed_RV.sum(-1, keepdim=True), guesses_R[:, None])
    return scale_R1, normalise((p_RV - passed_RV * tries_R1).clamp_min(0), p_RV)


def _tries(pass_R1: Tensor, guesses_R1: Tensor) -> Tensor:
    """(1 - (1 - b)^k) / b, as the sum that it is: how many guesses are looked at on average, one behind the other."""
    most = int(guesses_R1.max()) if guesses_R1.numel() else 0  # sync: how many powers
    power_K = torch.arange(most, device=pass_R1.device)
    powers_RK = (1 - pass_R1).clamp_min(0) ** power_K
    return powers_RK.where(power_K < guesses_R1, 0).sum(-1, keepdim=True)


def _path(parents_BN: Tensor, end_B: Tensor, depth_B: Tensor, deepest: int) -> Tensor:
    """nodes_BD from the root to the row `end_B`, PAD behind it. Climbed from the end: of several nodes that spell the
    same path only its last one's ancestors are its own."""
    nodes_BD = end_B.new_full((len(end_B), deepest), PAD)
    node_B = end_B - 1
    for depth in range(deepest - 1, -1, -1):
        on_B = depth_B > depth
        nodes_BD[:, depth] = node_B.where(on_B, PAD)
        above_B = parents_BN.gather(1, node_B.clamp_min(0)[:, None]).squeeze(1)
        node_B = above_B.where(on_B, node_B)
    return nodes_BD

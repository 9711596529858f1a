"""The optimal verifier of greedy multi-drafts: the guess that was drawn is tried first, the certain ones come free.

Reaches p(T) + sum of min(p, q') outside T, the most that any verifier can accept of such siblings: T are the guesses
chosen without chance, q' is q without T, from which the last one was drawn. The order that comes to mind, T first and
the drawn one last, is exact too and accepts less.

Source: Hu et al. 2025, arXiv:2502.18779 (the siblings and their optimum); the verifier is our own derivation.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.noise import Noise
from decant.numerics import chain_parents, normalise, take
from decant.types import PAD, Draft, Siblings, Verdict


@final
@dataclass(frozen=True, slots=True)
class GreedyMulti:
    """Keep the last child x of a row with probability min(1, p(x) / q'(x)); else draw y from max(p - q', 0), and go on
    to the child that carries y, where there is one.

    The last child by index must be the drawn one. Where it is absent nothing was drawn: y comes from p itself, which
    is exact for any children. A chain is plain rejection. O(V) for each row on the way.
    """

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"greedy_multi"})
    trees: ClassVar[bool] = True

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """One accepted path, then the draw that no child carries."""
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        # One absent node behind the others: a draft of nothing needs no case of its own.
        tokens_BN, parents_BN = pad(draft.tokens_BN, (0, 1), value=PAD), pad(parents_BN, (0, 1), value=PAD - 1)
        walking_R = torch.arange(len(tokens_BN), device=tokens_BN.device)
        row_R = torch.zeros_like(walking_R)
        last_B, path = torch.zeros_like(walking_R), []
        while len(walking_R):
            depth_R = torch.full_like(walking_R, len(path))
            tokens_RN, child_RN = tokens_BN[walking_R], parents_BN[walking_R] == row_R[:, None] - 1
            q_RV = _law(draft, walking_R, row_R, target_BMV)
            token_R = _choose(tokens_RN, child_RN, target_BMV[walking_R, row_R], q_RV, depth_R, noise.select(walking_R))
            last_B[walking_R] = token_R
            same_RN = child_RN & (tokens_RN == token_R[:, None])
            found_R, node_R = same_RN.any(-1), same_RN.long().argmax(-1)
            walking_R, node_R = walking_R[found_R], node_R[found_R]  # sync: does anybody walk on?
            row_R = node_R + 1
            path.append(torch.full_like(last_B, PAD).scatter(0, walking_R, node_R))
        nodes_BD = torch.stack(path[:-1], 1) if path[1:] else last_B.new_empty(len(last_B), 0)
        return Verdict.of_path(draft.tokens_BN, nodes_BD, last_B)


def _law(draft: Draft, walking_R: Tensor, row_R: Tensor, like_BMV: Tensor) -> Tensor:
    """q_RV behind each row; zero where it has none."""
    if draft.laws_BMV is None or draft.siblings == "fixed" or not draft.laws_BMV.shape[1]:
        return torch.zeros_like(like_BMV[walking_R, row_R])
    rows = draft.laws_BMV.shape[1]
    return draft.laws_BMV[walking_R, row_R.clamp_max(rows - 1)].where((row_R < rows)[:, None], 0)


def _choose(tokens_RN: Tensor, child_RN: Tensor, p_RV: Tensor, q_RV: Tensor, depth_R: Tensor, noise: Noise) -> Tensor:
    """What comes next, whoever guessed it."""
    order_N = torch.arange(1, tokens_RN.shape[1] + 1, device=tokens_RN.device)
    drawn_RN = (child_RN * order_N).argmax(-1, keepdim=True) == order_N - 1
    x_R = tokens_RN.masked_fill(~(child_RN & drawn_RN), PAD).amax(-1)
    certain_RN = tokens_RN.where(child_RN & ~drawn_RN & (tokens_RN != PAD), p_RV.shape[-1])
    # What is absent is struck from a column of its own.
    rest_RV = pad(q_RV, (0, 1)).scatter(-1, certain_RN, 0.0)[:, :-1]
    rest_RV = normalise(rest_RV, rest_RV)
    q_R = take(rest_RV, x_R)
    u_R = noise.uniform(depth_R, "accept")
    # A token that q' cannot draw was never really proposed: u * 0 < p would take it for certain.
    keep_R = (u_R * q_R < take(p_RV, x_R)) & (q_R > 0)
    left_RV = normalise((p_RV - rest_RV.where((x_R != PAD)[:, None], 0)).clamp_min(0), p_RV)
    return torch.where(keep_R, x_R, noise.draw(left_RV, depth_R, "residual"))

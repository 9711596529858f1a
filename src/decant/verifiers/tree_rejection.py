"""Recursive rejection: the children of a node are tried one after the other, each against what the others left over.

Source: Miao et al. 2023, arXiv:2305.09781 (with replacement); Chen et al. 2024, arXiv:2402.12374, and Jeon et al. 2024,
arXiv:2402.14160 (without replacement).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.noise import Noise
from decant.numerics import chain_parents, normalise, take
from decant.types import PAD, Draft, Siblings, Verdict


@final
@dataclass(slots=True, eq=False)
class _Walk:
    """Where each request stands: the row, what is left of p and q there, and the path so far."""

    row_B: Tensor
    depth_B: Tensor
    p_BV: Tensor
    q_BV: Tensor | None
    nodes_BD: Tensor


@final
@dataclass(frozen=True, slots=True)
class TreeRejection:
    """Accept child x with probability min(1, p'(x) / q'(x)); once refused p' becomes max(p' - q', 0), and q' loses x.

    Children are tried in the order of their index, which must be the order in which they were drawn. q' keeps x where
    children are independent; where they are fixed q' is all x, so p' loses x. O(N) small steps, each over the requests
    that stand at the node's parent only.
    """

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"fixed", "independent", "without_replacement"})
    trees: ClassVar[bool] = True

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """One accepted path, then one token from what is left of p at its end."""
        tokens_BN = draft.tokens_BN
        parents_BN = chain_parents(tokens_BN) if draft.parents_BN is None else draft.parents_BN
        laws_BMV = None if draft.siblings == "fixed" else draft.laws_BMV
        start_B = torch.zeros(len(tokens_BN), dtype=torch.int64, device=tokens_BN.device)
        walk = _Walk(
            row_B=start_B,
            depth_B=start_B.clone(),
            p_BV=target_BMV[:, 0].clone(),
            q_BV=None if laws_BMV is None or not laws_BMV.shape[1] else laws_BMV[:, 0].clone(),
            nodes_BD=torch.full_like(tokens_BN, PAD),
        )
        # Parents come before children, so one pass in the order of indices is the walk.
        for node in range(tokens_BN.shape[1]):
            tried_B = (parents_BN[:, node] == walk.row_B - 1) & (tokens_BN[:, node] != PAD)
            requests_R = tried_B.nonzero().squeeze(-1)  # sync: most nodes of a tree are tried by nobody
            if len(requests_R):
                self._try(walk, requests_R, node, draft, target_BMV, noise)
        last_B = noise.draw(walk.p_BV, walk.depth_B, "residual")
        return Verdict.of_path(tokens_BN, walk.nodes_BD, last_B)

    def _try(self, walk: _Walk, requests_R: Tensor, node: int, draft: Draft, target_BMV: Tensor, noise: Noise) -> None:
        """Accept or refuse `node` for each of these requests; all stand at its parent."""
        x_R = draft.tokens_BN[requests_R, node]
        p_RV = walk.p_BV[requests_R]
        q_RV = torch.zeros_like(p_RV).scatter(-1, x_R[:, None], 1.0) if walk.q_BV is None else walk.q_BV[requests_R]
        q_R = take(q_RV, x_R)
        u_R = noise.select(requests_R).uniform(walk.depth_B[requests_R], "accept", node)
        # A token that q' cannot draw was never really proposed: u * 0 < p would take it for certain.
        accept_R = (u_R * q_R < take(p_RV, x_R)) & (q_R > 0)

        refused_R, left_RV = requests_R[~accept_R], q_RV[~accept_R]
        p_RV = p_RV[~accept_R]
        walk.p_BV[refused_R] = normalise((p_RV - left_RV).clamp_min(0), p_RV)
        if walk.q_BV is not None and draft.siblings == "without_replacement":
            left_RV = left_RV.scatter(-1, x_R[~accept_R][:, None], 0.0)
            walk.q_BV[refused_R] = normalise(left_RV, left_RV)

        on_R = requests_R[accept_R]
        walk.nodes_BD[on_R, walk.depth_B[on_R]] = node
        walk.depth_B[on_R] += 1
        walk.row_B[on_R] = node + 1
        walk.p_BV[on_R] = target_BMV[on_R, node + 1]
        if walk.q_BV is not None and draft.laws_BMV is not None and node + 1 < draft.laws_BMV.shape[1]:
            walk.q_BV[on_R] = draft.laws_BMV[on_R, node + 1]

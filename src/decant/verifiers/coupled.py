"""Keep the guesses that the target itself would have drawn: its own counted draw, compared token by token.

Exact trivially, whatever the draft: every committed token is the target's draw. The same seed gives the same text
whatever the drafter, and at temperature zero this is greedy verification.

Source: Leviathan et al. 2023, arXiv:2211.17192, with common random numbers; Gumbel coupling: Maddison et al. 2014,
arXiv:1411.0030.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.noise import Noise
from decant.numerics import chain_parents
from decant.types import PAD, Draft, Siblings, Verdict


@final
@dataclass(frozen=True, slots=True)
class Coupled:
    """Walk down the draft: draw from the row, go on to the child that carries the draw, end where there is none.

    Draws only on rows that are visited: O(V) a committed token, however wide the tree.
    """

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"fixed", "independent", "without_replacement", "greedy_multi"})
    trees: ClassVar[bool] = True

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """The longest path of the target's own draws, and the draw that follows it."""
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        # One absent node behind the others: a draft of nothing needs no case of its own.
        tokens_BN, parents_BN = pad(draft.tokens_BN, (0, 1), value=PAD), pad(parents_BN, (0, 1), value=PAD)
        walking_R = torch.arange(len(tokens_BN), device=tokens_BN.device)
        row_R = torch.zeros_like(walking_R)
        last_B, path = torch.zeros_like(walking_R), []
        while len(walking_R):
            depth_R = torch.full_like(walking_R, len(path))
            drawn_R = noise.select(walking_R).draw(target_BMV[walking_R, row_R], depth_R)
            last_B[walking_R] = drawn_R
            child_RN = (parents_BN[walking_R] == row_R[:, None] - 1) & (tokens_BN[walking_R] == drawn_R[:, None])
            found_R, node_R = child_RN.any(-1), child_RN.long().argmax(-1)
            walking_R, node_R = walking_R[found_R], node_R[found_R]  # sync: does anybody walk on?
            row_R = node_R + 1
            path.append(torch.full_like(last_B, PAD).scatter(0, walking_R, node_R))
        return Verdict.of_path(draft.tokens_BN, torch.stack(path[:-1], 1) if path[1:] else _no_nodes(last_B), last_B)


def _no_nodes(last_B: Tensor) -> Tensor:
    return last_B.new_empty(len(last_B), 0)

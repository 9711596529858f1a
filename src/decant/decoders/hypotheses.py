"""K hypotheses of each request, all equally long, and the best of those that have ended.

Each is a row of the target's context and of the constraint's state; so requests leave and join with all their rows.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.speakers import said
from decant.noise import Noise
from decant.protocols import LanguageModel
from decant.types import PAD, Step, join_rows, select_rows

C = TypeVar("C")  # the target's context


@final
@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """How the search of each request stands. A stretch is what is searched as one, of at most L tokens.

    logp_BK:  nats of each hypothesis since the stretch began; -inf where there is none.
    text_BKL: its tokens since then, PAD behind.
    said_B:   how many of them were emitted.
    ended_BG: how many hypotheses of each group have ended.
    best_BL, score_B: the best of those, an end token included, and its score; -inf where there is none.
    over_B:   whether it was what the last step emitted.
    """

    noise: Noise
    logp_BK: Tensor
    text_BKL: Tensor
    said_B: Tensor
    ended_BG: Tensor
    best_BL: Tensor
    score_B: Tensor
    over_B: Tensor

    @property
    def length_B(self) -> Tensor:
        """Tokens of the stretch so far."""
        return (self.text_BKL[:, 0] != PAD).sum(-1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class SearchState(Generic[C]):
    """What is remembered between steps. context and constraint have K rows of each request, one after another."""

    context: C
    constraint: Any
    standing: Standing

    def select(self, rows_R: Tensor) -> "SearchState[C]":
        """The requests `rows_R`, all hypotheses of each."""
        width = self.standing.logp_BK.shape[1]
        beams_X = (rows_R[:, None] * width + torch.arange(width, device=rows_R.device)).flatten()
        return SearchState(
            select_rows(self.context, beams_X),
            select_rows(self.constraint, beams_X),
            select_rows(self.standing, rows_R),
        )

    def join(self, other: "SearchState[C]") -> "SearchState[C]":
        """These requests, then the other's."""
        return SearchState(
            join_rows(self.context, other.context),
            join_rows(self.constraint, other.constraint),
            join_rows(self.standing, other.standing),
        )


def branched(model: LanguageModel[C], context: C, parents_R: Tensor, tokens_R: Tensor) -> C:
    """The context whose row r is row `parents_R[r]`, just scored, and a token more; a row may have several children.

    A context commits one token, so the children of one row are committed one after another. What the score left in the
    cache serves the first of them; the others read the row's own last token again, with their next one.
    """
    most = int(tokens_R.max()) + 1  # sync: children are told apart on the host
    pair_U, place_R = (parents_R * most + tokens_R).unique(return_inverse=True)
    parents_U, tokens_U = pair_U // most, pair_U % most
    rank_U = torch.arange(len(pair_U), device=pair_U.device) - torch.searchsorted(parents_U, parents_U)
    parts, order = [], []
    for rank in range(int(rank_U.max()) + 1):  # sync: as above
        here_X = (rank_U == rank).nonzero().squeeze(-1)
        next_R = torch.zeros_like(tokens_R).index_put((parents_U[here_X],), tokens_U[here_X])
        parts.append((model.commit(context, said(next_R[:, None])), parents_U[here_X]))
        order.append(here_X)
    if len(parts) == 1:
        return select_rows(parts[0][0], parents_R)
    joined = select_rows(*parts[0])
    for committed, rows_X in parts[1:]:
        joined = join_rows(joined, select_rows(committed, rows_X))
    return select_rows(joined, torch.cat(order).argsort()[place_R])


def followed(text_BKL: Tensor, parents_BK: Tensor, tokens_BK: Tensor, length_B: Tensor) -> Tensor:
    """text_BKL of the parents, and a token more; length_B: tokens that they have."""
    hypotheses, length = text_BKL.shape[1:]
    longer_BKL = text_BKL.gather(1, parents_BK[..., None].expand(-1, -1, length))
    at_BK1 = length_B[:, None, None].expand(-1, hypotheses, 1)
    return longer_BKL.scatter(2, at_BK1, tokens_BK[..., None])


def emitted(text_BL: Tensor, said_B: Tensor, until_B: Tensor, noise: Noise) -> Step:
    """Tokens `said` to `until` of each text; a column at least."""
    most = max(1, int((until_B - said_B).amax()))  # sync: the width depends on the tokens
    at_BC = said_B[:, None] + torch.arange(most, device=said_B.device)
    real_BC = at_BC < until_B[:, None]
    tokens_BC = text_BL.gather(1, at_BC.clamp_max(text_BL.shape[1] - 1)).where(real_BC, PAD)
    positions_BC = (noise.root_B[:, None] + at_BC - said_B[:, None]).where(real_BC, PAD)
    return Step(tokens_BC, positions_BC, torch.zeros_like(real_BC))

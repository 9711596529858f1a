"""Jacobi decoding: a window of guesses that every pass of the target refines, all positions at once.

Source: Song et al. 2021, arXiv:2002.03629; Santilli et al. 2023, arXiv:2305.10427.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.drafting.ahead import drawn_ahead
from decant.noise import Noise
from decant.protocols import Warp
from decant.types import Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True, eq=False)
class JacobiState:
    """root_B: the last token of each request.
    logits_BNV: the target's rows behind what it committed, nearest first; rows_B: how many of them are a request's.
    """

    root_B: Tensor
    logits_BNV: Tensor
    rows_B: Tensor

    def select(self, rows_R: Tensor) -> "JacobiState":
        """The requests `rows_R`."""
        return JacobiState(self.root_B[rows_R], self.logits_BNV[rows_R], self.rows_B[rows_R])

    def join(self, other: "JacobiState") -> "JacobiState":
        """These requests, then the other's."""
        width = max(self.logits_BNV.shape[1], other.logits_BNV.shape[1])
        logits = [pad(x.logits_BNV, (0, 0, 0, width - x.logits_BNV.shape[1])) for x in (self, other)]
        roots, rows = torch.cat([self.root_B, other.root_B]), torch.cat([self.rows_B, other.rows_B])
        return JacobiState(roots, torch.cat(logits), rows)


@final
@dataclass(frozen=True, slots=True)
class Jacobi:
    """A chain of the depth asked for. What the target said behind a refused guess is the next guess for that position;
    positions that enter the window start as copies of the last guess.

    The streaming form: what is right is committed after every pass, and the window slides on. A pass settles at least
    one token, as plain decoding does; ordinary models seldom settle more (they need consistency training). Keeps
    depth x V floats a request. At a temperature it refines with the draws that the target will make there.
    """

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target but the rows of its own draft."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> JacobiState:
        """Nothing is refined yet."""
        end_B1 = (prompt_BT >= 0).sum(-1, keepdim=True) - 1
        root_B = prompt_BT.gather(1, end_B1).squeeze(1)
        return JacobiState(root_B, prefill.logits_BMV[:, :0].float(), torch.zeros_like(root_B))

    def draft(self, state: JacobiState, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """A chain; nothing of it is ever absent."""
        depth = shape.depth if shape.budget is None else min(shape.depth, shape.budget)
        at_N = torch.arange(state.logits_BNV.shape[1], device=state.root_B.device)
        drawn_BN = drawn_ahead(state.logits_BNV, at_N.expand(len(state.root_B), -1), warp, noise)
        known_BM = torch.cat([state.root_B[:, None], drawn_BN], dim=1)
        next_N = torch.arange(1, depth + 1, device=state.root_B.device)
        return Draft(known_BM.gather(1, torch.minimum(next_N, state.rows_B[:, None])))

    def observe(self, state: JacobiState, draft: Draft, verdict: Verdict, scores: Scores) -> JacobiState:
        """Keep the rows behind the committed tokens: row i is as far behind the old root as token i of the step."""
        committed_B = verdict.committed_B
        root_B = verdict.tokens_BC.gather(1, committed_B[:, None] - 1).squeeze(1)
        rows_B = (scores.logits_BMV.shape[1] - committed_B).clamp_min(0)
        most = int(rows_B.max())  # sync: how many rows are worth keeping
        kept_BN = committed_B[:, None] + torch.arange(most, device=root_B.device)
        requests_B1 = torch.arange(len(root_B), device=root_B.device)[:, None]
        logits_BNV = scores.logits_BMV[requests_B1, kept_BN.clamp_max(scores.logits_BMV.shape[1] - 1)]
        return JacobiState(root_B, logits_BNV.float(), rows_B)

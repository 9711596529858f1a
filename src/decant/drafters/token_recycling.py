"""Token recycling: for every token, what the target last thought could follow it.

Source: Luo et al. 2024, arXiv:2408.08696.
"""

from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from decant.drafting.templates import cut, likeliest, stages
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True, eq=False)
class Followers:
    """ids_VK: the best K ids that the target put behind each token, best first, PAD where it never said.

    One table for all requests: they teach each other, and none of them leaves a hole when it goes.
    """

    ids_VK: Tensor

    def learn(self, tokens_R: Tensor, best_RK: Tensor) -> "Followers":
        """With newer rows; of one token's several rows the last counts."""
        return Followers(self.ids_VK.index_copy(0, tokens_R, best_RK))

    def select(self, rows_R: Tensor) -> "Followers":
        """The same table."""
        return self

    def join(self, other: "Followers") -> "Followers":
        """What the newcomers know, and what these know beside it."""
        return Followers(torch.where(other.ids_VK == PAD, self.ids_VK, other.ids_VK))


@final
@dataclass(frozen=True, slots=True, eq=False)
class RecyclingState:
    """root_B: the last token of each request; followers: the table that they share."""

    root_B: Tensor
    followers: Followers


@final
@dataclass(frozen=True, slots=True)
class TokenRecycling:
    """Expand a tree of ranks from a table of followers, which every forward of the target refreshes.

    top:    followers kept a token.
    nodes:  size of the tree, where the policy gives no template: the likeliest paths of ranks, cut to the depth and the
        budget asked for. 11 nodes and the root make 12 rows, 1.5 times the price of a plain token on a CPU without AMX;
        where `bench --costs` stays flat (AMX, GPUs), 31 and more are nearly free.
    learnt: the table to start from (`warmed` sets it); an empty one by default.

    A token that the table does not know has no children: nothing is guessed blindly. O(V top) memory, copied once a
    step. Raises BadInput for a top or nodes below 1.
    """

    top: int = 8
    nodes: int = 11
    learnt: Followers | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.top < 1 or self.nodes < 1:
            raise BadInput(f"token-recycling needs top >= 1 and nodes >= 1, got top {self.top}, nodes {self.nodes}")

    @property
    def taps(self) -> Taps:
        """The best ids behind every prompt token."""
        return Taps(top=self.top)

    def start(self, prompt_BT: Tensor, prefill: Scores) -> RecyclingState:
        """Learn what the target thought while it read the prompt."""
        vocab = prefill.logits_BMV.shape[-1]
        ids_VK = prompt_BT.new_full((vocab, min(self.top, vocab)), PAD) if self.learnt is None else self.learnt.ids_VK
        followers = Followers(ids_VK.to(prompt_BT.device))
        if prefill.top_BMK is not None:
            # Beside a shorter request's last token there is PAD: the target has not read it yet.
            known_R = (prefill.top_BMK[..., 0] != PAD).flatten()
            tokens_R = prompt_BT[:, : prefill.top_BMK.shape[1]].where(known_R.view(len(prompt_BT), -1), PAD).flatten()
            last_R = _last_of_each(tokens_R, vocab)
            followers = followers.learn(tokens_R[last_R], prefill.top_BMK.flatten(0, 1)[last_R])
        end_B1 = (prompt_BT != PAD).sum(-1, keepdim=True) - 1
        return RecyclingState(prompt_BT.gather(1, end_B1).squeeze(1), followers)

    def draft(self, state: RecyclingState, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """The template filled in; nodes that are absent in every request are left out."""
        top, device = state.followers.ids_VK.shape[1], state.root_B.device
        paths = shape.template
        if paths is None:
            paths = likeliest((tuple(map(_chance, range(top))),) * shape.depth, self.nodes)
        levels = stages(cut(paths, shape.depth, shape.budget))
        parents = [parent for level in levels for parent in level.parents]
        parent_N = torch.tensor(parents, dtype=torch.int64, device=device)
        rows_BM = state.root_B[:, None]  # the root, then each node: row parent + 1 is the parent
        for level in levels:
            above_L, rank_L = (torch.tensor(numbers, device=device) for numbers in (level.parents, level.ranks))
            above_BL = rows_BM[:, above_L + 1]
            found_BL = state.followers.ids_VK[above_BL.clamp_min(0), rank_L.clamp_max(top - 1)]
            known_BL = (above_BL != PAD) & (rank_L < top)  # a template may be wider than the table
            rows_BM = torch.cat([rows_BM, found_BL.where(known_BL, PAD)], dim=1)
        tokens_BN = rows_BM[:, 1:]
        kept_N = (tokens_BN != PAD).any(0)
        place_M = torch.cat([kept_N.new_zeros(1), kept_N]).long().cumsum(0) - 1  # of row parent + 1 among kept nodes
        parents_N = place_M[parent_N + 1].where(parent_N != PAD, PAD)[kept_N]  # sync: absent nodes cost a row each
        return Draft(tokens_BN[:, kept_N], parents_N.expand(len(tokens_BN), -1))

    def observe(self, state: RecyclingState, draft: Draft, verdict: Verdict, scores: Scores) -> RecyclingState:
        """Learn from every row that was scored, refused nodes too."""
        followers = state.followers
        tokens_R = torch.cat([state.root_B[:, None], draft.tokens_BN], dim=1).flatten()
        last_R = _last_of_each(tokens_R, followers.ids_VK.shape[0])
        best_RK = scores.logits_BMV.flatten(0, 1)[last_R].topk(followers.ids_VK.shape[1], dim=-1).indices
        root_B = verdict.tokens_BC.gather(1, verdict.committed_B[:, None] - 1).squeeze(1)
        return RecyclingState(root_B, followers.learn(tokens_R[last_R], best_RK))

    def warmed(self, state: RecyclingState) -> "TokenRecycling":
        """This drafter, starting from what `state` knows."""
        return replace(self, learnt=state.followers)

    def stored(self, state: RecyclingState, room: int) -> dict[str, Tensor]:
        """The rows that are known and fit `room` bytes; low ids first, which are the commonest pieces of a text."""
        ids_VK = state.followers.ids_VK.cpu()
        known_R = (ids_VK[:, 0] != PAD).nonzero().squeeze(1)[: room // (4 + 4 * ids_VK.shape[1])]
        shape = torch.tensor(ids_VK.shape, dtype=torch.int32)
        return {"shape": shape, "tokens": known_R.int(), "followers": ids_VK[known_R].int()}

    def restored(self, tensors: dict[str, Tensor]) -> "TokenRecycling":
        """This drafter, with the rows that were stored. Raises BadInput for tensors that are none."""
        parts = [tensors.get(name) for name in ("shape", "tokens", "followers")]
        shape, tokens_R, followers_RK = (torch.empty(0) if part is None else part.long() for part in parts)
        vocab, top = shape.tolist() if len(shape) == 2 else (0, 0)
        inside = all(len(part) == 0 or (part.min() >= PAD and part.max() < vocab) for part in (tokens_R, followers_RK))
        if not inside or top > self.top or followers_RK.shape != (len(tokens_R), top):
            raise BadInput("these are not stored followers of token-recycling; start with an empty store")
        ids_VK = torch.full((vocab, top), PAD).index_copy(0, tokens_R, followers_RK)
        return replace(self, learnt=Followers(ids_VK))


def _chance(rank: int) -> float:
    """How often the follower of this rank is the next token, roughly.

    Measured with stories260K writing greedily from 24 TinyStories beginnings: 0.50 0.09 0.05 0.02 0.02 0.02 0.02 0.01.
    """
    return 0.5 if rank == 0 else 0.09 / rank


def _last_of_each(tokens_R: Tensor, vocab: int) -> Tensor:
    """Indices of the last occurrence of every token that is not PAD: one write a row, so that no order decides."""
    at_R = torch.arange(len(tokens_R), device=tokens_R.device)
    # PAD is counted in a row of its own, which is then left out.
    last_V = at_R.new_full((vocab + 1,), PAD).scatter_reduce(0, tokens_R.where(tokens_R != PAD, vocab), at_R, "amax")
    return last_V[:vocab][last_V[:vocab] != PAD]  # sync: how many there are

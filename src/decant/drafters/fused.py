"""RASD: a tree that was found in texts, pruned and joined to the tree of another drafter, both in one pass.

The published text leaves open how many branches are kept; the constants here are ours.

Source: Quan et al. 2025, arXiv:2503.03434.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import chain_parents
from decant.protocols import Cached, Drafter, Foresees, Learner, Stored, Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True, eq=False)
class FusedState:
    """What the retriever remembers, and the drafter."""

    found: Any
    drawn: Any


@final
@dataclass(frozen=True, slots=True)
class Fused:
    """What the drafter guesses, and what the retriever found beside it, common beginnings once.

    retriever: one of trees or chains that learns from texts or from scored rows, whatever their order.
    drafter:   one that follows the text by nodes of its own, or by the states of the layers that it taps, which are
        the target's whoever guessed. Not one of trained rows that ride along (PPD): they hang behind its own nodes.
    top:       the drafter's likeliest first tokens; what was found must begin with one of them. 0, and a drafter that
        cannot say (`protocols.Foresees`), prune nothing.
    nodes:     that the retriever may add, at most half of a budget.

    All guesses count as fixed: what was found has no law, so that siblings of both kinds cannot be judged by one.
    Raises BadInput for a negative top or fewer than one node.
    """

    retriever: Drafter[Any]
    drafter: Drafter[Any]
    top: int = 10
    nodes: int = 16

    def __post_init__(self) -> None:
        if self.top < 0 or self.nodes < 1:
            raise BadInput(f"fused needs top >= 0 and nodes >= 1, got top {self.top}, nodes {self.nodes}")

    @property
    def taps(self) -> Taps:
        """What either reads of the target."""
        return self.retriever.taps | self.drafter.taps

    def start(self, prompt_BT: Tensor, prefill: Scores) -> FusedState:
        """Both."""
        return FusedState(self.retriever.start(prompt_BT, prefill), self.drafter.start(prompt_BT, prefill))

    def draft(self, state: FusedState, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """The drafter's nodes as it numbers them, then what the retriever adds."""
        room, left = self.nodes, shape
        if shape.budget is not None:  # a share that depends on no draft: one request's would lean on its neighbours'
            room = min(self.nodes, shape.budget // 2)
            left = replace(shape, budget=shape.budget - room)
        allowed = self._allowed(state, left)  # before it drafts: a model that scored the root need not do so again
        drawn = self.drafter.draft(state.drawn, left, warp, noise, context)
        found = self.retriever.draft(state.found, shape, warp, noise, context)
        own = drawn.tokens_BN.shape[1]
        each = zip(_nodes(drawn.guesses), _nodes(found.guesses), allowed or [None] * len(noise.seed_B), strict=True)
        added = [_beside(mine, theirs, firsts, own, room) for mine, theirs, firsts in each]
        width = max(map(len, added), default=0)
        rows = [[*nodes, *[(PAD, PAD)] * (width - len(nodes))] for nodes in added]
        new_BN2 = torch.tensor(rows, dtype=torch.int64, device=noise.seed_B.device).view(len(added), width, 2)
        parents_BN = chain_parents(drawn.tokens_BN) if drawn.parents_BN is None else drawn.parents_BN
        return Draft(
            torch.cat([drawn.tokens_BN, new_BN2[..., 0]], dim=1),
            torch.cat([parents_BN, new_BN2[..., 1]], dim=1),
            probe_BN=None if drawn.probe_BN is None else pad(drawn.probe_BN, (0, width)),
            own=drawn,
        )

    def observe(self, state: FusedState, draft: Draft, verdict: Verdict, scores: Scores) -> FusedState:
        """The retriever sees all of it. So does a drafter that reads the target's states; any other its own part alone:
        what was accepted beside it, it never scored."""
        found = self.retriever.observe(state.found, draft, verdict, scores)
        if self.drafter.taps.layers:
            return FusedState(found, self.drafter.observe(state.drawn, draft, verdict, scores))
        own = draft.own or draft
        nodes = own.tokens_BN.shape[1]
        return FusedState(
            found,
            self.drafter.observe(
                state.drawn,
                own,
                replace(verdict, nodes_BC=verdict.nodes_BC.where(verdict.nodes_BC < nodes, PAD)),
                replace(scores, logits_BMV=scores.logits_BMV[:, : nodes + 1], hidden_BMD=None),
            ),
        )

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """What the two keep."""
        return sum(part.cache_bytes(tokens) for part in (self.retriever, self.drafter) if isinstance(part, Cached))

    def warmed(self, state: FusedState) -> "Fused":
        """With those of the two that learn as they are now."""
        pairs = ((self.retriever, state.found), (self.drafter, state.drawn))
        retriever, drafter = (part.warmed(known) if isinstance(part, Learner) else part for part, known in pairs)
        return replace(self, retriever=retriever, drafter=drafter)

    def stored(self, state: FusedState, room: int) -> dict[str, Tensor]:
        """What the retriever learnt; nothing of one that keeps nothing."""
        return self.retriever.stored(state.found, room) if isinstance(self.retriever, Stored) else {}

    def restored(self, tensors: dict[str, Tensor]) -> "Fused":
        """With a retriever that knows what was stored. Raises BadInput for tensors that it never stored."""
        found = self.retriever
        return replace(self, retriever=found.restored(tensors)) if isinstance(found, Stored) else self

    def _allowed(self, state: FusedState, shape: DraftShape) -> list[set[int]] | None:
        """First tokens of each request; None: any."""
        if not self.top or not shape.depth or not isinstance(self.drafter, Foresees):
            return None
        logits_BV = self.drafter.foreseen(state.drawn, shape)
        best_BK = logits_BV.topk(min(self.top, logits_BV.shape[-1]), dim=-1).indices
        return [set(row) for row in best_BK.tolist()]  # sync: paths are compared on the host


Nodes = list[tuple[int, int]]
"""(token, parent), parents before children."""


def _nodes(draft: Draft) -> list[Nodes]:
    parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
    each = zip(draft.tokens_BN.tolist(), parents_BN.tolist(), strict=True)  # sync: paths are compared on the host
    return [list(zip(tokens, parents, strict=True)) for tokens, parents in each]


def _beside(mine: Nodes, theirs: Nodes, firsts: set[int] | None, own: int, room: int) -> Nodes:
    """What `theirs` adds behind `own` nodes, at most `room` of it, the first of it first; not what `mine` says too.

    firsts: what may follow the root; None: anything.
    """
    place: dict[tuple[int, int], int] = {}
    for node, (token, parent) in enumerate(mine):
        if token != PAD:
            place.setdefault((parent, token), node)
    added: Nodes = []
    at: list[int | None] = []  # where each of theirs lies in the whole; None: dropped
    for token, parent in theirs:
        above = PAD if parent == PAD else at[parent]
        node = None if above is None else place.get((above, token))
        pruned = token == PAD or above is None or (above == PAD and firsts is not None and token not in firsts)
        if node is None and above is not None and not pruned and len(added) < room:
            node = place[above, token] = own + len(added)
            added.append((token, above))
        at.append(node)
    return added

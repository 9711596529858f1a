"""Drafts that grow out of laws, level by level: the loop that every drafter with a law shares.

A drafter says what follows a row (`evaluate`); a `growth.Growth` says which children a row gets and which nodes are
evaluated next.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.drafting.growth import Children, Growth, Level, Static
from decant.noise import Noise
from decant.numerics import depths
from decant.protocols import Warp
from decant.types import PAD, Draft, DraftShape, Siblings, Verdict

Evaluate = Callable[[Draft], Tensor]
"""The nodes evaluated so far, as a draft of their own -> logits_BMV of its rows."""


def grown(evaluate: Evaluate, shape: DraftShape, warp: Warp, noise: Noise, coupled: bool) -> Draft:
    """A draft of this shape out of the laws that `evaluate` gives.

    coupled: draw with the target's own noise, which makes guesses fixed and the target's draw likely among them (for
        the verifier `coupled`). Otherwise draw from q with noise of its own and hand over the laws.
    """
    if not shape.branches:
        return _chain(evaluate, shape, warp, noise, coupled)
    batch, device = len(noise.seed_B), noise.seed_B.device
    siblings: Siblings = shape.siblings or "without_replacement"
    levels = shape.depth if shape.budget is None else min(shape.depth, shape.budget)
    growth: Growth = Static.of(shape) if shape.growth is None else shape.growth
    growth = growth if shape.budget is None else growth.within(shape.budget, levels)
    state = growth.start(batch, device)
    tree = _Tree.empty(batch, device)
    rows_BL = torch.zeros(batch, 1, dtype=torch.int64, device=device)
    laws: list[tuple[Tensor, Tensor]] = []
    for depth in range(levels):
        if shape.growth is None and depth == len(growth.levels):  # type: ignore[attr-defined]
            break
        logits_BLV = evaluate(tree.evaluated())[:, -rows_BL.shape[1] :].float()
        depth_BL = tree.depth_of(rows_BL) if shape.growth is not None else torch.full((1, 1), depth, device=device)
        level = Level(rows_BL, depth_BL, logits_BLV, warp(logits_BLV).softmax(-1), noise, coupled, siblings)
        if not coupled:
            laws.append((rows_BL, level.law_BLV))
        state, children = growth.grow(state, level)
        next_BE = children.next_BE
        tree = tree.with_children(children)
        if shape.stop_below > 0:
            unsure_BL = level.sure_BLV.amax(-1) < shape.stop_below
            next_BE = tree.but_below(next_BE, rows_BL.where(unsure_BL, PAD - 1))
        # A node that is absent has no children.
        next_BE = next_BE.where(tree.has(next_BE), PAD)
        if not next_BE.shape[1] or depth + 1 == levels:
            break
        if (shape.stop_below > 0 or shape.growth is not None) and (next_BE == PAD).all():  # sync: does anybody go on?
            break
        tree, rows_BL = tree.with_evaluated(next_BE), (next_BE + 1).where(next_BE != PAD, PAD)
    draft = tree.draft()
    if laws and siblings != "fixed":
        draft = replace(draft, laws_BMV=_laid(laws, draft.tokens_BN.shape[1] + 1), siblings=siblings)
    kept_BK = growth.kept(state)
    return draft if kept_BK is None else _thinned(draft, kept_BK)


def _chain(evaluate: Evaluate, shape: DraftShape, warp: Warp, noise: Noise, coupled: bool) -> Draft:
    """One guess after another: `grown` without a tree's bookkeeping, a tenth of a small drafter's time."""
    siblings: Siblings = shape.siblings or "independent"
    tokens_BN = noise.seed_B.new_empty(len(noise.seed_B), 0)
    open_B1 = torch.ones_like(noise.seed_B, dtype=torch.bool)[:, None]
    laws: list[Tensor] = []
    for depth in range(shape.depth if shape.budget is None else min(shape.depth, shape.budget)):
        logits_B1V = evaluate(Draft(tokens_BN))[:, -1:].float()
        rows_B1, depth_11 = torch.where(open_B1, depth, PAD), tokens_BN.new_full((1, 1), depth)
        level = Level(rows_B1, depth_11, logits_B1V, warp(logits_B1V).softmax(-1), noise, coupled, siblings)
        laws.append(level.law_BLV)
        tokens_BN = torch.cat([tokens_BN, level.children(1)[..., 0]], 1)
        if shape.stop_below > 0:
            open_B1 = open_B1 & (level.sure_BLV.amax(-1) >= shape.stop_below)
            if not open_B1.any():  # sync: is anybody still sure?
                break
    if coupled or siblings == "fixed" or not laws:
        return Draft(tokens_BN)
    return Draft(tokens_BN, laws_BMV=torch.cat(laws, 1), siblings=siblings)


def evaluated(draft: Draft, verdict: Verdict) -> Verdict:
    """The verdict in the numbering of the draft that `evaluate` saw last; PAD for nodes that it never saw."""
    if draft.evaluated_BN is None:
        return verdict
    if not draft.tokens_BN.shape[1]:
        return verdict
    at_BC = draft.evaluated_BN.gather(1, verdict.nodes_BC.clamp_min(0))
    return replace(verdict, nodes_BC=at_BC.where(verdict.nodes_BC != PAD, PAD))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    """A growing draft, and the nodes of it that were evaluated, as a draft of their own.

    slot_BN: where a node lies among those, PAD if it was not evaluated.
    """

    tokens_BN: Tensor
    parents_BN: Tensor
    slot_BN: Tensor
    seen_tokens_BE: Tensor
    seen_parents_BE: Tensor

    @classmethod
    def empty(cls, batch: int, device: torch.device) -> "_Tree":
        none_B0 = torch.empty(batch, 0, dtype=torch.int64, device=device)
        return cls(none_B0, none_B0, none_B0, none_B0, none_B0)

    def with_children(self, new: Children) -> "_Tree":
        return replace(
            self,
            tokens_BN=torch.cat([self.tokens_BN, new.tokens_BC], 1),
            parents_BN=torch.cat([self.parents_BN, new.parents_BC], 1),
            slot_BN=torch.cat([self.slot_BN, torch.full_like(new.tokens_BC, PAD)], 1),
        )

    def with_evaluated(self, next_BE: Tensor) -> "_Tree":
        """`next_BE` are evaluated from now on."""
        first = self.seen_tokens_BE.shape[1]
        slot_BE = torch.arange(first, first + next_BE.shape[1], device=next_BE.device).expand_as(next_BE)
        # Column 0 of the padded slots takes what belongs to nobody.
        padded_BM = pad(self.slot_BN, (1, 0), value=PAD).scatter(1, next_BE + 1, slot_BE)
        slot_BN = padded_BM[:, 1:]
        real_BE, at_BE = next_BE != PAD, next_BE.clamp_min(0)
        above_BE = self.parents_BN.gather(1, at_BE)
        above_BE = slot_BN.gather(1, above_BE.clamp_min(0)).where(real_BE & (above_BE != PAD), PAD)
        tokens_BE = self.tokens_BN.gather(1, at_BE).where(real_BE, PAD)
        return replace(
            self,
            slot_BN=slot_BN,
            seen_tokens_BE=torch.cat([self.seen_tokens_BE, tokens_BE], 1),
            seen_parents_BE=torch.cat([self.seen_parents_BE, above_BE], 1),
        )

    def evaluated(self) -> Draft:
        return Draft(self.seen_tokens_BE, self.seen_parents_BE)

    def draft(self) -> Draft:
        return Draft(self.tokens_BN, self.parents_BN, evaluated_BN=self.slot_BN)

    def depth_of(self, rows_BL: Tensor) -> Tensor:
        if not self.tokens_BN.shape[1]:
            return torch.zeros_like(rows_BL)
        return depths(self.parents_BN).gather(1, (rows_BL - 1).clamp_min(0)).where(rows_BL > 0, 0)

    def has(self, nodes_BE: Tensor) -> Tensor:
        """Whether each node is there."""
        if not nodes_BE.shape[1]:
            return nodes_BE != PAD
        return (nodes_BE != PAD) & (self.tokens_BN.gather(1, nodes_BE.clamp_min(0)) != PAD)

    def but_below(self, nodes_BE: Tensor, rows_BL: Tensor) -> Tensor:
        """Without the children of the rows given."""
        if not nodes_BE.shape[1]:
            return nodes_BE
        above_BE = self.parents_BN.gather(1, nodes_BE.clamp_min(0)) + 1
        return nodes_BE.masked_fill((above_BE[..., None] == rows_BL[:, None]).any(-1), PAD)


def _laid(laws: list[tuple[Tensor, Tensor]], rows: int) -> Tensor:
    """laws_BMV: each law in its row; rows without children have an empty one."""
    vocab = laws[0][1].shape[-1]
    at_BL, law_BLV = torch.cat([rows_BL for rows_BL, _ in laws], 1), torch.cat([law_BLV for _, law_BLV in laws], 1)
    # What belongs to nobody is written into a last row that is then cut off.
    laid_BMV = law_BLV.new_zeros(len(law_BLV), rows + 1, vocab)
    index_BLV = at_BL.where(at_BL != PAD, rows)[..., None].expand_as(law_BLV)
    return laid_BMV.scatter(1, index_BLV, law_BLV)[:, :rows]


def _thinned(draft: Draft, kept_BK: Tensor) -> Draft:
    """The nodes `kept_BK` of a draft, and the laws of their rows."""
    assert draft.parents_BN is not None
    assert draft.evaluated_BN is not None
    real_BK, at_BK = kept_BK != PAD, kept_BK.clamp_min(0)
    width = draft.tokens_BN.shape[1]
    rank_BK = torch.arange(kept_BK.shape[1], device=kept_BK.device).expand_as(kept_BK)
    place_BM = torch.full_like(kept_BK[:, :1], PAD).repeat(1, width + 1)
    place_BM = place_BM.scatter(1, kept_BK.where(real_BK, width), rank_BK)
    above_BK = draft.parents_BN.gather(1, at_BK)
    laws_BMV = draft.laws_BMV
    if laws_BMV is not None:
        row_BM = pad(at_BK + 1, (1, 0))[..., None].expand(-1, -1, laws_BMV.shape[-1])
        laws_BMV = laws_BMV.gather(1, row_BM).where(pad(real_BK, (1, 0), value=True)[..., None], 0)
    return replace(
        draft,
        tokens_BN=draft.tokens_BN.gather(1, at_BK).where(real_BK, PAD),
        parents_BN=place_BM.gather(1, above_BK.clamp_min(0)).where(real_BK & (above_BK != PAD), PAD),
        laws_BMV=laws_BMV,
        evaluated_BN=draft.evaluated_BN.gather(1, at_BK).where(real_BK, PAD),
    )

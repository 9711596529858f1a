"""Guesses that a target makes while it scores: rows hung behind a draft say what comes further on, for the next draft.

The row at place k behind a node guesses the token k + 2 places behind it (k from 0): the node's own row gives the next
one, which becomes the root, so that place k is about depth k + 1 of the next draft.
Source: Chen et al. 2024, arXiv:2405.18628 (the guesses of the node that a round ended at make the next tree).
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.drafting.growing import Evaluate, grown
from decant.drafting.growth import ascending
from decant.noise import Noise
from decant.numerics import chain_parents, depths
from decant.protocols import Riders, Warp
from decant.types import PAD, Draft, DraftShape, Verdict


@final
@dataclass(frozen=True, slots=True, eq=False)
class Foresight:
    """What was said behind the last accepted node.

    logits_BKV: row k is about the token k + 1 places behind the root. known_B: how many of them are there.
    """

    logits_BKV: Tensor
    known_B: Tensor

    @classmethod
    def none(cls, like_BXV: Tensor, depth: int) -> "Foresight":
        """Nothing yet; like_BXV: as wide as logits are."""
        logits_BKV = like_BXV.new_zeros(len(like_BXV), depth, like_BXV.shape[-1], dtype=torch.float32)
        return cls(logits_BKV, torch.zeros(len(like_BXV), dtype=torch.int64, device=like_BXV.device))

    def guessed(
        self, shape: DraftShape, warp: Warp, noise: Noise, coupled: bool, riders: Riders
    ) -> tuple[Draft, int | None]:
        """A tree no deeper than what is known, all rows of a level of one law; and how many riders its budget leaves
        room for, those of one node at least."""
        most, left = int(self.known_B.max()), shape.budget  # sync: rows of absent nodes cost as much as others
        if left is not None:
            shape = replace(shape, budget=max(0, left - riders.copies * min(shape.depth, riders.depth)))
        if not min(shape.depth, most):
            return Draft.nothing(len(self.known_B), self.known_B.device), left
        # One drawn child is a draw without replacement as well; riders make every draft a tree.
        shape = replace(shape, depth=min(shape.depth, most), siblings=shape.siblings or "without_replacement")
        draft = grown(by_depth(self.logits_BKV), shape, warp, noise, coupled)
        beyond_BN = depths(parents_of(draft)) > self.known_B[:, None]
        draft = replace(draft, tokens_BN=draft.tokens_BN.masked_fill(beyond_BN, PAD))
        return draft, None if left is None else left - draft.tokens_BN.shape[1]

    def chances(self, draft: Draft) -> Tensor:
        """chance_BN: how likely each of its guesses seemed, given its parent; 0 for an absent one."""
        vocab = self.logits_BKV.shape[-1]
        at_BN = (depths(parents_of(draft)) - 1) * vocab + draft.tokens_BN.clamp_min(0)
        chance_BN = self.logits_BKV.softmax(-1).flatten(1).gather(1, at_BN)
        return chance_BN.where(draft.tokens_BN != PAD, 0.0)


def by_depth(logits_BKV: Tensor) -> Evaluate:
    """What follows a row at depth k is row k of these."""

    def evaluate(tree: Draft) -> Tensor:
        depth_BM = pad(depths(parents_of(tree)), (1, 0))
        return logits_BKV.gather(1, depth_BM[..., None].expand(-1, -1, logits_BKV.shape[-1]))

    return evaluate


def ridden(draft: Draft, hung_BMJ: Tensor, riders: Riders, room: int | None) -> Draft:
    """The draft with riders as probes behind it.

    hung_BMJ: the places behind each row that get one, from the first on. room: riders at most; those of later rows are
    left out. Where nothing rides the draft stays as it is.
    """
    if not hung_BMJ.shape[-1]:
        return draft
    nodes, depth = draft.tokens_BN.shape[1], riders.depth
    hung_BMJ = pad(hung_BMJ, (0, depth - hung_BMJ.shape[-1]), value=False)
    slot_BP = ascending(hung_BMJ[:, :, None].expand(-1, -1, riders.copies, -1).flatten(1))[:, :room]
    real_BP, at_BP = slot_BP != PAD, slot_BP.clamp_min(0)
    place_BP = at_BP % depth
    row_BP, copy_BP = at_BP // (depth * riders.copies), at_BP // depth % riders.copies
    before_P = torch.arange(nodes - 1, nodes - 1 + slot_BP.shape[1], device=slot_BP.device)
    parents_BP = torch.where(place_BP == 0, row_BP - 1, before_P).where(real_BP, PAD)
    tokens_BP = (riders.first + copy_BP * depth + place_BP).where(real_BP, PAD)
    laws_BMV = draft.laws_BMV
    if laws_BMV is not None:
        laws_BMV = pad(laws_BMV, (0, 0, 0, slot_BP.shape[1]))
    return Draft(
        torch.cat([draft.tokens_BN, tokens_BP], 1),
        torch.cat([parents_of(draft), parents_BP], 1),
        laws_BMV,
        draft.siblings,
        pad(torch.ones_like(real_BP), (nodes, 0), value=False),
    )


def heard(draft: Draft, verdict: Verdict, logits_BMV: Tensor, riders: Riders) -> Foresight:
    """What the riders behind the last accepted node said; the copies' mean."""
    if draft.probe_BN is None:
        return Foresight.none(logits_BMV, riders.depth)
    assert draft.parents_BN is not None
    above_BM, rider_BM = pad(draft.parents_BN + 1, (1, 0)), pad(draft.probe_BN, (1, 0), value=False)
    node_BN = above_BM[:, 1:]  # the row that each rider hangs behind, past the riders between
    for _ in range(riders.depth - 1):
        node_BN = torch.where(rider_BM.gather(1, node_BN), above_BM.gather(1, node_BN), node_BN)
    accepted_B1 = verdict.accepted_B[:, None]
    end_B1 = pad(verdict.nodes_BC + 1, (1, 0)).gather(1, accepted_B1)
    mine_BN = draft.probe_BN & (draft.tokens_BN != PAD) & (node_BN == end_B1)
    count = riders.copies * riders.depth
    which_BN = (draft.tokens_BN - riders.first).where(mine_BN, count)
    row_N = torch.arange(1, which_BN.shape[1] + 1, device=which_BN.device)
    row_BP = which_BN.new_zeros(len(which_BN), count + 1).scatter(1, which_BN, row_N.expand_as(which_BN))
    row_BP = row_BP[:, :count]  # the last column took what hangs elsewhere; row 0 is nobody's
    said_BPV = logits_BMV.gather(1, row_BP[..., None].expand(-1, -1, logits_BMV.shape[-1])).float()
    there_BEK = row_BP.unflatten(1, (riders.copies, riders.depth)) > 0
    logits_BKV = said_BPV.unflatten(1, (riders.copies, riders.depth)).mean(1)
    known_BK = there_BEK.all(1)
    return Foresight(logits_BKV.where(known_BK[..., None], 0.0), known_BK.sum(-1))


def parents_of(draft: Draft) -> Tensor:
    """parents_BN, of chains as well."""
    return chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN

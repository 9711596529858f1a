"""A smaller language model guesses: a chain, or a tree of the likeliest branches.

Source: Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318; trees: Miao et al. 2023,
arXiv:2305.09781, and Jeon et al. 2024, arXiv:2402.14160 (the k largest of log q + Gumbel are k draws without
replacement).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, final

import torch
from torch import Tensor

from decant.errors import IncompatibleParts
from decant.noise import TARGET, Noise
from decant.protocols import LanguageModel, State, Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class DraftModel(Generic[State]):
    """Draw from `model` level by level, breadth first, under the same warp as the target.

    coupled: draw with the target's own noise, which makes the guesses fixed and the target's draw likely among them
        (for the verifier `coupled`). Otherwise draw from q with noise of its own and hand over the laws (for the
        rejection verifiers): a chain of independent draws, or a tree of draws without replacement.

    `stop_below` is compared with the model's own law, before any warp: under a greedy warp every law is certain.
    """

    model: LanguageModel[State]
    coupled: bool = True

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores, context: object) -> State:
        """The model's own context."""
        return self.model.start(prompt_BT)[0]

    def draft(self, state: State, shape: DraftShape, warp: Warp, noise: Noise) -> Draft:
        """Raises IncompatibleParts for a width above 1 on a model that cannot score trees."""
        if shape.width > 1 and not self.model.trees:
            raise IncompatibleParts(
                f"a draft of width {shape.width} branches, but this {type(self.model).__name__} draft model cannot "
                f"score a tree; take width 1"
            )
        batch = len(noise.seed_B)
        empty_BN = noise.seed_B.new_empty(batch, 0)
        draft = Draft(empty_BN, empty_BN if shape.width > 1 else None)
        open_BL = torch.ones_like(noise.seed_B, dtype=torch.bool)[:, None]  # rows of the level that have children
        laws: list[Tensor] = []
        for depth in range(shape.depth):
            nodes = draft.tokens_BN.shape[1]
            children = open_BL.shape[1] * shape.width
            if shape.budget is not None:
                children = min(children, shape.budget - nodes)
            if children <= 0:
                break
            first = nodes + 1 - open_BL.shape[1]
            logits_BLV = self.model.score(state, draft).logits_BMV[:, first:].float()
            laws.append(warp(logits_BLV).softmax(-1))
            tokens_BLW = self._children(logits_BLV, laws[-1], depth, shape.width, noise)
            tokens_BLW = tokens_BLW.where(open_BL[..., None], PAD)
            draft = _grow(draft, tokens_BLW, first - 1, children)
            if shape.stop_below > 0:
                open_BL = open_BL & (logits_BLV.softmax(-1).amax(-1) >= shape.stop_below)
            open_BL = ((tokens_BLW != PAD) & open_BL[..., None]).flatten(1)[:, :children]
            if shape.stop_below > 0 and not open_BL.any():  # sync: is anybody still sure?
                break
        return self._label(draft, laws, shape.width)

    def observe(self, state: State, draft: Draft, verdict: Verdict, scores: Scores) -> State:
        """The model keeps the accepted path; the last level, which it never scored, stays pending."""
        return self.model.commit(state, verdict)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The model's own."""
        return self.model.cache_bytes(tokens)

    def _children(self, logits_BLV: Tensor, law_BLV: Tensor, depth: int, width: int, noise: Noise) -> Tensor:
        """tokens_BLW: the `width` best of each row's race, in the order in which they were drawn; PAD where q ends."""
        width = min(width, law_BLV.shape[-1])
        depth_11 = torch.full((1, 1), depth, device=law_BLV.device)
        # Rows of one depth share their numbers: a verifier walks one path and meets one of them.
        race_BLV = noise.gumbel(law_BLV, depth_11, TARGET if self.coupled else "draft")
        best_BLW, tokens_BLW = race_BLV.topk(width, dim=-1)
        real_BLW = best_BLW > -torch.inf
        if not self.coupled or width == 1:
            return tokens_BLW.where(real_BLW, PAD)
        # Fixed guesses need no law: where the warp leaves fewer than `width`, the likeliest of the rest fill up.
        spare_BLW = logits_BLV.masked_fill(race_BLV > -torch.inf, -torch.inf).topk(width, dim=-1).indices
        return torch.where(real_BLW, tokens_BLW, spare_BLW.gather(-1, _rank_among(~real_BLW)))

    def _label(self, draft: Draft, laws: list[Tensor], width: int) -> Draft:
        """The draft with what a verifier has to know about its chances; rows without children have an empty law."""
        if self.coupled or not laws:
            return draft
        laws_BMV = torch.cat(laws, dim=1)
        rest = draft.tokens_BN.shape[1] - laws_BMV.shape[1]
        none_BMV = laws_BMV[:, :1].new_zeros(()).expand(len(laws_BMV), rest, laws_BMV.shape[-1])
        siblings = "independent" if width == 1 else "without_replacement"
        return Draft(draft.tokens_BN, draft.parents_BN, torch.cat([laws_BMV, none_BMV], dim=1), siblings)


def _grow(draft: Draft, tokens_BLW: Tensor, first: int, children: int) -> Draft:
    """One more level: the children of node `first` and of those behind it, cut breadth first, which no draw moves."""
    tokens_BN = torch.cat([draft.tokens_BN, tokens_BLW.flatten(1)[:, :children]], dim=1)
    if draft.parents_BN is None:
        return Draft(tokens_BN)
    above_C = first + torch.arange(children, device=tokens_BN.device) // tokens_BLW.shape[2]
    return Draft(tokens_BN, torch.cat([draft.parents_BN, above_C.expand(len(tokens_BN), -1)], dim=1))


def _rank_among(these_XW: Tensor) -> Tensor:
    """How many of `these` come before each slot."""
    return (these_XW.long().cumsum(-1) - 1).clamp_min(0)

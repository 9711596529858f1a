"""A smaller model with another tokenizer guesses, and two of its tokens may merge into one of the target's.

Beside what both vocabularies share, the draft says a target token that it writes with two tokens of its own: n-gram
merging, restricted to pairs. Reconstructed from a summary of the paper and checked by enumeration on a toy: the two
conditions on the law are ours. The paper learns its cache of n-grams while it decodes; here every pair is known from
the start, so that a request does not depend on its neighbours. Its online training and its stop head are left out.

Source: Ramakrishnan et al. 2025, arXiv:2507.02659 (OmniDraft).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput, IncompatibleParts
from decant.noise import TARGET, Noise
from decant.protocols import LanguageModel, State, Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict
from decant.vocab.bridge import Bridge

WORTH: Final = 0.01  # probability that makes it worth a row to read a starter; it looks at the law, never at a draw


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Growing:
    """What the draft model has read beyond its context: a tree in its own ids, and where each request stands in it.

    row_B:     the row that the next token follows.
    barred_BU: what may not follow it: a pair that was not merged has no second half.
    """

    tokens_BN: Tensor
    parents_BN: Tensor
    row_B: Tensor
    barred_BU: Tensor

    def read(self, ids_BK: Tensor, row_B: Tensor) -> "_Growing":
        """With more nodes below the rows given; PAD is nobody's."""
        above_BK = (row_B - 1)[:, None].expand_as(ids_BK)
        tokens_BN = torch.cat([self.tokens_BN, ids_BK], 1)
        return replace(self, tokens_BN=tokens_BN, parents_BN=torch.cat([self.parents_BN, above_BK], 1))

    def tree(self) -> Draft:
        return Draft(self.tokens_BN, self.parents_BN)


@final
@dataclass(frozen=True, slots=True)
class OmniDraft(Generic[State]):
    """A chain over target ids, drawn from the law that the draft model's own text has after greedy merging.

    foreign:  the draft model, in ids of its own.
    bridge:   between the target's vocabulary and the draft's.
    coupled:  draw with the target's own noise, which makes the guesses fixed; otherwise hand over the laws.
    starters: how many of the likeliest tokens that begin a pair may merge at each place. The model reads them all, as
        branches, before anything is drawn: so the law is complete, and a rejection verifier exact.

    Up to two forwards of the draft a guess: its branches, and the token taken if it was none of them. Raises BadInput
    for starters below 1.
    """

    foreign: LanguageModel[State]
    bridge: Bridge
    coupled: bool = True
    starters: int = 4

    def __post_init__(self) -> None:
        if self.starters < 1:
            raise BadInput(f"omnidraft needs starters >= 1, got {self.starters}; shared-vocabulary merges nothing")

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> State:
        """The model's own context, over the prompt's text in its own ids."""
        return self.foreign.start(self.bridge.prompt(prompt_BT))[0]

    def draft(self, state: State, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """A chain, whatever width is asked for. Raises IncompatibleParts for a model that cannot score trees."""
        if not self.foreign.trees:
            raise IncompatibleParts(
                f"omnidraft reads branches, but this {type(self.foreign).__name__} draft model cannot score a tree; "
                f"take shared-vocabulary, which drafts chains"
            )
        batch, device = len(noise.seed_B), noise.seed_B.device
        none_B0 = noise.seed_B.new_empty(batch, 0)
        barred_BU = torch.zeros(batch, len(self.bridge.tokens.target_U), dtype=torch.bool, device=device)
        growing = _Growing(none_B0, none_B0, torch.zeros_like(noise.seed_B), barred_BU)
        open_B = torch.ones_like(noise.seed_B, dtype=torch.bool)
        tokens, laws = [none_B0], []
        deepest = shape.depth if shape.budget is None else min(shape.depth, shape.budget)
        for depth in range(deepest):
            growing, starters_BK, merged_BV = self._law(state, growing)
            # A law without any weight ends the draft: what the model wants to say is no token of the target's.
            open_B = open_B & (merged_BV.sum(-1) > 0)
            logits_BV = merged_BV.log().where(open_B[:, None], 0.0)
            law_BV = warp(logits_BV).softmax(-1)
            depth_B = torch.full_like(growing.row_B, depth)
            token_B = noise.draw(law_BV, depth_B, TARGET if self.coupled else "draft").where(open_B, PAD)
            tokens.append(token_B[:, None])
            laws.append(law_BV.where(open_B[:, None], 0.0)[:, None])
            if shape.stop_below > 0:
                open_B = open_B & (logits_BV.softmax(-1).amax(-1) >= shape.stop_below)
            if depth + 1 == deepest or not open_B.any():  # sync: does anybody go on?
                break
            growing = self._follow(growing, starters_BK, token_B.where(open_B, PAD))
        tokens_BN = torch.cat(tokens, 1)
        if self.coupled or not laws:
            return Draft(tokens_BN)
        return Draft(tokens_BN, laws_BMV=torch.cat(laws, 1), siblings="independent")

    def observe(self, state: State, draft: Draft, verdict: Verdict, scores: Scores) -> State:
        """The model reads what was committed, in its own spelling; its branches are forgotten."""
        unread = replace(verdict, nodes_BC=torch.full_like(verdict.nodes_BC, PAD))
        return self.foreign.commit(state, self.bridge.verdict(unread))

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The model's own, for texts that stretch as the whole vocabulary does: more than most do."""
        return self.foreign.cache_bytes([round(count * self.bridge.stretch) for count in tokens])

    def _law(self, state: State, growing: _Growing) -> tuple[_Growing, Tensor, Tensor]:
        """The starters that were read, and the unscaled law over target ids of what comes next.

        A pair has q(first) q(second | first); its first alone has what is left of q(first).
        """
        pairs, tokens = self.bridge.pairs, self.bridge.tokens
        logits_BMU = self.foreign.score(state, growing.tree()).logits_BMV.float()
        law_BU = _row(logits_BMU, growing.row_B).softmax(-1).where(~growing.barred_BU, 0.0)
        likely_BK, starters_BK = (law_BU * pairs.starts_U).topk(min(self.starters, law_BU.shape[-1]), -1)
        starters_BK = starters_BK.where(likely_BK >= WORTH, PAD)
        if not (starters_BK != PAD).any():  # sync: is there anything to merge?
            return growing, starters_BK, tokens.lift(law_BU, 0.0)
        first = growing.tokens_BN.shape[1] + 1
        growing = growing.read(starters_BK, growing.row_B)
        next_BKU = self.foreign.score(state, growing.tree()).logits_BMV[:, first:].float().softmax(-1)
        mine_BKP = starters_BK[..., None] == pairs.first_P
        second_BKP = next_BKU[..., pairs.second_P].where(mine_BKP, 0.0)
        pairs_BP = law_BU[:, pairs.first_P] * second_BKP.sum(1)
        alone_BK = (1 - second_BKP.sum(-1)).clamp_min(0).where(starters_BK != PAD, 1.0)
        alone_BU = torch.ones_like(law_BU).scatter_reduce(1, starters_BK.clamp_min(0), alone_BK, "prod")
        law_BV = tokens.lift(law_BU * alone_BU, 0.0).index_add(1, pairs.merged_P, pairs_BP)
        return growing, starters_BK, law_BV

    def _follow(self, growing: _Growing, starters_BK: Tensor, token_B: Tensor) -> _Growing:
        """Behind the tokens drawn: on a branch if one of them says so, else on a new node."""
        pairs = self.bridge.pairs
        pair_B = pairs.index_V[token_B.clamp_min(0)].where(token_B != PAD, PAD)
        merged_B = pair_B != PAD
        # One more pair behind the others, which is none: there may be no pairs at all.
        first_B, second_B = (pad(half_P, (0, 1), value=PAD)[pair_B] for half_P in (pairs.first_P, pairs.second_P))
        first_B = first_B.where(merged_B, self.bridge.tokens.to_draft(token_B))
        same_BK = (starters_BK == first_B[:, None]) & (first_B != PAD)[:, None]
        read_B = same_BK.any(-1)
        branch_B = growing.tokens_BN.shape[1] - starters_BK.shape[1] + same_BK.long().argmax(-1) + 1
        # A pair's first half was read, since the law knows no other pairs; its second half never was.
        new_B = torch.where(merged_B, second_B, first_B.where(~read_B, PAD))
        above_B = branch_B.where(merged_B, growing.row_B)
        alone_B1 = (read_B & ~merged_B)[:, None]
        barred_BP = (pairs.first_P == first_B[:, None]) & alone_B1
        barred_BU = torch.zeros_like(growing.barred_BU, dtype=torch.int64)
        barred_BU = barred_BU.index_add(1, pairs.second_P, barred_BP.long()) > 0
        if (new_B != PAD).any():  # sync: most tokens were read as branches
            growing = growing.read(new_B[:, None], above_B)
        row_B = torch.where(new_B != PAD, growing.tokens_BN.shape[1], branch_B.where(read_B, 0))
        return replace(growing, row_B=row_B, barred_BU=barred_BU)


def _row(rows_BMX: Tensor, row_B: Tensor) -> Tensor:
    """One row of each request."""
    return rows_BMX[torch.arange(len(row_B), device=row_B.device), row_B]

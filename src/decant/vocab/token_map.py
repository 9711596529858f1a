"""Which tokens two vocabularies share: equal bytes, or a control of the same name or role."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.types import PAD
from decant.vocab.vocabulary import Vocabulary, control_map


@final
@dataclass(frozen=True, slots=True, eq=False)
class TokenMap:
    """One to one between some draft ids and some target ids.

    target_U: over draft ids, the target id that writes the same, PAD where there is none; U is the draft's vocabulary.
    draft_V:  the other way, over target ids.
    """

    target_U: Tensor
    draft_V: Tensor

    @classmethod
    def of(cls, target: Vocabulary, draft: Vocabulary, sizes: tuple[int, int]) -> "TokenMap":
        """sizes: how many logits a row of the target, and one of the draft, has; ids behind them are left out.

        Bytes that two ids of one vocabulary write are left out: nobody could tell which one is meant.
        """
        pairs = {target.unique[piece]: token for piece, token in draft.unique.items() if piece in target.unique}
        pairs |= control_map(target, draft)
        pairs = {mine: its for mine, its in pairs.items() if mine < sizes[0] and its < sizes[1]}
        draft_V = torch.full((sizes[0],), PAD, dtype=torch.int64)
        target_U = torch.full((sizes[1],), PAD, dtype=torch.int64)
        if pairs:
            mine, its = torch.tensor(list(pairs.items())).T
            draft_V[mine], target_U[its] = its, mine
        return cls(target_U, draft_V)

    @property
    def size(self) -> int:
        """How many tokens are shared."""
        return int((self.draft_V != PAD).sum())

    def to(self, device: torch.device) -> "TokenMap":
        """On a device."""
        return TokenMap(self.target_U.to(device), self.draft_V.to(device))

    def to_draft(self, tokens_X: Tensor) -> Tensor:
        """Draft ids of target ids, PAD where there is none."""
        return self.draft_V[tokens_X.clamp_min(0)].where(tokens_X != PAD, PAD)

    def lift(self, values_XU: Tensor, otherwise: float) -> Tensor:
        """values_XV: what each target id has as a draft id; `otherwise` where it is not shared."""
        return values_XU[..., self.draft_V.clamp_min(0)].where(self.draft_V != PAD, otherwise)

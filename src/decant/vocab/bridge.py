"""How a draft model follows a text in the ids of another tokenizer.

Beside the letters of `types.py`: U is the draft's vocabulary, P the pairs of draft tokens that one target token equals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.errors import IncompatibleParts
from decant.types import PAD, Verdict
from decant.vocab.crossing import translate
from decant.vocab.token_map import TokenMap
from decant.vocab.vocabulary import Vocabulary


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Target tokens that the draft writes with exactly two of its own.

    merged_P: their target ids, each once. first_P, second_P: the draft ids.
    index_V:  over target ids, which pair each is; PAD for none.
    starts_U: over draft ids, whether a pair begins with it.
    """

    merged_P: Tensor
    first_P: Tensor
    second_P: Tensor
    index_V: Tensor
    starts_U: Tensor

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int, int]], sizes: tuple[int, int]) -> "Pairs":
        """pairs: (merged, first, second) each; sizes: of the target's and of the draft's vocabulary."""
        merged_P, first_P, second_P = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 3).T.contiguous()
        index_V = torch.full((sizes[0],), PAD).scatter(0, merged_P, torch.arange(len(merged_P)))
        starts_U = torch.zeros(sizes[1], dtype=torch.bool).scatter(0, first_P, True)
        return cls(merged_P, first_P, second_P, index_V, starts_U)

    def to(self, device: torch.device) -> "Pairs":
        """On a device."""
        return Pairs(*(getattr(self, name).to(device) for name in self.__slots__))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bridge:
    """Between a target's vocabulary and a draft's.

    tokens: what both share.
    spelt:  over target ids, the draft ids that write the same; nothing for a control that the draft lacks.
    pairs:  what is spelt with two.

    A committed token is spelt by itself, so the draft may read a spelling that its tokenizer would not have chosen for
    the whole text (a word in two halves, because the target writes it so). A cache of keys and values cannot take back
    what is committed; guesses get worse by that, the output does not.
    """

    target: Vocabulary
    draft: Vocabulary
    tokens: TokenMap
    spelt: tuple[tuple[int, ...], ...]
    pairs: Pairs

    @classmethod
    def between(
        cls, target: Vocabulary, draft: Vocabulary, sizes: tuple[int, int], device: torch.device | str = "cpu"
    ) -> "Bridge":
        """sizes: how many logits a row of the target, and one of the draft, has.

        Raises IncompatibleParts for vocabularies that share no token. Spells the whole target vocabulary once.
        """
        tokens = TokenMap.of(target, draft, sizes)
        if not tokens.size:
            raise IncompatibleParts(
                f"no token of the draft's {len(draft.pieces)} equals one of the target's {len(target.pieces)}, so it "
                f"cannot guess for it; take another draft, or prompt-lookup, which needs none"
            )
        direct = tokens.draft_V.tolist()
        pieces = [*target.pieces, *[None] * len(direct)][: len(direct)]
        spellings = draft.spell([piece or b"" for piece in pieces])
        spelt = [
            (same,) if same != PAD else tuple(token for token in ids if token < sizes[1])
            for same, ids in zip(direct, spellings, strict=True)
        ]
        pairs = [
            (token, *ids)
            for token, (ids, piece) in enumerate(zip(spelt, pieces, strict=True))
            if len(ids) == 2 and piece and target.unique.get(piece) == token and draft.bytes_of(ids) == piece
        ]
        place = torch.device(device)
        return cls(target, draft, tokens.to(place), tuple(spelt), Pairs.of(pairs, sizes).to(place))

    @property
    def stretch(self) -> float:
        """Draft ids that a target token makes, over the whole vocabulary: more than most texts need."""
        return max(1.0, sum(map(len, self.spelt)) / max(1, len(self.spelt)))

    def prompt(self, prompt_BT: Tensor) -> Tensor:
        """Prompts encoded again in draft ids, right-padded."""
        rows = [[token for token in row if token != PAD] for row in prompt_BT.tolist()]  # sync: once a request
        return _padded([translate(row, self.target, self.draft) for row in rows], prompt_BT.device)

    def verdict(self, verdict: Verdict) -> Verdict:
        """The verdict in draft ids. A node stays one as long as every token up to it is one and the same in both."""
        tokens, nodes = [], []
        paths = zip(verdict.tokens_BC.tolist(), verdict.nodes_BC.tolist(), strict=True)  # sync: spellings are ragged
        shared = self.tokens.to_draft(verdict.tokens_BC).tolist()
        for (row, path), same in zip(paths, shared, strict=True):
            ids: list[int] = []
            kept: list[int] = []
            for token, node, direct in zip(row, path, same, strict=True):
                spelling = () if token == PAD else self.spelt[token]
                stays = direct != PAD and PAD not in kept
                ids += spelling
                kept += [node if stays else PAD] * len(spelling)
            tokens.append(ids)
            nodes.append(kept)
        device = verdict.tokens_BC.device
        return Verdict(_padded(tokens, device), _padded(nodes, device))


def _padded(rows: list[list[int]], device: torch.device) -> Tensor:
    width = max(map(len, rows), default=0)
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows], dtype=torch.int64, device=device).view(
        len(rows), width
    )

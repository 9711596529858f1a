"""Canvases that can still become a text of a context-free language, for tokens that write any bytes.

What is settled is read exactly. An open place counts as any one token that stays inside one lexeme and the white space
behind it, or as the end where all behind it is open too; so what fits can be finished in the places that are left, and
there are no dead ends. It is no more than that: what could only be finished with a token across two lexemes in an open
place does not fit, as long as that token is not settled.
Source: Muendler et al. 2025, arXiv:2508.10111 (where a gap is any number of lexemes, and may be a dead end).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from decant.errors import BadInput
from decant.grammars.endings import behind_an_end
from decant.grammars.kinds import END, NEVER, Kinds, Open
from decant.grammars.language import Language
from decant.grammars.product import Cell, Product
from decant.types import PAD
from decant.vocab.vocabulary import Vocabulary


@final
@dataclass(frozen=True, slots=True, eq=False)
class Gaps:
    """`diffusion.Permits`. The text ends at the first end token, behind which nothing else may stand.

    mask: the id of an open place. ends: ids that end a text.
    """

    language: Language
    kinds: Kinds
    mask: int
    ends: frozenset[int]
    product: Product = field(repr=False)
    anything: Open = field(repr=False)
    kind_of: Sequence[int] = field(repr=False)

    @classmethod
    def of(cls, language: Language, vocabulary: Vocabulary, vocab: int, mask: int, ends: frozenset[int]) -> "Gaps":
        """vocab: how many logits a place has."""
        kinds = Kinds.of(language.lexer, vocabulary.pieces, vocab, ends | {mask})
        kinds.kind_V[mask] = NEVER
        anything = Open.of(language, kinds.texts[END + 1 :])
        return cls(language, kinds, mask, ends, Product(language, bool(ends)), anything, kinds.kind_V.tolist())

    @property
    def kind_V(self) -> Tensor:
        """Tokens of one kind fit at the same places."""
        return self.kinds.kind_V

    def fits(self, canvas_L: Sequence[int]) -> bool:
        """Whether it can become a text."""
        cells = self._cells(canvas_L)
        return cells is not None and self.product.holds(cells)

    def implied(self, canvas_L: Sequence[int]) -> Mapping[int, int]:
        """Open places behind an end -> that end."""
        return behind_an_end(canvas_L, self.ends, self.mask)

    def rescue(self, canvas_L: Sequence[int], place: int) -> int:
        """An id with which this open place of a canvas that fits still fits: an end if one may stand there.

        Raises BadInput where the canvas does not fit.
        """
        before, behind = list(canvas_L[:place]), list(canvas_L[place + 1 :])
        ends = sorted(self.ends)
        if ends and self.fits([*before, ends[0], *behind]):
            return ends[0]
        kinds = list(range(END + 1, len(self.kinds.texts)))
        if any(token in self.ends for token in before) or not self._holds(before, kinds, behind):
            raise BadInput(f"no token at place {place} leads to a text of the grammar; open more places")
        while len(kinds) > 1:
            half = kinds[: len(kinds) // 2]
            kinds = half if self._holds(before, half, behind) else kinds[len(half) :]
        return self.kind_of.index(kinds[0])

    def _holds(self, before: Sequence[int], kinds: Sequence[int], behind: Sequence[int]) -> bool:
        """Whether it fits with a token of one of these kinds between."""
        left, right = self._cells(before), self._cells(behind)
        some = Open.of(self.language, [self.kinds.texts[kind] for kind in kinds])
        return left is not None and right is not None and self.product.holds([*left, some, *right])

    def _cells(self, canvas_L: Sequence[int]) -> list[Cell] | None:
        """Up to the first end; None where a place holds what no text holds."""
        cells: list[Cell] = []
        ended = False
        for token in canvas_L:
            if token == PAD:
                continue
            kind = self.kind_of[token]
            if kind == END:
                ended = True
            elif token == self.mask:
                cells += [] if ended else [self.anything]
            elif ended or kind == NEVER:
                return None
            else:
                cells += self.kinds.texts[kind]
        return cells

"""Canvases that can still become a text of a context-free language, where every token is one terminal: exact.

Cocke, Younger and Kasami's table with wildcards: an open place is every terminal. A canvas fits if and only if some
text does, so there are no dead ends, and nothing that could be finished is refused.
Source: Younger 1967, "Recognition and parsing of context-free languages in time n^3" (the table); the open places are
decant's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.grammars.endings import behind_an_end, ended
from decant.grammars.grammar import Grammar
from decant.types import PAD


@final
@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """`diffusion.Permits`. terminal_of: of each id, its terminal; ids that are missing stand in no text.

    mask: the id of an open place. ends: ids that end a text.
    """

    grammar: Grammar
    terminal_of: Mapping[int, int]
    vocab: int
    mask: int
    ends: frozenset[int]

    @property
    def kind_V(self) -> Tensor:
        """Tokens of one kind fit at the same places."""
        last = len(self.grammar.terminals)
        kinds = [last if one in self.ends else self.terminal_of.get(one, last + 1) for one in range(self.vocab)]
        return torch.tensor(kinds)

    def fits(self, canvas_L: Sequence[int]) -> bool:
        """Whether it can become a text."""
        ids = [token for token in canvas_L if token != PAD]
        last = ended(ids, self.ends)
        if any(token != self.mask and token not in self.ends for token in ids[last:]):
            return False
        ids = ids[:last]
        settled = max((place + 1 for place, token in enumerate(ids) if token != self.mask), default=0)
        lengths = range(settled, last + 1) if self.ends else [last]
        derived = self._table(ids)
        return any(self.grammar.start in derived[0][end] if end else self.grammar.empty for end in lengths)

    def implied(self, canvas_L: Sequence[int]) -> Mapping[int, int]:
        """Open places behind an end -> that end."""
        return behind_an_end(canvas_L, self.ends, self.mask)

    def rescue(self, canvas_L: Sequence[int], place: int) -> int:
        """An id with which this open place of a canvas that fits still fits. Raises BadInput where it does not fit."""
        for token in [*sorted(self.ends), *self.terminal_of]:
            if self.fits([*canvas_L[:place], token, *canvas_L[place + 1 :]]):
                return token
        raise BadInput(f"no token at place {place} leads to a text of the grammar; open more places")

    def _table(self, ids: Sequence[int]) -> list[list[set[int]]]:
        """Symbols that derive the ids from one place up to another."""
        grammar, count = self.grammar, len(ids)
        derived: list[list[set[int]]] = [[set() for _ in range(count + 1)] for _ in range(count + 1)]
        for begin in reversed(range(count)):
            tokens = self.terminal_of if ids[begin] == self.mask else {ids[begin]} & self.terminal_of.keys()
            for token in tokens:
                derived[begin][begin + 1] |= set(grammar.above[self.terminal_of[token]])
            for end in range(begin + 2, count + 1):
                for middle in range(begin + 1, end):
                    for left in derived[begin][middle]:
                        for right, highs in grammar.pairs[left]:
                            if right in derived[middle][end]:
                                derived[begin][end] |= set(highs)
        return derived

"""A grammar with its lexer, and which bytes may not follow a lexeme."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

from decant.grammars.grammar import Grammar
from decant.grammars.lexer import DEAD, Lexer


@final
@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """stops: sets of bytes that go on with a lexeme, so that none of them begins the next one; the first is empty.
    closing: of each state in which a lexeme may end, which of these sets applies then."""

    grammar: Grammar
    lexer: Lexer
    stops: tuple[int, ...]
    closing: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> "Language":
        """Of a grammar in text. Raises BadInput."""
        return _language(text)


@lru_cache(maxsize=8)
def _language(text: str) -> Language:
    grammar = Grammar.of(text)
    lexer = Lexer.of(grammar.terminals, grammar.skip)
    first = [lexer.first_bytes(terminal) for terminal in range(len(grammar.terminals))]
    follow = grammar.neighbours()
    stops, closing = [0], list[int]()
    for state, label in enumerate(lexer.label):
        # Bytes that begin no possible neighbour need no watch: fewer sets are fewer nodes of the product.
        near = 0
        for terminal in follow[label] if label != DEAD else ():
            near |= first[terminal]
        stop = lexer.going_on(state) & near
        if stop not in stops:
            stops.append(stop)
        closing.append(stops.index(stop))
    return Language(grammar, lexer, tuple(stops), tuple(closing))

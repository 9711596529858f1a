"""Whether a text with open places can become a text of a language: the product of both, never written down.

A place is a byte, or open. `Tail` is what stands from a place to the end; equal tails are one object, so that whatever
was found out about one holds in every later step, at every request. Of a tail is known which lexemes may begin it and
which symbols of the grammar derive what lies between its begin and each later place: a bit a place.
Source: Bar-Hillel, Perles & Shamir 1961, "On formal properties of simple phrase structure grammars"; Muendler et al.
2025, arXiv:2508.10111 (text with gaps).
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import compress
from operator import or_
from typing import final

from decant.grammars.kinds import Open
from decant.grammars.language import Language
from decant.grammars.lexer import DEAD

Cell = int | Open
KEPT = 20_000
"""Tails that are remembered: about 2 KB each."""


@final
class Tail:
    """cell: its first place; behind: the rest. count: of its places. closes: nodes at which the text may end.

    lexemes, rows: of each stop, once they are known: terminal -> nodes, and of each symbol the nodes.
    """

    __slots__ = ("behind", "cell", "closes", "count", "lexemes", "longer", "rows")

    def __init__(self, cell: Cell, behind: "Tail | None", closes: int, stops: int) -> None:
        self.cell, self.behind, self.closes = cell, behind, closes
        self.count: int = 0 if behind is None else behind.count + 1
        self.longer: dict[Cell, Tail] = {}
        self.lexemes: list[list[tuple[int, int]] | None] = [None] * stops
        self.rows: list[list[int] | None] = [None] * stops


@final
class Product:
    """shorter: whether open places at the end may be left out of the text."""

    def __init__(self, language: Language, shorter: bool) -> None:
        self.language, self.shorter = language, shorter
        self.stops = len(language.stops)
        self._moved: dict[tuple[int, Cell], int] = {}
        self._ending: dict[int, list[tuple[int, int]]] = {}
        self._forget()

    def holds(self, cells: Sequence[Cell]) -> bool:
        """Whether some text fits."""
        tails = self._tails(cells)
        whole, grammar = tails[-1], self.language.grammar
        first = whole.count * self.stops
        if grammar.empty and whole.closes >> first & 1:
            return True
        self._derive(tails, self._reached(tails, first))
        rows = whole.rows[0]
        return rows is not None and bool(rows[grammar.start] & whole.closes)

    def _tails(self, cells: Sequence[Cell]) -> list[Tail]:
        """By their count."""
        if self._kept > KEPT:
            self._forget()
        tails, stops = [self._end], self.stops
        everywhere = (1 << stops) - 1
        for cell in reversed(cells):
            behind = tails[-1]
            tail = behind.longer.get(cell)
            if tail is None:
                tail = Tail(cell, behind, behind.closes, stops)
                begins = everywhere << tail.count * stops
                # Open to the end: the text may end here as well.
                if self.shorter and isinstance(cell, Open) and behind.closes >> behind.count * stops & 1:
                    tail.closes |= begins
                behind.longer[cell] = tail
                self._kept += 1
            tails.append(tail)
        return tails

    def _reached(self, tails: Sequence[Tail], first: int) -> list[int]:
        """Nodes without rows at which a lexeme may begin, from the left."""
        nodes, pending = list[int](), 1 << first
        while pending:
            node = pending.bit_length() - 1
            pending ^= 1 << node
            count, stop = divmod(node, self.stops)
            tail = tails[count]
            if tail.rows[stop] is not None:
                continue
            nodes.append(node)
            lexemes = self._lexemes(tail, stop)
            tail.lexemes[stop] = lexemes
            for _, ends in lexemes:
                pending |= ends
        return nodes

    def _lexemes(self, tail: Tail, stop: int) -> list[tuple[int, int]]:
        """Terminals whose lexemes may begin here, with the nodes behind them."""
        # Most places of a long gap are behind the same states: terminals are looked up once for all of them.
        places: dict[int, int] = {}
        at = tail.behind
        states = 0 if at is None else self._begun(tail.cell, stop)
        while states and at is not None:
            places[states] = places.get(states, 0) | 1 << at.count * self.stops
            states = self._after(states, at.cell) if at.behind is not None else 0
            at = at.behind
        found: dict[int, int] = {}
        for states, nodes in places.items():
            for label, closing in self._endings(states):
                found[label] = found.get(label, 0) | nodes << closing
        return list(found.items())

    def _begun(self, cell: Cell, stop: int) -> int:
        """States behind the first place of a lexeme."""
        if isinstance(cell, Open):
            return cell.first[stop]
        to = self.language.lexer.moves[0][cell]
        return 0 if to == DEAD or self.language.stops[stop] >> cell & 1 else 1 << to

    def _after(self, states: int, cell: Cell) -> int:
        """States behind a further place."""
        after = self._moved.get((states, cell))
        if after is None:
            after = 0
            for state in bits(states):
                if isinstance(cell, Open):
                    after |= cell.inside[state]
                elif (to := self.language.lexer.moves[state][cell]) != DEAD:
                    after |= 1 << to
            self._moved[states, cell] = after
        return after

    def _endings(self, states: int) -> list[tuple[int, int]]:
        """Terminals whose lexemes may end in these states, each with what may not follow."""
        found = self._ending.get(states)
        if found is None:
            label, closing = self.language.lexer.label, self.language.closing
            found = sorted({(label[state], closing[state]) for state in bits(states) if label[state] != DEAD})
            self._ending[states] = found
        return found

    def _derive(self, tails: Sequence[Tail], nodes: Sequence[int]) -> None:
        """Rows of these nodes, given from the left; every node that is reached from them has its row already."""
        columns: dict[int, list[int]] = {right: [] for row in self.language.grammar.pairs for right, _ in row}
        wanted, zeros = set(nodes), [0] * len(self.language.grammar.above)
        for tail in tails:
            for stop, known in enumerate(tail.rows):
                if tail.count * self.stops + stop in wanted:
                    known = tail.rows[stop] = self._row(columns, tail.lexemes[stop] or ())
                for right, column in columns.items():
                    column.append((known or zeros)[right])

    def _row(self, columns: dict[int, list[int]], lexemes: Sequence[tuple[int, int]]) -> list[int]:
        """Of each symbol, the nodes up to which it derives from the one where these lexemes begin.

        columns: of each symbol that stands right in a rule, its entry in the rows of all later nodes.
        """
        grammar = self.language.grammar
        row, pending = [0] * len(grammar.above), dict[int, int]()
        for terminal, ends in lexemes:
            for high in grammar.above[terminal]:
                row[high] |= ends
                pending[high] = row[high]
        while pending:
            left, ends = pending.popitem()
            pairs = grammar.pairs[left]
            chosen = _chosen(ends) if pairs else b""
            for right, highs in pairs:
                reached = reduce(or_, compress(columns[right], chosen), 0)
                for high in highs:
                    if fresh := reached & ~row[high]:
                        row[high] |= fresh
                        pending[high] = pending.get(high, 0) | fresh
        return row

    def _forget(self) -> None:
        self._end, self._kept = Tail(0, None, (1 << self.stops) - 1, self.stops), 0


DIGITS = bytes.maketrans(b"01", b"\0\1")


def _chosen(mask: int) -> bytes:
    """A byte for each place, 1 for its ones."""
    return bin(mask)[:1:-1].encode().translate(DIGITS)


def bits(mask: int) -> Iterator[int]:
    """The places of its ones."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low

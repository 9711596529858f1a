"""All terminals of a grammar as one automaton over bytes.

A lexeme is as long as it can be: it ends only where the next byte cannot go on with it. So a text is read in one way,
and `1..2` is no two numbers with dots between where `1.5` is a number: there is no backing up. What is skipped (white
space) belongs to the lexeme in front of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from decant.errors import BadInput
from decant.grammars.patterns import Automaton, Piece, chain, star

DEAD = -1


@final
@dataclass(frozen=True, slots=True, eq=False)
class Lexer:
    """Lexemes begin in state 0.

    moves: of each state, where each byte leads, DEAD where no lexeme goes on.
    label: the terminal whose lexeme may end here, DEAD if none may.
    ahead: bit t: a lexeme of terminal t may yet come of it.
    """

    moves: tuple[tuple[int, ...], ...]
    label: tuple[int, ...]
    ahead: tuple[int, ...]

    @classmethod
    def of(cls, terminals: Sequence[Piece], skip: Piece | None) -> "Lexer":
        """Of a lexeme that several terminals write, the first is meant. Raises BadInput for a terminal without text."""
        automaton = Automaton()
        start, ends = automaton.state(), dict[int, int]()
        behind = chain([] if skip is None else [star(skip)])
        for number, terminal in enumerate(terminals):
            begin = automaton.state()
            automaton.silent[start].append(begin)
            ends[chain([terminal, behind])(automaton, begin)] = number
        moves, sets = _determined(automaton, start)
        label = [min((ends[state] for state in states if state in ends), default=DEAD) for states in sets]
        if label[0] != DEAD:
            raise BadInput(f"terminal {label[0] + 1} of the grammar may be empty; make its rule optional instead")
        ahead = _ahead(moves, label)
        kept = [[to if to != DEAD and ahead[to] else DEAD for to in row] for row in moves]
        one, group = _merged(kept, label)
        rows = [tuple(DEAD if to == DEAD else group[to] for to in kept[state]) for state in one]
        return cls(tuple(rows), tuple(label[state] for state in one), tuple(ahead[state] for state in one))

    def first_bytes(self, terminal: int) -> int:
        """Bit b: a lexeme of it may begin with byte b."""
        return sum(1 << byte for byte, to in enumerate(self.moves[0]) if to != DEAD and self.ahead[to] >> terminal & 1)

    def going_on(self, state: int) -> int:
        """Bit b: byte b goes on with the lexeme."""
        return sum(1 << byte for byte, to in enumerate(self.moves[state]) if to != DEAD)

    def read(self, state: int, text: bytes) -> int:
        """The state behind a text inside one lexeme, or DEAD."""
        for byte in text:
            if state == DEAD:
                break
            state = self.moves[state][byte]
        return state


def _determined(automaton: Automaton, start: int) -> tuple[list[list[int]], list[frozenset[int]]]:
    """The subset construction: where each byte leads, and the old states of each new one."""
    first = _closed(automaton, {start})
    number, sets, moves = {first: 0}, [first], list[list[int]]()
    for states in sets:  # grows as it is read
        edges = [edge for state in states for edge in automaton.edges[state]]
        row, seen = list[int](), dict[tuple[int, ...], int]()
        for byte in range(256):
            taken = tuple(to for mask, to in edges if mask >> byte & 1)
            if taken and taken not in seen:
                after = _closed(automaton, set(taken))
                if after not in number:
                    number[after] = len(sets)
                    sets.append(after)
                seen[taken] = number[after]
            row.append(seen[taken] if taken else DEAD)
        moves.append(row)
    return moves, sets


def _closed(automaton: Automaton, states: set[int]) -> frozenset[int]:
    todo = list(states)
    while todo:
        for to in automaton.silent[todo.pop()]:
            if to not in states:
                states.add(to)
                todo.append(to)
    return frozenset(states)


def _merged(moves: list[list[int]], label: list[int]) -> tuple[list[int], list[int]]:
    """Moore's partition: one state of each group of those that cannot be told apart, and the group of each state."""
    group, count = [0] * len(moves), 0
    while True:
        seen: dict[tuple[int, ...], int] = {}
        leading = [[DEAD if to == DEAD else group[to] for to in row] for row in moves]
        told = [(label[at], group[at], *row) for at, row in enumerate(leading)]
        group = [seen.setdefault(one, len(seen)) for one in told]
        if len(seen) == count:
            return [group.index(one) for one in range(count)], group
        count = len(seen)


def _ahead(moves: list[list[int]], label: list[int]) -> list[int]:
    """Of each state, the terminals that may come of it."""
    ahead = [0 if one == DEAD else 1 << one for one in label]
    targets = [set(row) - {DEAD} for row in moves]
    growing = True
    while growing:
        growing = False
        for state, reached in enumerate(targets):
            more = ahead[state]
            for to in reached:
                more |= ahead[to]
            growing |= more != ahead[state]
            ahead[state] = more
    return ahead

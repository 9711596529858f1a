"""Regular expressions over characters, as automata over the bytes of UTF-8.

Known are characters, `.`, classes, groups, `|`, `*`, `+`, `?`, `{m,n}` and the escapes d w s n t r f xHH; there are no
anchors and no look-around. A negated class holds every character outside ASCII; ranges stay inside ASCII.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from string import ascii_letters, digits
from typing import final

from decant.errors import BadInput

ASCII = 128
TAIL = range(0x80, 0xC0)
BEYOND = (  # RFC 3629, section 4: the characters outside ASCII; no surrogates, none written longer than it needs
    (range(0xC2, 0xE0), TAIL),
    (range(0xE0, 0xE1), range(0xA0, 0xC0), TAIL),
    (range(0xE1, 0xED), TAIL, TAIL),
    (range(0xED, 0xEE), range(0x80, 0xA0), TAIL),
    (range(0xEE, 0xF0), TAIL, TAIL),
    (range(0xF0, 0xF1), range(0x90, 0xC0), TAIL, TAIL),
    (range(0xF1, 0xF4), TAIL, TAIL, TAIL),
    (range(0xF4, 0xF5), range(0x80, 0x90), TAIL, TAIL),
)
SETS = {"d": digits, "w": ascii_letters + digits + "_", "s": " \t\n\r\f\v"}
SINGLE = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}


@final
@dataclass(frozen=True, slots=True)
class Automaton:
    """edges: of each state, the bytes (bit b: byte b) that lead on, and where to. silent: where nothing leads."""

    edges: list[list[tuple[int, int]]] = field(default_factory=list)
    silent: list[list[int]] = field(default_factory=list)

    def state(self) -> int:
        """A new one."""
        self.edges.append([])
        self.silent.append([])
        return len(self.edges) - 1


Piece = Callable[[Automaton, int], int]
"""Adds a copy of itself behind a state, without edges into that state, and says where it ends."""


def bytes_of(values: Sequence[int]) -> Piece:
    """One byte of these."""
    mask = sum(1 << value for value in set(values))

    def piece(automaton: Automaton, at: int) -> int:
        end = automaton.state()
        automaton.edges[at].append((mask, end))
        return end

    return piece


def chain(parts: Sequence[Piece]) -> Piece:
    """One behind the other."""

    def piece(automaton: Automaton, at: int) -> int:
        for part in parts:
            at = part(automaton, at)
        return at

    return piece


def either(parts: Sequence[Piece]) -> Piece:
    """One of them."""

    def piece(automaton: Automaton, at: int) -> int:
        end = automaton.state()
        for part in parts:
            begin = automaton.state()
            automaton.silent[at].append(begin)
            automaton.silent[part(automaton, begin)].append(end)
        return end

    return piece


def star(part: Piece) -> Piece:
    """Any number of times."""

    def piece(automaton: Automaton, at: int) -> int:
        hub, end = automaton.state(), automaton.state()
        automaton.silent[at].append(hub)
        automaton.silent[part(automaton, hub)].append(hub)
        automaton.silent[hub].append(end)
        return end

    return piece


def literal(text: str) -> Piece:
    """This text."""
    return chain([bytes_of([byte]) for byte in text.encode()])


def pattern(text: str) -> Piece:
    """Raises BadInput for what is no pattern."""
    reader = _Reader(text)
    piece = reader.choice()
    if reader.at < len(text):
        raise reader.wrong(f"{text[reader.at]!r} closes nothing")
    return piece


def _characters(found: set[str], beyond: bool) -> Piece:
    """One character of these; beyond: or any outside ASCII."""
    ways = [bytes_of([ord(one) for one in found if ord(one) < ASCII])]
    ways += [literal(one) for one in sorted(found) if ord(one) >= ASCII]
    if beyond:
        ways += [chain([bytes_of(part) for part in parts]) for parts in BEYOND]
    return ways[0] if len(ways) == 1 else either(ways)


@final
class _Reader:
    """Reads a pattern from the left."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def wrong(self, what: str) -> BadInput:
        return BadInput(f"the pattern /{self.text}/ cannot be read: {what} at character {self.at}; write it otherwise")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        if self.at == len(self.text):
            raise self.wrong("it ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def choice(self) -> Piece:
        ways = [self.row()]
        while self.peek() == "|":
            self.take()
            ways.append(self.row())
        return ways[0] if len(ways) == 1 else either(ways)

    def row(self) -> Piece:
        parts: list[Piece] = []
        while self.peek() not in {"", "|", ")"}:
            parts.append(self.repeated(self.atom()))
        return chain(parts)

    def atom(self) -> Piece:
        one = self.take()
        if one == "(":
            if self.text.startswith("?:", self.at):
                self.at += 2
            inside = self.choice()
            if self.take() != ")":
                raise self.wrong("a group is not closed")
            return inside
        if one == "[":
            return self.among()
        if one == ".":
            return _characters({chr(code) for code in range(ASCII)} - {"\n"}, True)
        if one in "*+?{":
            raise self.wrong(f"{one!r} repeats nothing")
        if one in "^$":
            raise self.wrong(f"{one!r} is an anchor, and a terminal is matched as a whole")
        return _characters(self.escaped() if one == "\\" else {one}, False)

    def repeated(self, piece: Piece) -> Piece:
        while (mark := self.peek()) and mark in "*+?{":
            self.take()
            if mark == "*":
                piece = star(piece)
            elif mark == "+":
                piece = chain([piece, star(piece)])
            elif mark == "?":
                piece = either([piece, chain([])])
            else:
                piece = self.counted(piece)
        return piece

    def counted(self, piece: Piece) -> Piece:
        closing = self.text.find("}", self.at)
        least, comma, most = self.text[self.at : max(closing, self.at)].partition(",")
        if not least.isdecimal() or not (most.isdecimal() or not most):
            raise self.wrong("braces hold no numbers")
        self.at = closing + 1
        if comma and not most:
            return chain([piece] * int(least) + [star(piece)])
        spare = int(most or least) - int(least)
        if spare < 0:
            raise self.wrong("braces hold a larger number in front")
        return chain([piece] * int(least) + [either([piece, chain([])])] * spare)

    def escaped(self) -> set[str]:
        one = self.take()
        if one in SETS:
            return set(SETS[one])
        if one == "x":
            code = self.take() + self.take()
            try:
                return {chr(int(code, 16))}
            except ValueError as error:
                raise self.wrong(f"\\x{code} is no character") from error
        if one not in SINGLE and one.isalnum():
            raise self.wrong(f"\\{one} means nothing here")
        return {SINGLE.get(one, one)}

    def among(self) -> Piece:
        negated = self.peek() == "^"
        if negated:
            self.take()
        found: set[str] = set()
        while (one := self.take()) != "]":
            first = self.escaped() if one == "\\" else {one}
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in {"", "]"}:
                self.take()
                last = self.escaped() if (end := self.take()) == "\\" else {end}
                first = self.span(first, last)
            found |= first
        if not negated:
            return _characters(found, False)
        if any(ord(one) >= ASCII for one in found):
            raise self.wrong("a negated class names a character outside ASCII")
        return _characters({chr(code) for code in range(ASCII)} - found, True)

    def span(self, first: set[str], last: set[str]) -> set[str]:
        codes = sorted(map(ord, first | last))
        if len(first) != 1 or len(last) != 1 or codes[-1] >= ASCII or ord(min(first)) != codes[0]:
            raise self.wrong("a range does not lead upwards inside ASCII")
        return {chr(code) for code in range(codes[0], codes[-1] + 1)}

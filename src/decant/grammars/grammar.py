"""Context-free grammars in text, and their binary normal form.

    value: "[" [value ("," value)*] "]" | NUMBER       rules in small letters, the first is the start; ( ) [ ] | * + ?
    NUMBER: /-?\\d+/                                     terminals in capital letters: one pattern
    skip: /[ \\t\\n]/                                     what may stand between lexemes; # begins a comment

A quoted word is a terminal, and goes before a pattern that writes the same.
Source: Lange & Leiss 2009, "To CNF or not to CNF?" (unit rules are kept as a closure, not multiplied out).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from decant.errors import BadInput
from decant.grammars.patterns import Piece, chain, literal, pattern, star

STATEMENT = re.compile(r"^([A-Za-z_]\w*)[ \t]*:", re.MULTILINE)
WORD = re.compile(r'\s*(?:([a-z_]\w*)|([A-Z]\w*)|("(?:[^"\\\n]|\\.)*")|([()\[\]|*+?]))')
COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
SKIP = "skip"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """Symbols are numbers, terminals first.

    terminals: what each writes. skip: what may follow every lexeme; its run in front of a text is the last terminal.
    pairs:     of each symbol B, the rules A -> B C as (C, all that derive A by unit rules, A among them).
    above:     of each symbol, all that derive it by unit rules, itself among them.
    start:     symbol. empty: whether the text may be empty.
    """

    terminals: tuple[Piece, ...]
    skip: Piece | None
    pairs: tuple[tuple[tuple[int, tuple[int, ...]], ...], ...]
    above: tuple[tuple[int, ...], ...]
    start: int
    empty: bool

    @classmethod
    def of(cls, text: str) -> "Grammar":
        """Raises BadInput for what cannot be read, and for a name that stands for nothing."""
        reader = _Rules(_statements(text))
        return _normal(reader)

    def neighbours(self) -> list[set[int]]:
        """Of each terminal, those that may come next."""
        count, symbols = len(self.terminals), range(len(self.above))
        first: list[set[int]] = [{one} if one < count else set() for one in symbols]
        last: list[set[int]] = [{one} if one < count else set() for one in symbols]
        growing = True
        while growing:
            before = sum(map(len, first)) + sum(map(len, last))
            for low in symbols:
                for high in self.above[low]:
                    first[high] |= first[low]
                    last[high] |= last[low]
                for right, highs in self.pairs[low]:
                    for high in highs:
                        first[high] |= first[low]
                        last[high] |= last[right]
            growing = sum(map(len, first)) + sum(map(len, last)) > before
        follow: list[set[int]] = [set() for _ in range(count)]
        for low in symbols:
            for right, _ in self.pairs[low]:
                for terminal in last[low]:
                    follow[terminal] |= first[right]
        return follow


def _statements(text: str) -> dict[str, str]:
    """name -> what it stands for, in order."""
    text = COMMENT.sub("", text)
    heads = list(STATEMENT.finditer(text))
    if not heads or text[: heads[0].start()].strip():
        raise BadInput(f"a grammar begins with a rule, name: ..., and this one with {text.strip()[:40]!r}")
    ends = [*(head.start() for head in heads[1:]), len(text)]
    found: dict[str, str] = {}
    for head, end in zip(heads, ends, strict=True):
        if head[1] in found:
            raise BadInput(f"the grammar has two rules for {head[1]!r}; join them with |")
        found[head[1]] = text[head.end() : end].strip()
    return found


@final
class _Rules:
    """Productions with any number of symbols on the right, which are names and quoted words until they are numbered."""

    def __init__(self, statements: dict[str, str]) -> None:
        self.productions: list[tuple[str, tuple[str, ...]]] = []
        self.words: list[tuple[str, Piece]] = []
        self.patterns = {name: _pattern(name, body) for name, body in statements.items() if name.isupper()}
        skip = statements.pop(SKIP, None)
        self.skip = None if skip is None else _pattern(SKIP, skip)
        self.names = [name for name in statements if not name.isupper()]
        if not self.names:
            raise BadInput("the grammar has terminals alone; give a rule in small letters, which is the start")
        for name in list(self.names):
            self.left, self.name = _words(name, statements[name]), name
            self._alternatives(name)
            if self.left:
                raise BadInput(f"the rule {name!r} has {self.left[0]!r} where nothing is open; close what was opened")

    def _alternatives(self, head: str) -> None:
        while True:
            row: list[str] = []
            while self.left and self.left[0] not in {"|", ")", "]"}:
                row.append(self._item())
            self.productions.append((head, tuple(row)))
            if not self.left or self.left[0] != "|":
                return
            self.left.pop(0)

    def _item(self) -> str:
        word = self.left.pop(0)
        if word in {"(", "["}:
            inside = self._fresh()
            self._alternatives(inside)
            if not self.left or self.left.pop(0) != {"(": ")", "[": "]"}[word]:
                raise BadInput(f"the rule {self.name!r} opens {word!r} and does not close it")
            if word == "[":
                self.productions.append((inside, ()))
            word = inside
        elif word[0] == '"':
            self._quoted(word)
        elif word in "*+?":
            raise BadInput(f"the rule {self.name!r} has {word!r} behind nothing; put what it repeats in front")
        elif word not in self.names and word not in self.patterns:
            raise BadInput(f"the rule {self.name!r} names {word!r}, which stands for nothing; give it a rule")
        while self.left and self.left[0] in {"*", "+", "?"}:
            mark, again = self.left.pop(0), self._fresh()
            self.productions += [(again, (word,) if mark == "+" else ())]
            self.productions += [(again, (word,) if mark == "?" else (word, again))]
            word = again
        return word

    def _quoted(self, word: str) -> None:
        if word not in [one for one, _ in self.words]:
            text = re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), word[1:-1])
            self.words.append((word, literal(text)))

    def _fresh(self) -> str:
        self.names.append(f"{self.name} {len(self.names)}")  # a blank: no rule has such a name
        return self.names[-1]


def _words(name: str, body: str) -> list[str]:
    found, at, body = list[str](), 0, body.rstrip()
    while at < len(body):
        word = WORD.match(body, at)
        if word is None:
            raise BadInput(
                f"the rule {name!r} cannot be read from {body[at : at + 20].strip()!r} on; quote what it writes"
            )
        found.append(word[word.lastindex or 0])
        at = word.end()
    return found


def _pattern(name: str, body: str) -> Piece:
    if len(body) < 3 or body[0] != "/" or body[-1] != "/":
        raise BadInput(f"{name} stands for {body[:40]!r}; a terminal is one pattern between slashes")
    return pattern(body[1:-1])


def _normal(rules: _Rules) -> Grammar:
    terminals = [*rules.words, *rules.patterns.items()]
    productions, start = list(rules.productions), rules.names[0]
    if rules.skip is not None:
        terminals.append(("skip ", chain([rules.skip, star(rules.skip)])))
        productions += [("start ", (start,)), ("start ", ("skip ", start))]
        rules.names.append("start ")
        start = "start "
    number = {name: at for at, name in enumerate([*(name for name, _ in terminals), *rules.names])}
    numbered = [(number[head], [number[one] for one in row]) for head, row in productions]
    ones, twos, count = _binary(numbered, len(number))
    nullable = _nullable([*numbered, *((head, [left, right]) for head, left, right in twos)])
    for head, left, right in twos:
        ones |= {(head, right)} if left in nullable else set()
        ones |= {(head, left)} if right in nullable else set()
    above = [_above(one, ones) for one in range(count)]
    pairs: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in range(count)]
    for head, left, right in sorted(twos):
        pairs[left].append((right, above[head]))
    return Grammar(
        terminals=tuple(piece for _, piece in terminals),
        skip=rules.skip,
        pairs=tuple(map(tuple, pairs)),
        above=tuple(above),
        start=number[start],
        empty=number[start] in nullable,
    )


def _binary(
    productions: Sequence[tuple[int, list[int]]], count: int
) -> tuple[set[tuple[int, int]], set[tuple[int, int, int]], int]:
    """Rules with one symbol and with two on the right, and how many symbols there are with those added: the suffixes of
    longer rules, each once."""
    ones, twos, suffixes = set[tuple[int, int]](), set[tuple[int, int, int]](), dict[tuple[int, ...], int]()
    for head, row in productions:
        while len(row) > 2:
            rest = tuple(row[1:])
            known = rest in suffixes
            suffixes.setdefault(rest, count + len(suffixes))
            twos.add((head, row[0], suffixes[rest]))
            if known:
                break
            head, row = suffixes[rest], list(rest)
        else:
            if len(row) == 2:
                twos.add((head, row[0], row[1]))
            elif row:
                ones.add((head, row[0]))
    return ones, twos, count + len(suffixes)


def _nullable(productions: Sequence[tuple[int, list[int]]]) -> set[int]:
    found: set[int] = set()
    growing = True
    while growing:
        more = {head for head, row in productions if all(one in found for one in row)}
        growing = more != found
        found = more
    return found


def _above(symbol: int, ones: set[tuple[int, int]]) -> tuple[int, ...]:
    found, todo = {symbol}, [symbol]
    while todo:
        low = todo.pop()
        more = {head for head, one in ones if one == low} - found
        found |= more
        todo += more
    return tuple(sorted(found))

"""Small languages with readers of their own, written without the package."""

import itertools
import random
import re
from collections.abc import Sequence

from decant.grammars.gaps import Gaps
from decant.grammars.grammar import Grammar
from decant.grammars.language import Language
from decant.grammars.slots import Slots
from decant.vocab.vocabulary import Vocabulary

BRACKETS = 'text: ("(" text ")" | "[" text "]")*'
SUMS = 'sum: [sum "+"] item\nitem: NUMBER | "(" sum ")"\nNUMBER: /[1-9][0-9]*/\nskip: / /'
WORDS = 'text: WORD ("if" WORD)* [";"]\nWORD: /[a-z]+/\nskip: / /'
KEYWORDS = ("int", "char", "if", "else", "while", "return")


def brackets(text: str) -> bool:
    while "()" in text or "[]" in text:
        text = text.replace("()", "").replace("[]", "")
    return not text


def sums(text: str) -> bool:
    if re.search(r"[0-9] +[0-9]", text):
        return False
    text = re.sub("[1-9][0-9]*", "n", text.replace(" ", ""))
    while (shorter := text.replace("(n)", "n").replace("n+n", "n")) != text:
        if re.search(r"[n)]\(|nn|\)n", text):
            return False
        text = shorter
    return text == "n"


def words(text: str) -> bool:
    lexemes = re.findall(r"[a-z]+|;|[^ ]", text)
    ended = lexemes[-1:] == [";"]
    lexemes = lexemes[: len(lexemes) - ended]
    odd = len(lexemes) % 2 == 1 and all(one.isalpha() and one.isascii() for one in lexemes)
    return odd and all((one == "if") == bool(at % 2) for at, one in enumerate(lexemes))


def gaps(text: str, pieces: Sequence[bytes | None], ends: frozenset[int] = frozenset()) -> Gaps:
    """The mask is the last id, behind the pieces."""
    count = len(pieces)
    return Gaps.of(Language.of(text), Vocabulary(pieces), count + 1, count, ends)


def slots(text: str, count: int, ends: frozenset[int] = frozenset()) -> Slots:
    """Of a grammar of quoted words: id i is the i-th of them; end ids and the mask follow."""
    return Slots(Grammar.of(text), {token: token for token in range(count)}, count + 2, count + 1, ends)


def completions(canvas: Sequence[int], pieces: Sequence[bytes | None], ends: frozenset[int]) -> list[str]:
    """All texts that a canvas can become; the mask is the id behind the pieces."""
    mask, found = len(pieces), list[str]()
    ways = [range(len(pieces)) if token == mask else [token] for token in canvas]
    for ids in itertools.product(*ways):
        first = next((at for at, token in enumerate(ids) if token in ends), len(ids))
        said = [pieces[token] for token in ids[:first]]
        if all(token in ends for token in ids[first:]) and all(said):
            found.append(b"".join(one or b"" for one in said).decode())
    return found


def canvases(count: int, length: int, mask: int, seed: int) -> list[list[int]]:
    """Random ones, of at most `length` places, about half of them open."""
    chance = random.Random(seed)
    return [
        [mask if chance.random() < 0.5 else chance.randrange(mask) for _ in range(chance.randint(1, length))]
        for _ in range(count)
    ]


class Reader:
    """A recursive-descent reader of the C-like toy."""

    def __init__(self, text: str) -> None:
        self.left = re.findall(r"[a-z_][a-z_0-9]*|0|[1-9][0-9]*|==|!=|[^ \t\n]", text)

    def take(self, *wanted: str) -> bool:
        if self.left and self.left[0] in wanted:
            self.left.pop(0)
            return True
        return False

    def must(self, *wanted: str) -> None:
        if not self.take(*wanted):
            raise ValueError(f"{wanted} expected before {self.left[:3]}")

    def name(self) -> None:
        if not self.left or not re.fullmatch(r"[a-z_][a-z_0-9]*", self.left[0]) or self.left[0] in KEYWORDS:
            raise ValueError(f"a name expected before {self.left[:3]}")
        self.left.pop(0)

    def program(self) -> None:
        self.statement()
        while self.left:
            self.statement()

    def statement(self) -> None:
        if self.take("{"):
            while not self.take("}"):
                self.statement()
        elif self.take("if", "while"):
            self.must("(")
            self.expression()
            self.must(")")
            self.statement()
            if self.take("else"):
                self.statement()
        elif self.take("return"):
            self.expression()
            self.must(";")
        else:
            declared = self.take("int", "char")
            self.name()
            if not declared or self.left[:1] == ["="]:
                self.must("=")
                self.expression()
            self.must(";")

    def expression(self) -> None:
        self.joined()
        if self.take("<", ">", "==", "!="):
            self.joined()

    def joined(self) -> None:
        self.factor()
        while self.take("+", "-", "*", "/"):
            self.factor()

    def factor(self) -> None:
        while self.take("-", "!"):
            pass
        if self.take("("):
            self.expression()
            self.must(")")
        elif self.left and re.fullmatch("0|[1-9][0-9]*", self.left[0]):
            self.left.pop(0)
        else:
            self.name()
            if self.take("(") and not self.take(")"):
                self.expression()
                while self.take(","):
                    self.expression()
                self.must(")")

"""Patterns read what Python's own read, and refuse what they do not know."""

import itertools
import re

import pytest

from decant.errors import BadInput
from decant.grammars.lexer import Lexer
from decant.grammars.patterns import pattern

LETTERS = ["a", "b", "-", '"', "\\", "\n", "é", "日", "𝄞"]
PATTERNS = [
    r"a*b", r"(a|b)+", r"a?b{2}", r"a{1,3}", r"a{2,}", r"[ab\-]+", r"[^a]", r"[^\"\\]*a", r".", r"(?:ab|\\\")+",
    r"\-|\\", r"[\x61-b]+", r"é|[日b]", r"(a*b?)*-", r"a||b-",
]  # fmt: skip
WRONG = ["(a", "a)", "[a", "*a", "a{x}", "a{2,1}", "[b-a]", "[a-é]", "[^é]", "^a", r"\q", r"\xZZ"]


def accepts(lexer: Lexer, text: bytes) -> bool:
    state = lexer.read(0, text)
    return state >= 0 and lexer.label[state] == 0


@pytest.mark.parametrize("text", PATTERNS)
def test_a_pattern_matches_what_pythons_does(text: str) -> None:
    lexer = Lexer.of([pattern(f"({text})-")], None)  # never empty
    for length in range(4):
        for letters in itertools.product(LETTERS, repeat=length):
            word = "".join(letters)
            assert accepts(lexer, f"{word}-".encode()) == bool(re.fullmatch(f"({text})-", f"{word}-")), word


@pytest.mark.parametrize("broken", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe6\x97"])
def test_bytes_that_are_no_text_match_nothing(broken: bytes) -> None:
    assert not accepts(Lexer.of([pattern("[^a]+")], None), broken)
    assert accepts(Lexer.of([pattern("[^a]+")], None), "é日𝄞".encode())


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_read_is_refused_with_the_place(text: str) -> None:
    with pytest.raises(BadInput, match=r"the pattern /.*/ cannot be read: .* at character \d+"):
        pattern(text)


def test_the_first_of_two_terminals_is_meant_and_white_space_belongs_to_it() -> None:
    lexer = Lexer.of([pattern("if"), pattern("[a-z]+")], pattern(" "))
    assert [lexer.label[lexer.read(0, text)] for text in (b"if", b"if ", b"i", b"iff")] == [0, 0, 1, 1]
    assert lexer.read(0, b"if f") == -1


def test_an_empty_terminal_is_refused() -> None:
    with pytest.raises(BadInput, match="terminal 2 of the grammar may be empty"):
        Lexer.of([pattern("a"), pattern("b*")], None)

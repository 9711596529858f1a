"""Grammars in text: what they derive, and what is refused."""

import itertools
import re

import pytest

from decant.errors import BadInput
from decant.grammars.grammar import Grammar
from tests.grammars.tongues import slots

RULES = [
    ('text: "a"* "b"+ ["c"]', "a*b+c?", "abc"),
    ('text: ("a" | "b" "c")* | "c"', "(a|bc)*|c", "abc"),
    ('text: one two\none: ["a"]\ntwo: "b"*', "a?b*", "ab"),
    ('text: "a" "b" "c" "a" | "b" "b" "c" "a" | "b" "c"', "abca|bbca|bc", "abc"),
    ('text: text "a" | one\none: two | "c"\ntwo: one "b" | ', "c?b*a*|(c?b*)a*", "abc"),
    ('text: ["a"] ["b"] ["c"] ["a"]', "a?b?c?a?", "abc"),
    ('# a comment\ntext: (\n    "a" | "b"\n  )\n# another: "c"\n', "a|b", "ab"),
]


@pytest.mark.parametrize(("rules", "like", "letters"), RULES)
def test_a_grammar_derives_what_it_says(rules: str, like: str, letters: str) -> None:
    names = list(dict.fromkeys(re.findall(r'"(.)"', re.sub(r"^#.*$", "", rules, flags=re.MULTILINE))))
    assert {*names} == {*letters}
    table = slots(rules, len(names))
    for length in range(6):
        for ids in itertools.product(range(len(names)), repeat=length):
            word = "".join(names[token] for token in ids)
            assert table.fits(ids) == bool(re.fullmatch(like, word)), word


def test_neighbours_are_those_of_some_text() -> None:
    grammar = Grammar.of('text: "a" one "b"\none: ["c"] "a"*')
    assert grammar.neighbours() == [{0, 1, 2}, set(), {0, 1}]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "begins with a rule"),
        ('"a" b', "begins with a rule"),
        ('a: "b"\na: "c"', "two rules for 'a'"),
        ("A: /a/", "terminals alone"),
        ("a: b", "names 'b', which stands for nothing"),
        ('a: ("b"', r"opens '\('"),
        ('a: "b")', "where nothing is open"),
        ("a: * ", "behind nothing"),
        ("a: b\nb: 'c'", "cannot be read from"),
        ("a: B\nB: x", "one pattern between slashes"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(BadInput, match=wrong):
        Grammar.of(text)

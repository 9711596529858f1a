"""Whether a regular expression demands a text, against every string that it matches."""

import re
from itertools import product

import pytest

from decant.vocab.matching import demanded

pytest.importorskip("llguidance", reason="the extra [grammar] is not installed")

TEXTS = ["".join(letters) for length in range(6) for letters in product("ab/", repeat=length)]


@pytest.mark.parametrize("pattern", ["ab(a|b)", "a+b", "a?b?", "(a|b){2,3}", r"a\/b|/", "(ab|ba)+", "a*(ba|aba)"])
@pytest.mark.parametrize("text", ["a", "b", "ab", "/", "ba", "aa"])
def test_it_is_demanded_when_every_match_holds_it(pattern, text):
    """The patterns repeat nothing that a match of more than five letters would need."""
    matches = [one for one in TEXTS if re.fullmatch(pattern, one)]
    assert matches
    assert demanded(pattern, text) == all(text in one for one in matches)


@pytest.mark.parametrize(
    ("pattern", "text", "holds"),
    [
        ("a&&b", "&", True),
        (r"\d+\n", "\n", True),
        ("a\nb", "\n", True),
        ("é+", "é", True),
        ("(?i)abc", "b", False),
        ("(", "a", False),
        (r"[^\s\S]", "a", False),
        (r"(.|\n){0,200}x(.|\n){0,200}", "x", False),
    ],
)
def test_odd_letters_and_what_cannot_be_decided(pattern, text, holds):
    """What is no expression, what matches nothing and what llguidance gives up on demand nothing."""
    assert demanded(pattern, text) is holds

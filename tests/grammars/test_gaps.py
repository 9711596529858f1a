"""What fits a language: the same as trying out all that can be filled in, and never a dead end."""

import json
import random

import pytest

from decant.errors import BadInput
from decant.grammars.shipped import C_TOY, JSON
from decant.types import PAD
from tests.grammars.tongues import (
    BRACKETS,
    SUMS,
    WORDS,
    Reader,
    brackets,
    canvases,
    completions,
    gaps,
    slots,
    sums,
    words,
)

END = frozenset({4})
LANGUAGES = [
    (BRACKETS, brackets, [b"(", b")", b"[", b"]", None]),
    (SUMS, sums, [b"1", b"+", b"(", b")", None, b" ", b"0"]),
    (WORDS, words, [b"i", b"f", b" ", b";", None, b"fi", b"if"]),
]
"""Tokens that stay inside one lexeme and the white space behind it: nothing may be refused that can be finished."""
CROSSING = [
    (BRACKETS, brackets, [b"()", b")", b"[(", b")]", None]),
    (SUMS, sums, [b"1+", b"1", b" (", b")", None, b"+1", b"0)+"]),
    (WORDS, words, [b"if ", b"f", b" ", b"f;", None, b"a if", b" if b"]),
]


@pytest.mark.parametrize(("text", "reads", "pieces"), LANGUAGES, ids=["brackets", "sums", "words"])
def test_a_canvas_fits_if_and_only_if_some_text_does(text: str, reads, pieces) -> None:
    permits, seen = gaps(text, pieces, END), set[bool]()
    for canvas in canvases(150, 5, len(pieces), seed=1):
        fits = any(map(reads, completions(canvas, pieces, END)))
        assert permits.fits(canvas) == fits, canvas
        seen.add(fits)
    assert seen == {True, False}


@pytest.mark.parametrize(("text", "reads", "pieces"), CROSSING, ids=["brackets", "sums", "words"])
def test_tokens_across_lexemes_are_read_exactly_and_never_lead_astray(text: str, reads, pieces) -> None:
    permits, mask = gaps(text, pieces, END), len(pieces)
    for canvas in canvases(150, 5, mask, seed=2):
        fits = any(map(reads, completions(canvas, pieces, END)))
        if mask in canvas:
            assert fits or not permits.fits(canvas), canvas
        else:
            assert permits.fits(canvas) == fits, canvas


@pytest.mark.parametrize(("text", "reads", "pieces"), LANGUAGES + CROSSING)
def test_every_open_place_of_what_fits_can_be_settled(text: str, reads, pieces) -> None:
    permits, mask, chance, settled = gaps(text, pieces, END), len(pieces), random.Random(3), 0
    for canvas in canvases(200, 7, mask, seed=3):
        if not permits.fits(canvas):
            continue
        while mask in canvas:
            place = chance.choice([at for at, token in enumerate(canvas) if token == mask])
            canvas[place] = permits.rescue(canvas, place)
            assert permits.fits(canvas)
            settled += 1
        assert any(map(reads, completions(canvas, pieces, END)))
    assert settled > 50


@pytest.mark.parametrize("ends", [frozenset(), END])
def test_both_ways_agree_where_tokens_are_terminals(ends: frozenset[int]) -> None:
    table, product = slots(BRACKETS, 4, ends), gaps(BRACKETS, [b"(", b")", b"[", b"]", None], ends)
    agreed = [table.fits(canvas) for canvas in canvases(200, 8, 5, seed=4)]
    assert agreed == [product.fits(canvas) for canvas in canvases(200, 8, 5, seed=4)]
    assert {*agreed} == {True, False}


def test_tokens_of_one_kind_fit_alike() -> None:
    pieces = [b"a", b"b", b"if", b"f", b"if ", b" ;", b";", b"i", b" if a", b" if  b", None]
    permits, chance = gaps(WORDS, pieces), random.Random(5)
    kinds = permits.kind_V.tolist()
    assert kinds[0] == kinds[1]
    assert kinds[8] == kinds[9]
    assert len({kinds[at] for at in (0, 2, 3, 4, 5, 7, 8)}) == 7
    for canvas in canvases(200, 6, len(pieces), seed=6):
        alike = [[at for at, kind in enumerate(kinds[:-1]) if kind == kinds[token]] for token in canvas]  # no mask
        kin = [old if old == permits.mask else chance.choice(ids) for old, ids in zip(canvas, alike, strict=True)]
        assert permits.fits(canvas) == permits.fits(kin), (canvas, kin)


def test_behind_an_end_stands_nothing_else() -> None:
    permits = gaps(BRACKETS, [b"(", b")", b"[", b"]", None], END)
    assert permits.implied([0, 5, 4, 5, 4, 5]) == {3: 4, 5: 4}
    assert permits.fits([0, 1, 4, 5, 4])
    assert not permits.fits([4, 5, 1])
    assert not permits.fits([0, 4, 4])
    assert permits.fits([5, 5, 5])  # as a shorter text
    assert not gaps(BRACKETS, [b"(", b")", b"[", b"]", None]).fits([5, 5, 5])
    assert permits.fits([0, PAD, 1, PAD])  # a dropped place
    with pytest.raises(BadInput, match="no token at place 1 leads to a text"):
        permits.rescue([0, 5, 2], 1)


@pytest.mark.parametrize("text", ['{"a": [1, -2.5e3, "\\u00e9\\n"], "b": null}', " [true,false] ", '"é日"', "0", "{ }"])
def test_json_that_python_reads_fits(text: str) -> None:
    permits = gaps(JSON, [bytes([byte]) for byte in range(256)])
    json.loads(text)
    assert permits.fits([*text.encode()])
    for at in range(len(text.encode())):
        assert permits.fits([256 if at == place else byte for place, byte in enumerate(text.encode())])


@pytest.mark.parametrize(
    "text", ["01", "1.", "[1,]", "{a:1}", '"\n"', "tru", "true false", "[1 2]", "", '"\\x"', "- 1"]
)
def test_json_that_python_refuses_does_not_fit(text: str) -> None:
    permits = gaps(JSON, [bytes([byte]) for byte in range(256)])
    with pytest.raises(ValueError, match=r"."):
        json.loads(text)
    assert not permits.fits([*text.encode()])


@pytest.mark.parametrize(
    ("text", "well"),
    [
        ("int x = 1; while (x < 9) { x = x + f(x, -2); }", True),
        ("if (a == b) return 1; else { char c; }", True),
        ("intx = 1;", True),  # a name
        ("int int = 1;", False),
        ("intx;", False),
        ("x = 1 2;", False),
        ("if (a) ", False),
        ("elsex = 1;", True),
        ("returnx;", False),
    ],
)
def test_the_toy_reads_as_c_does(text: str, well: bool) -> None:
    permits = gaps(C_TOY, [bytes([byte]) for byte in range(256)])
    assert permits.fits([*text.encode()]) == well
    if well:
        Reader(text).program()
    else:
        with pytest.raises(ValueError, match="expected"):
            Reader(text).program()


def test_what_is_open_fits_at_every_length() -> None:
    for text in (JSON, C_TOY):
        permits = gaps(text, [bytes([byte]) for byte in range(256)])
        least = 1 if text == JSON else 2
        assert [permits.fits([256] * count) for count in range(8)] == [count >= least for count in range(8)]

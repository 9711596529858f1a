"""Requests end at an end token, a length or a stop string, also in the middle of an accepted block."""

from decant.decoders.stopping import Stopping
from decant.decoders.text import TextStream


def spell(ids: list[int]) -> str:
    return bytes(ids).decode(errors="replace")


def test_an_end_token_is_kept_and_nothing_behind_it():
    assert Stopping(10, frozenset({9})).cut([1, 2, 9, 4]) == ([1, 2, 9], "stop")


def test_length_is_never_exceeded():
    assert Stopping(3).cut([1, 2, 3, 4]) == ([1, 2, 3], "length")
    assert Stopping(3).cut([1, 2]) == ([1, 2], None)
    assert Stopping(3, frozenset({3})).cut([1, 2, 3]) == ([1, 2, 3], "stop")
    assert Stopping(2, frozenset({3})).cut([1, 2, 3]) == ([1, 2], "length")


def test_a_stop_string_may_lie_across_tokens():
    stopping = Stopping(99, strings=("\n\n",), decode=spell)
    assert stopping.cut(list(b"ab\n\ncd")) == (list(b"ab\n\n"), "stop")
    assert stopping.cut(list(b"ab\n\ncd"), seen=3) == (list(b"ab\n\n"), "stop")
    assert stopping.cut(list(b"ab\n")) == (list(b"ab\n"), None)


def test_text_streams_whole_characters_only():
    text = TextStream(spell)
    ids = list("né日".encode())
    pieces = [text.feed(ids[:count]) for count in range(1, len(ids) + 1)]
    assert pieces == ["n", "", "é", "", "", "日"]
    assert text.text == "né日"


def test_what_stays_broken_is_shown_at_the_end():
    text = TextStream(spell)
    assert text.feed([0xE6]) == ""
    assert text.feed([0xE6], done=True) == "\ufffd"


def test_no_part_of_a_stop_string_is_shown():
    text = TextStream(spell, ("STOP", "\nuser:"))
    ids = list(b"say S STO and\nuse STOP it")
    shown = "".join(text.feed(ids[:count]) for count in range(1, len(ids) + 1))
    assert shown == "say S STO and\nuse "
    assert text.feed(ids, done=True) == ""


def test_a_held_back_beginning_is_shown_when_it_was_none():
    text = TextStream(spell, ("STOP",))
    assert text.feed(list(b"a ST")) == "a "
    assert text.feed(list(b"a ST"), done=True) == "ST"

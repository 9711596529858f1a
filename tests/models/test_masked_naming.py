"""The mask's name in a tokenizer: a special token that no text spells."""

from transformers import AutoTokenizer

from decant.house import folder
from decant.models.masked.convention import Convention
from decant.models.masked.naming import known_ids, with_mask
from decant.models.speller import Speller


def test_a_tokenizer_gets_the_mask_as_a_special_token():
    words = AutoTokenizer.from_pretrained(folder("target"))
    count = known_ids(words)
    named = with_mask(words, Convention(count))
    assert (words.mask_token, known_ids(words)) == (None, count)
    assert (named.mask_token, named.mask_token_id, known_ids(named)) == ("<|mask|>", count, count + 1)
    assert count not in named("x<|mask|>y", split_special_tokens=True).input_ids
    assert count in named("x<|mask|>y").input_ids, "this test shows nothing"
    assert named.decode([count, *words("x").input_ids], skip_special_tokens=True) == "x"
    assert with_mask(named, Convention(count)) is named
    assert with_mask(words, Convention(count + 1)) is words, "there is no token for the id between"


def test_it_is_kept_and_the_spelling_is_the_same(tmp_path):
    words = AutoTokenizer.from_pretrained(folder("target"))
    named = with_mask(words, Convention(known_ids(words)))
    named.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.mask_token_id == known_ids(words)
    assert Speller("words", words).same(Speller("again", again))
    assert Speller("again", again).same(Speller("words", words))
    again.add_tokens(["<new>"])
    assert not Speller("again", again).same(Speller("named", named))

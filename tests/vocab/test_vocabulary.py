from decant.vocab.crossing import translate
from decant.vocab.vocabulary import Vocabulary, control_map

LETTERS = Vocabulary([b"a", b"b", b"ab", b"c", None, b"a"], {"<end>": 4}, {"eos": 4})
OTHER = Vocabulary([None, b"b", b"a", b"bc", b"c", None], {"</s>": 0, "<user>": 5}, {"eos": 0})


def test_bytes_that_two_ids_write_belong_to_neither() -> None:
    assert LETTERS.unique == {b"b": 1, b"ab": 2, b"c": 3}


def test_controls_and_ids_behind_the_vocabulary_write_nothing() -> None:
    assert LETTERS.bytes_of([0, 4, 2, 99]) == b"aab"


def test_the_longest_piece_that_fits_is_taken() -> None:
    assert LETTERS.fitted(b"cabba") == [3, 2, 1, 0]
    assert LETTERS.fitted(b"a?b") == [0, 1]
    assert Vocabulary([None]).fitted(b"a") == []


def test_the_tokenizer_itself_spells_where_there_is_one() -> None:
    assert Vocabulary([b"a"], encode=lambda texts: [[7] for _ in texts]).spell([b"a", b"b"]) == [[7], [7]]
    assert LETTERS.spell([b"ab", b""]) == [[2], []]


def test_controls_meet_by_name_and_then_by_role() -> None:
    assert control_map(LETTERS, OTHER) == {4: 0}
    named = Vocabulary([None, None], {"<user>": 0, "<stop>": 1}, {"eos": 1})
    assert control_map(named, OTHER) == {0: 5, 1: 0}


def test_nothing_is_mapped_to_twice() -> None:
    both = Vocabulary([None, None], {"</s>": 0, "<stop>": 1}, {"eos": 1})
    assert control_map(both, OTHER) == {0: 0}


def test_a_text_is_encoded_again_between_its_controls() -> None:
    assert translate([2, 3, 4, 1], LETTERS, OTHER) == [2, 3, 0, 1]  # ab c <end> b: a bc </s> b
    assert translate([5, 2], OTHER, LETTERS) == [0]  # <user> is unknown there


def test_a_text_that_cannot_be_said_is_not_empty() -> None:
    assert translate([5], OTHER, LETTERS) == [4]
    assert translate([], OTHER, Vocabulary([b"a"])) == [0]


def test_the_space_in_front_comes_and_goes_with_the_tokenizer() -> None:
    front = Vocabulary([b" a", b"a", b" ", None], {"<s>": 3}, front=b" ", opening=(3,))
    plain = Vocabulary([b"a", b" a", b" "])
    assert translate([0, 1, 0], plain, Vocabulary(front.pieces, front=b" ")) == [0, 0, 1]
    assert translate([0, 0], plain, front) == [3, 0, 1]
    assert translate([3, 0, 0], front, plain) == [0, 1]
    assert translate([3, 0], front, front) == [3, 0]

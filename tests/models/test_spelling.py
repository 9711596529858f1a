"""The bytes of real tokenizers: those that others published, where DECANT_DATA says, and the house's own."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from decant.errors import BadInput
from decant.house import folder
from decant.models.load import load
from decant.models.spelling import between, token_bytes, vocabulary
from decant.vocab.bridge import Bridge
from decant.vocab.crossing import translate
from decant.vocab.vocabulary import Vocabulary

SHELF = Path(os.environ.get("DECANT_DATA", "")) / "tokenizers"
shelf = pytest.mark.skipif("DECANT_DATA" not in os.environ or not SHELF.is_dir(), reason="no tokenizers in DECANT_DATA")
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PUBLISHED = ["gpt-2", "llama", "mistral", "qwen15"]
TEXTS = [
    "Hello,  world!",
    " a space in front, two behind  ",
    "def f(x):\n\treturn x ** 2  # ok\r\n\r\n",
    "1234567890 12.5e-3 0x0A",
    "naïve café, 日本語, عربى, 🙂👩‍👩‍👧, e\u0301",
    "\x00\x07\x7f\u200b\ufeff",
    "<0x0A> <|nobody|> [INS",
    " ",
    "x",
]


@cache
def tokenizer(name: str) -> PreTrainedTokenizerBase:
    if name == "house":
        return AutoTokenizer.from_pretrained(folder("target"))
    if name != "qwen15":
        return PreTrainedTokenizerFast(tokenizer_file=str(SHELF / f"{name}_tokenizer.json"))
    words = Tokenizer(models.BPE.from_file(str(SHELF / "qwen15_vocab.json"), str(SHELF / "qwen15_merges.txt")))
    pieces = pre_tokenizers.Split(Regex(QWEN), "isolated")
    words.pre_tokenizer = pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(False, use_regex=False)])
    words.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=words)


@cache
def known(name: str) -> Vocabulary:
    return vocabulary(tokenizer(name))


def ids_of(name: str, text: str) -> list[int]:
    return list(tokenizer(name)(text, add_special_tokens=False, split_special_tokens=True).input_ids)


def named(*names: str) -> list:
    return [pytest.param(name, marks=[] if name == "house" else shelf) for name in names]


@pytest.mark.parametrize("name", named("house", *PUBLISHED))
def test_the_bytes_of_a_texts_ids_are_its_bytes(name: str) -> None:
    spelling = known(name)
    for text in TEXTS:
        assert spelling.bytes_of(ids_of(name, text)) == spelling.front + text.encode()


@pytest.mark.parametrize("name", named("house", *PUBLISHED))
def test_a_text_that_continues_another_has_no_space_in_front(name: str) -> None:
    spelling = known(name)
    for ids, text in zip(spelling.spell([text.encode() for text in TEXTS]), TEXTS, strict=True):
        assert spelling.bytes_of(ids) == text.encode()
    assert spelling.spell([b""]) == [[]]
    assert spelling.spell([]) == []


@pytest.mark.parametrize("name", named("house", *PUBLISHED))
def test_half_a_character_is_spelt_too(name: str) -> None:
    whole = "日".encode()
    for part in (whole[:1], whole[:2], whole[1:], b"ok" + whole[:2]):
        assert known(name).bytes_of(known(name).spell([part])[0]) == part


@pytest.mark.parametrize("name", named("house", *PUBLISHED))
def test_no_two_ids_write_the_same(name: str) -> None:
    pieces = [piece for piece in token_bytes(tokenizer(name)) if piece is not None]
    assert len(set(pieces)) == len(pieces)


@pytest.mark.parametrize("name", named("house", *PUBLISHED))
def test_what_stands_in_front_of_a_text_and_of_a_prompt(name: str) -> None:
    expected = (b" ", (1,)) if name in {"llama", "mistral"} else (b"", ())
    assert (known(name).front, known(name).opening) == expected


def test_special_tokens_write_nothing() -> None:
    house = known("house")
    assert house.controls["<|end|>"] == house.roles["eos"] == 3
    assert house.pieces[:5] == [None] * 5
    assert house.names[1] == "<|user|>"


@shelf
@pytest.mark.parametrize(
    ("target", "draft"), [("gpt-2", "llama"), ("llama", "gpt-2"), ("mistral", "llama"), ("llama", "qwen15")]
)
def test_texts_and_tokens_cross_over(target: str, draft: str) -> None:
    one, other = known(target), known(draft)
    for text in TEXTS:
        crossed = translate([*one.opening, *ids_of(target, text)], one, other)
        assert crossed == [*other.opening, *ids_of(draft, text)], text
    bridge = Bridge.between(one, other, (len(one.pieces), len(other.pieces)))
    assert bridge.tokens.size > 15_000
    for piece, spelling in list(zip(one.pieces, bridge.spelt, strict=True))[::7]:
        assert piece is None or other.bytes_of(spelling) == piece


def test_a_tokenizer_of_another_kind_is_refused() -> None:
    words = Tokenizer(models.WordPiece({"a": 0, "##b": 1}))
    words.decoder = decoders.WordPiece()
    with pytest.raises(BadInput, match=r"writes neither bytes nor pieces of SentencePiece .its decoder: WordPiece"):
        token_bytes(PreTrainedTokenizerFast(tokenizer_object=words))
    with pytest.raises(BadInput, match="does not say how its tokens are decoded"):
        token_bytes(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordPiece({"a": 0}))))


def test_bytes_come_second_to_ordinary_tokens_and_unknown_ones_are_none() -> None:
    words = Tokenizer(models.BPE({"<0x61>": 0, "a": 1, "<0x62>": 2, "\u2581": 4, "\u2581a": 5}, [("\u2581", "a")]))
    words.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    assert token_bytes(PreTrainedTokenizerFast(tokenizer_object=words)) == [None, b"a", b"b", None, b" ", b" a"]


def test_a_tokenizer_that_rewrites_texts_falls_back_to_the_longest_pieces() -> None:
    words = Tokenizer(models.BPE({"a": 0, "A": 1, "\u0120": 2}, []))
    words.normalizer, words.decoder = normalizers.Lowercase(), decoders.ByteLevel()
    words.pre_tokenizer = pre_tokenizers.ByteLevel(False, use_regex=False)
    assert vocabulary(PreTrainedTokenizerFast(tokenizer_object=words)).spell([b"aA a"]) == [[0, 1, 2, 0]]


def test_a_pair_of_models_has_a_bridge() -> None:
    loaded = load("house:draft", exact="off")
    bridge = between(loaded, loaded)
    assert bridge.tokens.size == loaded.model.vocab
    assert bridge.spelt[7] == (7,)


def test_a_model_without_tokenizer_files_has_none() -> None:
    loaded = replace(load("house:draft", exact="off"), tokenizer=None)
    with pytest.raises(BadInput, match=r"house:draft has no tokenizer files; put tokenizer\.json beside the weights"):
        between(loaded, loaded)

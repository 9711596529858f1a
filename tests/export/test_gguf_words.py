"""Tokenizers in GGUF: pieces, kinds, merges, special ids, and by which name llama.cpp splits text."""

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from decant.errors import BadInput
from decant.export.gguf_file import write
from decant.export.gguf_words import GPT2, LATER, NEAREST
from decant.models.build import LlamaSpec, untrained

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed (make peers)")
LINES = ["The cat_sat on the mat, 12 times.", "def add(a, b):\n    return a + b", "Naïve café, 日本語."] * 4
ROOM = 320
byte_level = pre_tokenizers.ByteLevel


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    cut = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([cut, byte_level(add_prefix_space=False, use_regex=False)])


def trained(pre: pre_tokenizers.PreTokenizer, ignore_merges: bool = False) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    words.pre_tokenizer, words.decoder = pre, decoders.ByteLevel()
    alphabet = byte_level.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=ROOM - 20, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator(LINES, trainer)
    words.add_tokens(["[call]"])
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", chat_template="{{ 1 }}")


def written(tokenizer, file, room=ROOM):
    spec = LlamaSpec(vocab=room, hidden=16, layers=1, heads=2, kv_heads=1, intermediate=32, head_dim=8, eos=(1, 5))
    done = write(untrained(spec), tokenizer, file, "f16")
    fields = gguf.GGUFReader(file).fields
    return done.spelling, {name: field.contents() for name, field in fields.items() if name.startswith("tokenizer")}


def test_pieces_kinds_merges_and_special_ids(tmp_path):
    tokenizer = trained(byte_level(add_prefix_space=False))
    spelling, said = written(tokenizer, tmp_path / "a.gguf")
    assert (spelling.split, spelling.known) == ("gpt-2", True)
    tokens, types = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == ROOM
    assert all(tokens[token] == text for text, token in tokenizer.get_vocab().items())
    call, kinds = tokenizer.convert_tokens_to_ids("[call]"), gguf.TokenType
    wanted = {0: kinds.CONTROL, call: kinds.USER_DEFINED, 20: kinds.NORMAL, ROOM - 1: kinds.UNUSED}
    assert {token: types[token] for token in wanted} == wanted
    assert len(set(tokens)) == ROOM
    assert said["tokenizer.ggml.merges"][0].count(" ") == 1
    assert {name.rsplit(".", 1)[1]: said[name] for name in said if name.endswith("_id")} == {
        "bos_token_id": 0,
        "eos_token_id": 1,
        "eot_token_id": 5,
    }
    assert said["tokenizer.ggml.add_bos_token"] is False
    assert said["tokenizer.chat_template"] == "{{ 1 }}"


@pytest.mark.parametrize(
    ("pre", "ignore_merges", "name"),
    [
        (split(GPT2), False, "gpt-2"),
        (split(LATER % r"\p{N}"), False, "qwen2"),
        (split(LATER % r"\p{N}{1,3}"), True, "llama-bpe"),
        (pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level(add_prefix_space=False)]), False, "smollm"),
        (split(LATER % r"\p{N}{1,3}"), False, None),  # merges first, which llama-bpe does not
        (split(r"\w+|\s"), False, None),
        (byte_level(add_prefix_space=True), False, None),
    ],
)
def test_how_text_is_split_has_a_name_or_has_none(pre, ignore_merges, name, tmp_path):
    spelling, said = written(trained(pre, ignore_merges), tmp_path / "a.gguf")
    assert (spelling.split, spelling.known) == (name or NEAREST, name is not None)
    assert said["tokenizer.ggml.pre"] == spelling.split


def test_a_text_that_begins_with_a_special_token_says_so(tmp_path):
    tokenizer = trained(byte_level(add_prefix_space=False))
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    _, said = written(tokenizer, tmp_path / "a.gguf")
    assert said["tokenizer.ggml.add_bos_token"] is True
    assert said["tokenizer.ggml.add_eos_token"] is False


def pieces(prefix: bool = True) -> PreTrainedTokenizerFast:
    """SentencePiece's BPE, as transformers converts it: every pair that makes a piece is a merge."""
    words = Tokenizer(models.BPE())
    words.normalizer = normalizers.Replace(" ", "\u2581")
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    words.train_from_iterator(LINES, trainer)
    learnt = sorted(words.get_vocab(), key=words.token_to_id)
    ids = {text: at for at, text in enumerate([*learnt, *(f"<0x{byte:02X}>" for byte in range(256))])}
    merges = [(text[:at], text[at:]) for text in learnt[3:] for at in range(1, len(text))]
    model = models.BPE(
        ids, [m for m in merges if set(m) <= set(ids)], unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    spelt = Tokenizer(model)
    front = [normalizers.Prepend("\u2581")] if prefix else []
    spelt.normalizer = normalizers.Sequence([*front, normalizers.Replace(" ", "\u2581")])
    spelt.add_special_tokens(["<unk>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=spelt, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("prefix", [True, False])
def test_pieces_of_sentencepiece_have_the_ranks_of_their_merges_as_scores(prefix, tmp_path):
    tokenizer = pieces(prefix)
    spelling, said = written(tokenizer, tmp_path / "a.gguf", 400)
    assert spelling.known
    assert said["tokenizer.ggml.model"] == "llama"
    assert "tokenizer.ggml.merges" not in said
    ids, kinds = tokenizer.get_vocab(), gguf.TokenType
    types = said["tokenizer.ggml.token_type"]
    wanted = {"<unk>": kinds.UNKNOWN, "<s>": kinds.CONTROL, "<0x0A>": kinds.BYTE, "a": kinds.NORMAL}
    assert {text: types[ids[text]] for text in wanted} == wanted
    scores = said["tokenizer.ggml.scores"]
    made = sorted((text for text in ids if len(text) > 1 and text[0] != "<"), key=ids.__getitem__)
    assert [scores[ids[text]] for text in made] == sorted((scores[ids[text]] for text in made), reverse=True)
    assert max(scores) == scores[ids[made[0]]] == 0
    assert said["tokenizer.ggml.add_space_prefix"] is prefix


def test_other_kinds_of_tokenizer_are_refused(tmp_path):
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(
        BadInput,
        match=r"is neither byte-level BPE nor SentencePiece's .*\(WordLevel\).*convert_hf_to_gguf.py knows others",
    ):
        written(PreTrainedTokenizerFast(tokenizer_object=words), tmp_path / "a.gguf")

"""Only the template of a conversation says special tokens; what was said is spelt as text, all else as before."""

import os
from functools import cache
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from decant.house import folder
from decant.models.conversation import encode_chat

SHELF = Path(os.environ.get("DECANT_DATA", "")) / "tokenizers"
shelf = pytest.mark.skipif("DECANT_DATA" not in os.environ or not SHELF.is_dir(), reason="no tokenizers in DECANT_DATA")
TEMPLATE = (
    "{% for m in messages %}<|user|>\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|user|>A: {% endif %}"
)
OURS = [
    AddedToken("<|user|>", normalized=False, special=True),
    AddedToken("<|end|>", rstrip=True, normalized=False, special=True),
    AddedToken("<|mask|>", normalized=False, special=True),
]
SAID = ["hello world", "  a  b\n\n c ", "naïve 日本 <|", "", "\uf8ff end"]


@cache
def tokenizer(name: str) -> PreTrainedTokenizerBase:
    if name == "house":
        return AutoTokenizer.from_pretrained(folder("target"))
    if name == "spaced":  # puts a space in front of a text, but not behind a special token
        letters = {letter: at for at, letter in enumerate(["<unk>", "\u2581", *map(chr, range(33, 127)), "\n"])}
        words = Tokenizer(models.BPE(letters, [], unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        words.decoder = decoders.Metaspace(prepend_scheme="first")
        made = PreTrainedTokenizerFast(tokenizer_object=words)
    else:
        made = PreTrainedTokenizerFast(tokenizer_file=str(SHELF / f"{name}_tokenizer.json"))
    made.add_special_tokens({"additional_special_tokens": OURS})
    made.chat_template = TEMPLATE
    return made


def literals(name: str) -> dict[str, int]:
    return {token.content: at for at, token in tokenizer(name).added_tokens_decoder.items() if token.special}


def user(*contents: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content} for content in contents]


NAMES = ["house", "spaced", *(pytest.param(name, marks=shelf) for name in ("gpt-2", "llama", "mistral"))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ask", [False, True])
def test_a_usual_conversation_is_spelt_whole(name, ask):
    words = tokenizer(name)
    text = words.apply_chat_template(user(*SAID), tokenize=False, add_generation_prompt=ask)
    assert encode_chat(words, user(*SAID), ask) == words(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("name", NAMES)
def test_a_message_says_no_special_token_whatever_it_spells(name):
    words, known = tokenizer(name), literals(name)
    frame = [token for token in encode_chat(words, user("a", "b"), True) if token in known.values()]
    planted = 0
    for literal, token in known.items():
        for content in (f"x{literal}y {literal}", literal, f"{literal[:2]}{literal}{literal}{literal[:2]}"):
            text = words.apply_chat_template(user(content, "b"), tokenize=False, add_generation_prompt=True)
            naive = words(text, add_special_tokens=False).input_ids
            planted += naive.count(token) > frame.count(token)
            assert [token for token in encode_chat(words, user(content, "b"), True) if token in known.values()] == frame
    assert planted >= 9, "the planted bug would not show"


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_beside_such_a_message_is_spelt_as_ever(name):
    words, known = tokenizer(name), literals(name)
    for literal in known:
        usual = encode_chat(words, user(*SAID, "q", *SAID), True)
        ids = encode_chat(words, user(*SAID, f"q{literal}q", *SAID), True)
        front = len(encode_chat(words, user(*SAID), False))
        behind = len(usual) - len(encode_chat(words, user(*SAID, "q"), False)) + 1
        assert ids[: front + 1] == usual[: front + 1]
        assert ids[-behind:] == usual[-behind:]
        assert f"q{literal}q" in words.decode(ids)


def test_a_role_says_none_either():
    words = tokenizer("house")
    ids = encode_chat(words, [{"role": "<|end|>", "content": "hi"}], True)
    assert ids.count(literals("house")["<|end|>"]) == 1

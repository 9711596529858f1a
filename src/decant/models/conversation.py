"""Conversations through a chat template, in which only the template says special tokens.

What somebody wrote is hidden from the template where it spells one: each literal stands as a letter of private use
until the template's own special tokens are ids.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from transformers import PreTrainedTokenizerBase

PRIVATE: Final = range(0xF0000, 0xFFFFE)  # a plane of letters without a meaning
ANCHOR: Final = "\n"  # joins nothing behind it, in any tokenizer that puts a space in front of texts

SPACE: Final = r"\s*"


def encode_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], ask: bool) -> list[int]:
    """Ids of a conversation; `ask`: up to where the assistant speaks."""
    literals = re.compile("|".join(map(re.escape, sorted(_specials(tokenizer), key=len, reverse=True))) or r"(?!)")
    said = [value for message in messages for value in message.values() if isinstance(value, str)]
    spelt = {literal: None for value in said for literal in literals.findall(value)}
    whole = "".join(said)
    letters = (chr(code) for code in PRIVATE if chr(code) not in whole)
    hidden = dict(zip(spelt, letters, strict=False))
    masked = [
        {
            key: literals.sub(lambda found: hidden[found[0]], value) if isinstance(value, str) else value
            for key, value in message.items()
        }
        for message in messages
    ]
    text = str(tokenizer.apply_chat_template(masked, tokenize=False, add_generation_prompt=ask))
    if not hidden:
        return list(tokenizer(text, add_special_tokens=False).input_ids)
    return _spelt(tokenizer, text, {letter: literal for literal, letter in hidden.items()})


def _spelt(tokenizer: PreTrainedTokenizerBase, text: str, written: Mapping[str, str]) -> list[int]:
    """Special tokens of the text as their ids, everything between as text. written: what letters stand for."""
    ids: list[int] = []
    begin, before = 0, ""
    for mark in [*_marks(tokenizer).finditer(text), None]:
        plain = text[begin : len(text) if mark is None else mark.start()]
        restored = "".join(written.get(letter, letter) for letter in plain)
        if restored:
            front = ANCHOR if before and not _alone(tokenizer, before) else ""
            skipped = len(_plain(tokenizer, front)) if front else 0
            ids += _plain(tokenizer, front + restored)[skipped:]
        if mark is not None:
            before = mark[0].strip()
            ids.append(_specials(tokenizer)[before])
            begin = mark.end()
    return ids


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)


def _specials(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    return {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}


def _marks(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Special tokens in a text, with the white space that they swallow."""
    tokens = sorted(tokenizer.added_tokens_decoder.values(), key=lambda token: len(token.content), reverse=True)
    each = [SPACE * token.lstrip + re.escape(token.content) + SPACE * token.rstrip for token in tokens if token.special]
    return re.compile("|".join(each) or r"(?!)")


def _alone(tokenizer: PreTrainedTokenizerBase, literal: str) -> bool:
    """Whether a text behind this special token begins as it does by itself: some put a space in front of the latter."""
    return list(tokenizer(f"{literal}x", add_special_tokens=False).input_ids)[1:] == _plain(tokenizer, "x")

"""The mask as a token of a tokenizer: other programs see its name, and text that spells the name is text."""

import copy
from pathlib import Path
from typing import Final

from transformers import AddedToken, PreTrainedTokenizerBase

from decant.models.masked.convention import Convention

NAMES: Final = ("<|mask|>", "<|mdm_mask|>")  # Dream's, LLaDA's


def known_ids(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the largest id; a model may have more rows than that."""
    return max(tokenizer.get_vocab().values()) + 1


def with_mask(tokenizer: PreTrainedTokenizerBase, convention: Convention) -> PreTrainedTokenizerBase:
    """A copy with one more special token, the mask's, if that is the next free id; else the tokenizer as it is."""
    if convention.mask_token_id != known_ids(tokenizer):
        return tokenizer
    named = copy.deepcopy(tokenizer)
    name = next(name for name in NAMES if name not in tokenizer.get_vocab())
    named.add_special_tokens({"mask_token": AddedToken(name, normalized=False, special=True)})
    return named


def write_words(tokenizer: PreTrainedTokenizerBase, convention: Convention | None, folder: Path) -> None:
    """The tokenizer's files of a model folder; None: of a model that fills in no masks."""
    (tokenizer if convention is None else with_mask(tokenizer, convention)).save_pretrained(folder)

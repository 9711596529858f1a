"""The tokenizer of the house: byte-level BPE, 4,096 entries, digits one by one, every text comes back unchanged.

`special` ids come first, then the 256 bytes, then the merges, so that ids mean the same in every rebuild of the
folder format. `folder_files` writes what transformers' AutoTokenizer reads.
Source: Sennrich et al. 2016, arXiv:1508.07909 (byte-pair encoding).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB: Final = 4096
END_OF_TEXT: Final = "<|endoftext|>"
USER: Final = "<|user|>"
ASSISTANT: Final = "<|assistant|>"
END: Final = "<|end|>"
PAD: Final = "<|pad|>"
SPECIAL: Final = (END_OF_TEXT, USER, ASSISTANT, END, PAD)
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% else %}{{ '<|user|>\\n' + message['content'] + '<|end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
# Words with their leading space or mark, runs of spaces up to the last, runs of marks; a digit always stands alone.
SPLIT: Final = r"\d| ?[A-Za-z_]+| ?[^\s\dA-Za-z_]+|\n+|[^\S\n]+(?!\S)|\s"


def train(texts: Iterable[str], vocab: int = VOCAB, split: str = SPLIT) -> Tokenizer:
    """Fit the merges; the same texts in the same order give the same tokenizer.

    vocab, split: the house's own, or another's to draft across vocabularies.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_folder(tokenizer: Tokenizer, folder: Path) -> None:
    """Add tokenizer.json and tokenizer_config.json to a model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [END_OF_TEXT, USER, ASSISTANT],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def ids(words: Tokenizer, *tokens: str) -> tuple[int, ...]:
    """The ids of tokens that the vocabulary is known to hold."""
    return tuple(words.encode(token).ids[0] for token in tokens)


def chat(prompt: str) -> str:
    """A question in the chat template, ready for its answer."""
    return f"{USER}\n{prompt}{END}\n{ASSISTANT}\n"

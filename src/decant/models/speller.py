"""A model's tokenizer by itself: how its texts and conversations become ids, without its weights."""

from dataclasses import dataclass
from typing import final

from transformers import PreTrainedTokenizerBase

from decant.errors import BadInput
from decant.models.conversation import encode_chat


@final
@dataclass(frozen=True, slots=True, eq=False)
class Speller:
    """name: the model's, as the user typed it."""

    name: str
    tokenizer: PreTrainedTokenizerBase

    def encode(self, text: str) -> list[int]:
        """Prompt ids, with the special tokens that the tokenizer puts in front. Text never spells a special token."""
        ids = self.tokenizer(text, split_special_tokens=True).input_ids
        if not ids:
            raise BadInput("an empty prompt: a language model needs at least one token to continue")
        return list(ids)

    def encode_chat(self, messages: list[dict[str, str]], ask: bool = True) -> list[int]:
        """Ids of a conversation; `ask`: up to where the assistant speaks. What a message says never spells a special
        token. Raises BadInput without a chat template."""
        if not self.chats:
            raise BadInput(f"{self.name} has no chat template; give the prompt as plain text")
        return encode_chat(self.tokenizer, messages, ask)

    def inner(self, text: str) -> list[int]:
        """Ids of a text as it stands amid others: nothing is put in front; of any length, perhaps none."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False).input_ids
        return list(ids)

    @property
    def chats(self) -> bool:
        """Whether there is a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def same(self, other: "Speller") -> bool:
        """Whether both spell every text with the same ids; a mask, which no text spells, may be one's alone."""
        mine, theirs = self.tokenizer, other.tokenizer
        sample = "Hello, world!  12345\n\tnaïve 日本 <|end|>"
        return _words(mine) == _words(theirs) and mine(sample).input_ids == theirs(sample).input_ids


def _words(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    mask = getattr(tokenizer, "mask_token", None)
    return {word: number for word, number in tokenizer.get_vocab().items() if word != mask}

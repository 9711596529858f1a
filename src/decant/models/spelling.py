"""What the tokens of a tokenizer write, as bytes: byte-level BPE and SentencePiece's pieces.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (a byte is a visible character);
Kudo & Richardson 2018, arXiv:1808.06226 (U+2581 is a space; bytes that no piece writes are <0xNN>).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, final

from transformers import PreTrainedTokenizerBase

from decant.errors import BadInput
from decant.models.loaded import Loaded
from decant.vocab.bridge import Bridge
from decant.vocab.vocabulary import Vocabulary

SPACE = "\u2581"
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
ROLES = ("bos", "eos", "pad", "unk")
ANCHOR = b"\n"  # joins nothing behind it, in any tokenizer that puts a space in front of texts


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes | None]:
    """What each id writes; None for special tokens, for unused ids and for a byte that an ordinary token writes too.

    A text's ids give its bytes back, with a space in front where the tokenizer puts one there (`Vocabulary.front`), and
    as far as the tokenizer does not normalise texts. Raises BadInput for a tokenizer of another kind (WordPiece).
    """
    kinds = _decoders(tokenizer)
    pieces: list[bytes | None] = [None] * (max(tokenizer.get_vocab().values()) + 1)
    second: list[tuple[int, bytes]] = []
    alphabet = _alphabet()
    for text, token in tokenizer.get_vocab().items():
        byte = BYTE.fullmatch(text) if "ByteFallback" in kinds else None
        if byte is not None:
            second.append((token, bytes.fromhex(byte[1])))
        elif "ByteLevel" in kinds:
            known = all(letter in alphabet for letter in text)
            pieces[token] = bytes(alphabet[letter] for letter in text) if known else text.encode()
        else:
            pieces[token] = text.replace(SPACE, " ").encode()
    for token, added in tokenizer.added_tokens_decoder.items():
        pieces[token] = None if added.special else added.content.encode()
    written = set(pieces)
    for token, byte in second:
        pieces[token] = None if byte in written else byte
    return pieces


def vocabulary(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """Everything that `vocab` has to know of a tokenizer. Raises BadInput as `token_bytes` does."""
    pieces = token_bytes(tokenizer)
    plain = Vocabulary(pieces)
    letter = list(tokenizer("x", add_special_tokens=False).input_ids)
    front = plain.bytes_of(letter).removesuffix(b"x")
    whole = list(tokenizer("x").input_ids)
    opening = next((whole[:at] for at in range(len(whole)) if whole[at:][: len(letter)] == letter), [])
    added = tokenizer.added_tokens_decoder.items()
    roles = {role: getattr(tokenizer, f"{role}_token_id", None) for role in ROLES}
    return Vocabulary(
        pieces,
        {token.content: number for number, token in added if token.special},
        {role: number for role, number in roles.items() if number is not None},
        _Encoder(tokenizer, plain, front),
        front,
        tuple(opening),
    )


def between(target: Loaded, draft: Loaded) -> Bridge:
    """How `draft` may guess for `target`. Raises BadInput without tokenizer files, or for one of an unknown kind."""
    for loaded in (target, draft):
        if loaded.tokenizer is None:
            raise BadInput(f"{loaded.name} has no tokenizer files; put tokenizer.json beside the weights")
    assert target.tokenizer is not None
    assert draft.tokenizer is not None
    sizes = (target.model.vocab, draft.model.vocab)
    device = target.model.network.device
    return Bridge.between(vocabulary(target.tokenizer), vocabulary(draft.tokenizer), sizes, device)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Encoder:
    """Ids of texts that continue others, as the tokenizer itself chooses them.

    An anchor in front takes the space that a tokenizer may put there, and is cut off again. Where that fails (half a
    character, a text that is normalised) the longest pieces that fit are taken.
    """

    tokenizer: PreTrainedTokenizerBase
    plain: Vocabulary
    front: bytes

    def __call__(self, texts: Sequence[bytes]) -> list[list[int]]:
        anchor = ANCHOR if self.front else b""
        whole = [anchor + text for text in texts]
        readable = [text.decode(errors="replace") for text in whole]
        spelt = self.tokenizer(readable, add_special_tokens=False, split_special_tokens=True).input_ids if texts else []
        return [self._cut(list(ids), text, len(self.front + anchor)) for ids, text in zip(spelt, whole, strict=True)]

    def _cut(self, ids: list[int], text: bytes, begin: int) -> list[int]:
        ends = list(accumulate((len(self.plain.pieces[token] or b"") for token in ids), initial=0))
        if begin in ends and self.plain.bytes_of(ids) == self.front + text:
            return ids[ends.index(begin) :]
        return self.plain.fitted((self.front + text)[begin:])


def _decoders(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The kinds of a fast tokenizer's decoder, its parts included."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        raise BadInput(f"{type(tokenizer).__name__} does not say how its tokens are decoded; tokenizer.json is needed")
    state = json.loads(backend.decoder.__getstate__())
    parts = [state, *state.get("decoders", [])]
    kinds = {part["type"] for part in parts}
    spaces = "Metaspace" in kinds or any(part.get("pattern") == {"String": SPACE} for part in parts)
    if "ByteLevel" not in kinds and not spaces:
        raise BadInput(
            f"{type(tokenizer).__name__} writes neither bytes nor pieces of SentencePiece (its decoder: "
            f"{', '.join(sorted(kinds))}), so its tokens cannot be compared with another's; take another draft"
        )
    return kinds


@cache
def _alphabet() -> dict[str, int]:
    """Character -> byte: visible Latin-1 stands for itself, the rest follows from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + at): byte for at, byte in enumerate(hidden)}

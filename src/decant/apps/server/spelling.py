"""What single tokens are called in an answer."""

from dataclasses import dataclass
from typing import final

from decant.errors import BadInput
from decant.models.load import Loaded
from decant.models.spelling import token_bytes


@final
@dataclass(frozen=True, slots=True)
class Spelling:
    """pieces: what each id writes; None for special tokens. names: of those that write nothing."""

    pieces: tuple[bytes | None, ...]
    names: dict[int, str]

    @classmethod
    def of(cls, target: Loaded) -> "Spelling":
        """Raises BadInput for a model without tokenizer files: a server reads and writes texts."""
        if target.tokenizer is None:
            raise BadInput(f"{target.name} has no tokenizer files; put tokenizer.json beside the weights")
        names = {token: text for text, token in target.tokenizer.get_vocab().items()}
        try:
            pieces = token_bytes(target.tokenizer)
        except BadInput:  # of a kind whose bytes nobody knows: names must do
            pieces = []
        return cls(tuple(pieces), {token: name for token, name in names.items() if _at(pieces, token) is None})

    def bytes(self, token: int) -> bytes | None:
        """What it writes."""
        return _at(self.pieces, token)

    def text(self, token: int) -> str:
        """The same as text; of a part of a character its bytes, as `bytes:\\xe6`; of a special token its name."""
        spelt = self.bytes(token)
        if spelt is None:
            return self.names.get(token, "")
        try:
            return spelt.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelt)


def _at(pieces: "tuple[bytes | None, ...] | list[bytes | None]", token: int) -> bytes | None:
    return pieces[token] if token < len(pieces) else None

"""A named composition, ready to decode."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

from decant.protocols import AnyDecoder

PLAIN: Final = "plain"
"""What methods are measured against: the model's tokens one at a time."""
Promise = Literal["tokens", "distribution"]


@final
@dataclass(frozen=True, slots=True)
class Method:
    """One row of the catalogue with its parts in place.

    name:    as the user typed it, knobs included.
    promise: "tokens": the same seed gives plain decoding's very tokens; "distribution": tokens follow plain decoding's
        law; None: neither, the method is declared lossy.
    knobs:   of whatever makes it lossy, defaults too; JSON-ready.
    coupled: whether its draws are plain decoding's, so that two texts of one seed can be compared.
    """

    name: str
    decoder: AnyDecoder
    promise: Promise | None
    knobs: Mapping[str, Any] = field(default_factory=dict, compare=False)
    coupled: bool = True

    @property
    def exact(self) -> bool:
        """Whether nothing is lost."""
        return self.promise is not None

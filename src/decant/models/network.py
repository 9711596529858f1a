"""What `Causal` drives: a forward pass, and the cache that it writes.

Two networks answer to it: `fast.lean.Lean`, whose rows are packed and whose requests have caches of their own, and
`padded.Padded`, any model of transformers on a grid of requests by columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, final

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from decant.models.rows import RowClass, Widths
from decant.models.spans import Span


@final
@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Rows of all spans, in order. hidden_RD: the wanted layers', concatenated; None where none was wanted."""

    logits_RV: Tensor
    hidden_RD: Tensor | None = None


def together(parts: Sequence[Outcome], axis: int = 0) -> Outcome:
    """Rows of several forwards, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    hidden = [part.hidden_RD for part in parts if part.hidden_RD is not None]
    return Outcome(torch.cat([part.logits_RV for part in parts], axis), torch.cat(hidden, axis) if hidden else None)


def stored_bytes(weight: Tensor) -> int:
    """As it lies in memory, packed or not."""
    if weight.is_mkldnn:
        return torch.ops.mkldnn._nbytes(weight)
    return weight.numel() * weight.element_size()


class Cache(Protocol):
    """Keys and values of the requests in flight."""

    def owns(self) -> bool:
        """Whether what lies behind the committed slots is still what this cache's own contexts wrote there."""
        ...

    def claim(self, cached: Sequence[int]) -> None:
        """Make it so, before anything is written: of a request whose slots are another's by now, copy the first
        `cached`."""
        ...

    def move(self, request: int, sources: list[int], first: int) -> None:
        """Gather the rows in slots `sources` of one request into the slots from `first` on."""
        ...

    def chunk(self, request: int, first: int, stop: int) -> Tensor:
        """A copy of some slots, for `restore`; of networks that keep chunks."""
        ...

    def restore(self, request: int, first: int, rows: Tensor) -> None:
        """Put a chunk into the slots from `first` on."""
        ...

    def select(self, rows: list[int]) -> Self:
        """Requests `rows`. What these write this cache does not show, and the other way round."""
        ...

    def join(self, other: Self) -> Self:
        """These requests, then the other's."""
        ...


class Network(Protocol):
    """A causal language model."""

    keeps_chunks: ClassVar[bool]
    """Whether chunks of its cache can be put aside for other requests."""

    @property
    def architecture(self) -> str:
        """The name that transformers has for it."""
        ...

    @property
    def config(self) -> PreTrainedConfig: ...

    @property
    def dtype(self) -> torch.dtype:
        """Of activations and cache."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def coarse(self) -> bool:
        """Whether results are rounded so coarsely that a last bit may move them by a percent."""
        ...

    @property
    def loops(self) -> Widths:
        """Elementwise loops over exp, for `rows.whole`."""
        ...

    def weight_bytes(self) -> int:
        """What a forward of one row reads of the weights, at least."""
        ...

    @property
    def positions(self) -> int:
        """That it was made for."""
        ...

    def token_bytes(self) -> int:
        """Keys and values of one token."""
        ...

    def cache_bytes(self, slots: Sequence[int]) -> int:
        """Of a cache of requests with so many slots in use each."""
        ...

    def embedded(self, ids_X: Tensor) -> Tensor:
        """fed_XD: what enters the first layer for each id."""
        ...

    def cache(self, requests: int) -> Any:
        """An empty cache."""
        ...

    def holds(self, rows: RowClass, requests: int) -> bool:
        """Whether so many requests can be scored together inside the class."""
        ...

    def prefill(self, cache: Any, spans: Sequence[Span], layers: tuple[int, ...], logits: bool) -> Outcome:
        """Rows of prompts, at most one chunk of each: not held in any class, since every way of decoding shares them.
        One span for each request of the cache, in order; some may be empty.

        logits: False leaves them out ([R, 0]).
        """
        ...

    def score(
        self, cache: Any, spans: Sequence[Span], layers: tuple[int, ...], rows: RowClass | None, steady: bool
    ) -> Outcome:
        """Rows to be judged. rows: the class that forwards must keep to. steady: attention and linears of exact mode,
        also while a class is looked for."""
        ...

"""A KV cache of fixed slots: drafted rows lie behind the committed ones, and an accepted path is moved together.

Slot and position agree for committed tokens; node i of a draft lies in slot `length + i`. One slot behind the capacity
takes the rows that only fill a shape.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

GRAIN = 256  # slots; growing by more wastes memory, by less copies more often


@final
class Plan:
    """Where the next forward writes, and how far it reads: shared by all layers of one store."""

    def __init__(self) -> None:
        self.capacity = 0
        self.width = 0  # slots that attention reads
        self.start: int | None = None  # first slot written, where every request writes the same run of slots
        self.slot_BQ: Tensor | None = None  # else: the slot of every new row


class SlotLayer(CacheLayerMixin):  # transformers' own seam: not final, its metaclass registers subclasses
    """One layer's keys and values, [B, heads, capacity + 1, width], allocated apart because their widths may differ."""

    is_sliding = False

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate at the first write."""
        slots = self.plan.capacity + 1
        self.keys = key_states.new_zeros(*key_states.shape[:2], slots, key_states.shape[3])
        self.values = value_states.new_zeros(*value_states.shape[:2], slots, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **extra: Any) -> tuple[Tensor, Tensor]:
        """Write the new rows into their slots; return all slots that attention reads."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        plan = self.plan
        keys, values = _grown(self.keys, plan.capacity), _grown(self.values, plan.capacity)
        if plan.start is not None:
            run = slice(plan.start, plan.start + key_states.shape[2])
            keys[:, :, run], values[:, :, run] = key_states, value_states
        else:
            row_B1 = torch.arange(len(key_states), device=key_states.device)[:, None]
            keys[row_B1, :, plan.slot_BQ] = key_states.transpose(1, 2)
            values[row_B1, :, plan.slot_BQ] = value_states.transpose(1, 2)
        self.keys, self.values = keys, values
        return keys[:, :, : plan.width], values[:, :, : plan.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Key width and offset; only asked where a model builds masks of its own."""
        return self.plan.width, 0

    def get_seq_length(self) -> int:
        """Slots in front of the next write."""
        return self.plan.start or 0

    def get_max_length(self) -> int:
        """No maximum: the store grows."""
        return -1


@final
class Store:
    """The cache of a batch: what transformers calls `past_key_values`, and the moves that drafts need."""

    def __init__(self, layers: int, requests: int) -> None:
        self.plan, self.requests = Plan(), requests
        self.layers = [SlotLayer(self.plan) for _ in range(layers)]
        self.cache = Cache(layers=list(self.layers))

    def reserve(self, slots: int) -> None:
        """Make room for `slots` slots."""
        if slots > self.plan.capacity:
            self.plan.capacity = -(-slots // GRAIN) * GRAIN

    def move(self, request: int, sources: list[int], first: int) -> None:
        """Gather the rows in slots `sources` of one request into the slots from `first` on."""
        run = slice(first, first + len(sources))
        for layer in self._filled():
            layer.keys[request, :, run] = layer.keys[request][:, sources]  # an index copies: the two may overlap
            layer.values[request, :, run] = layer.values[request][:, sources]

    def owns(self) -> bool:
        """Always: what is selected or joined is a copy."""
        return True

    def claim(self, cached: Sequence[int]) -> None:
        """Nobody else writes here."""

    def token_bytes(self) -> int:
        """Keys and values of one token; 0 where nothing was written yet."""
        rows = [rows for layer in self._filled() for rows in (layer.keys, layer.values)]
        return sum(rows[0, :, 0].numel() * rows.element_size() for rows in rows)

    def select(self, rows: list[int]) -> "Store":
        """A copy that holds the requests `rows`."""
        return self._like(
            [(layer.keys[rows], layer.values[rows]) for layer in self._filled()], self.plan.capacity, len(rows)
        )

    def join(self, other: "Store") -> "Store":
        """A copy that holds these requests, then the other's."""
        capacity = max(self.plan.capacity, other.plan.capacity)
        pairs = []
        for one, two in zip(self.layers, other.layers, strict=True):
            if one.is_initialized or two.is_initialized:  # prompts of one token have cached nothing yet
                mine, theirs = _rows(one, two, self.requests), _rows(two, one, other.requests)
                joined = [
                    torch.cat([_grown(a, capacity), _grown(b, capacity)]) for a, b in zip(mine, theirs, strict=True)
                ]
                pairs.append((joined[0], joined[1]))
        return self._like(pairs, capacity, self.requests + other.requests)

    def _like(self, tensors: list[tuple[Tensor, Tensor]], capacity: int, requests: int) -> "Store":
        store = Store(len(self.layers), requests)
        store.plan.capacity = capacity
        for layer, (keys, values) in zip(store.layers, tensors, strict=False):
            layer.keys, layer.values, layer.is_initialized = keys, values, True
        return store

    def _filled(self) -> list[Any]:
        return [layer for layer in self.layers if layer.is_initialized]


def _rows(layer: Any, other: Any, requests: int) -> tuple[Tensor, Tensor]:
    """Keys and values; zeros of the other's shape where nothing was written yet."""
    if layer.is_initialized:
        return layer.keys, layer.values
    return tuple(rows.new_zeros(requests, *rows.shape[1:]) for rows in (other.keys, other.values))  # type: ignore[return-value]


def _grown(rows: Any, capacity: int) -> Any:
    """`rows` with capacity + 1 slots; the spare slot's content never counts."""
    missing = capacity + 1 - rows.shape[2]
    return torch.nn.functional.pad(rows, (0, 0, 0, missing)) if missing > 0 else rows

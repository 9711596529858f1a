"""The Llama family without ceremony: about fifteen calls a layer where transformers makes fifty.

Rows of all requests are packed: products see no padding, and attention goes request by request (`mixing.py`). What is
computed is what transformers computes, up to rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import embedding, layer_norm, pad, rms_norm
from transformers import PreTrainedConfig

from decant.models.attention import KEYS
from decant.models.fast.births import Births, Ward
from decant.models.fast.lanes import Lanes
from decant.models.fast.mixing import mixing
from decant.models.fast.products import Gated, Packed, Plain, Product
from decant.models.network import Outcome, stored_bytes, together
from decant.models.rows import RowClass
from decant.models.spans import Span, blocks

TABLE = 4096  # positions that the table of angles grows by
Mixer = Callable[[int, Tensor, Tensor, Tensor, float], Tensor]
"""(layer, query_RHW, key_RKW, value_RKW, scale) -> mixed_RHW, the keys and values put into a cache."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """Root mean square over the last axis."""

    weight: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight.shape, self.weight, self.eps)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Centred:
    """Mean and variance over the last axis."""

    weight: Tensor
    bias: Tensor | None
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bare:
    """No norm: what layers in the middle of a model hand on."""

    def __call__(self, x: Tensor) -> Tensor:
        return x


@final
@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One block. `read`: queries, keys and values in one product; `write`: what was mixed, into the residual."""

    first_norm: Norm | Centred
    read: Product
    write: Product
    second_norm: Norm | Centred
    gated: Gated
    down: Product
    query_norm: Norm | Centred | None
    key_norm: Norm | Centred | None
    scale: float


@final
class Angles:
    """cos and sin of every position, in the model's dtype as in transformers; the table grows with the context.

    The sine carries the sign of `rotate_half`, so that a roll does for it.
    """

    def __init__(self, rotary: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.rotary, self.like = rotary, torch.empty(0, dtype=dtype, device=device)
        self.cos_PW = self.sin_PW = self.like

    def at(self, position_R: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """cos_R1W, sin_R1W; reach: above every position."""
        if reach > self.cos_PW.shape[0]:
            self._grow(-(-reach // TABLE) * TABLE)
        return self.cos_PW[position_R][:, None], self.sin_PW[position_R][:, None]

    def _grow(self, positions: int) -> None:
        cos_1PW, sin_1PW = self.rotary(self.like, torch.arange(positions, device=self.like.device)[None])
        half = sin_1PW.shape[-1] // 2
        self.cos_PW, self.sin_PW = cos_1PW[0], torch.cat([-sin_1PW[0, :, :half], sin_1PW[0, :, half:]], -1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Lean:
    """A loaded model of the family: a `Network`.

    width:     of a head.
    positions: that the model was made for.
    window:    positions that a row sees, itself included; 0: all.
    lone:      rows that a forward is filled up to outside exact mode, where kernels are tuned for several
        (`rows.cheapest`).
    lowest:    where its first layer lies in the cache: above 0 for a stretch of a model, which is fed by `Span.fed_QD`.
    births:    rows of a draft that enter above the first layer.
    """

    architecture: str
    config: PreTrainedConfig
    table: Tensor
    layers: Sequence[Layer]
    norm: Norm | Centred | Bare
    head: Product
    angles: Angles
    heads: int
    kv_heads: int
    width: int
    positions: int
    window: int = 0
    lone: int = 1
    lowest: int = 0
    births: Births | None = None
    keeps_chunks: ClassVar[bool] = True

    @property
    def dtype(self) -> torch.dtype:
        """Of activations and cache."""
        return self.table.dtype

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return self.table.device

    @property
    def loops(self) -> set[tuple[int, int]]:
        """Elementwise loops over exp."""
        return {loop for layer in self.layers for loop in layer.gated.loops} if self.device.type == "cpu" else set()

    @property
    def coarse(self) -> bool:
        """Whether results are rounded so coarsely that a last bit may move them by a percent."""
        return self.dtype != torch.float32 or not isinstance(self.head, Packed | Plain)

    @property
    def packed(self) -> int:
        """How many weights are in oneDNN's layout."""
        return sum(weight.is_mkldnn for weight in _tensors((self.layers, self.head)))

    def upto(self, count: int) -> "Lean":
        """Its first `count` layers, then its norm and head: an early exit. Weights are shared; the cache may be, which
        holds the lower layers' rows where this one looks for them (`early_exit.py`).

        Source: Elhoushi et al. 2024 (LayerSkip), arXiv:2404.16710.
        """
        return replace(self, layers=self.layers[:count])

    def stretch(self, cache: Lanes, spans: Sequence[Span], lowest: int, highest: int) -> Tensor:
        """hidden_RD of some rows behind layers [lowest, highest), before any norm; above the first they are fed. Spans
        of one request come in the order of their slots."""
        part = replace(self, layers=self.layers[lowest:highest], norm=Bare(), lowest=lowest)
        rows = sum(span.count for span in spans)
        hidden_RD = part._forward(cache, spans, (-1,), filled=max(rows, self.lone), logits=False).hidden_RD
        assert hidden_RD is not None
        return hidden_RD

    def speak(self, hidden_RD: Tensor) -> Tensor:
        """logits_RV: what the norm and the head make of such rows."""
        rows = len(hidden_RD)
        return self.head(self.norm(pad(hidden_RD, (0, 0, 0, max(0, self.lone - rows)))))[:rows]

    def weight_bytes(self) -> int:
        """What a forward of one row reads of the weights; of the embedding it reads a line."""
        return sum(map(stored_bytes, _tensors((self.layers, self.norm, self.head, self.births))))

    def token_bytes(self) -> int:
        """Keys and values of one token."""
        return len(self.layers) * 2 * self.kv_heads * self.width * self.dtype.itemsize

    def cache_bytes(self, slots: Sequence[int]) -> int:
        """Lanes grow in whole blocks."""
        return sum(-(-count // KEYS) * KEYS for count in slots) * self.token_bytes()

    def embedded(self, ids_X: Tensor) -> Tensor:
        """fed_XD: what enters the first layer for each id."""
        return embedding(ids_X, self.table)

    def cache(self, requests: int) -> Lanes:
        """An empty one."""
        return Lanes.empty(requests, (len(self.layers), self.kv_heads, self.width), self.table)

    def holds(self, rows: RowClass, requests: int) -> bool:
        """Packed rows can be cut anywhere."""
        return True

    def prefill(self, cache: Lanes, spans: Sequence[Span], layers: tuple[int, ...], logits: bool) -> Outcome:
        """Each request alone, so that no prompt knows of another."""
        outs = [self._forward(cache, [span], layers, logits=logits) for span in spans if span.count]
        return together(outs) if outs else Outcome(self.table.new_empty(0, 0))

    def score(
        self, cache: Lanes, spans: Sequence[Span], layers: tuple[int, ...], rows: RowClass | None, steady: bool
    ) -> Outcome:
        """In blocks that the class holds, each filled up if short."""
        total, ward = sum(span.count for span in spans), self.births and self.births.ward()
        if rows is None:
            some, filled = [span for span in spans if span.count], max(total, self.lone)
            return self._forward(cache, some, layers, steady, filled, ward=ward)
        size = rows.columns(1)
        parts = [
            self._forward(cache, block, layers, steady, rows.fill(1, sum(span.count for span in block)), ward=ward)
            for block in blocks(spans, size)
        ]
        return together(parts)

    def _forward(
        self,
        cache: Lanes,
        spans: Sequence[Span],
        layers: tuple[int, ...],
        steady: bool = False,
        filled: int = 0,
        logits: bool = True,
        ward: Ward | None = None,
    ) -> Outcome:
        """One pass; filled: rows that the products see, at least."""
        rows = sum(span.count for span in spans)
        more = max(0, filled - rows)
        ids_R = pad(torch.cat([span.ids_Q for span in spans]).clamp_min(0), (0, more))
        # Rows behind the context's end are scored at its last position: they are cut before anybody sees them.
        position_R = torch.cat([span.positions() for span in spans]).clamp_max(self.positions - 1)
        angles = self.angles.at(pad(position_R, (0, more)).to(self.device), int(position_R.max()) + 1)
        mixer = mixing(steady, self.device)(cache, spans, self.heads // self.kv_heads, self.window, self.table)
        x_RD = self.embedded(ids_R)
        begin = 0
        for span in spans:
            if span.fed_QD is not None:
                x_RD[begin : begin + span.count] = span.fed_QD
            begin += span.count
        if ward is not None:
            ward.admit(spans)
        said = [x_RD] if layers else []
        for number, layer in enumerate(self.layers, self.lowest):
            if ward is not None:
                x_RD = ward.born(number, x_RD)
            x_RD = self.attend(layer, number, x_RD, angles, mixer)
            x_RD = layer.down.plus(layer.gated(layer.second_norm(x_RD)), x_RD)
            if layers:
                said.append(x_RD)
        if layers or logits:
            x_RD = self.norm(x_RD)
        said[-1:] = [x_RD] if said else []
        hidden_RD = torch.cat([said[layer][:rows] for layer in layers], -1) if layers else None
        return Outcome(self.head(x_RD)[:rows] if logits else x_RD.new_empty(rows, 0), hidden_RD)

    def attend(self, layer: Layer, number: int, x_RD: Tensor, angles: tuple[Tensor, Tensor], mixer: Mixer) -> Tensor:
        """Read, rotate, cache, mix, write."""
        rows, heads, kv_heads = len(x_RD), self.heads, self.kv_heads
        read_RHW = layer.read(layer.first_norm(x_RD)).view(rows, heads + 2 * kv_heads, -1)
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key, value_RKW = read_RHW.split([heads, kv_heads, kv_heads], 1)
            turned_RHW = rotate(torch.cat([layer.query_norm(query), layer.key_norm(key)], 1), *angles)
        else:
            turned_RHW, value_RKW = rotate(read_RHW[:, :-kv_heads], *angles), read_RHW[:, -kv_heads:]
        mixed_RHW = mixer(number, turned_RHW[:, :heads], turned_RHW[:, heads:], value_RKW, layer.scale)
        return layer.write.plus(mixed_RHW.reshape(rows, -1), x_RD)


def rotate(rows_RHW: Tensor, cos_R1W: Tensor, sin_R1W: Tensor) -> Tensor:
    """Source: Su et al. 2021, arXiv:2104.09864, with halves instead of pairs, as in transformers."""
    return rows_RHW * cos_R1W + rows_RHW.roll(rows_RHW.shape[-1] // 2, -1) * sin_R1W


def _tensors(part: Any) -> Iterator[Tensor]:
    """Every tensor of a part of the model."""
    if isinstance(part, Tensor):
        yield part
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            yield from _tensors(getattr(part, field.name))
    elif isinstance(part, list | tuple):
        for one in part:
            yield from _tensors(one)

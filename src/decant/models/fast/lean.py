"""The Llama family without ceremony: about fifteen calls a layer where transformers makes fifty.

`Lean` takes and gives what `Causal` takes and gives of a transformers model, so the adapter does not know which of the
two it drives. What it computes is what transformers computes, up to rounding: load compares the two and falls back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import embedding, rms_norm
from transformers import PreTrainedConfig

from decant.models.attention import mix
from decant.models.fast.int8 import Int8
from decant.models.fast.products import Plain, Product

TABLE = 4096  # positions that the table of angles grows by


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
class Layer:
    """One block. `read`: queries, keys and values in one product; `write`: what was mixed, into the residual."""

    first_norm: Norm
    read: Product
    write: Product
    second_norm: Norm
    gate: Product
    up: Product
    down: Product
    query_norm: Norm | None
    key_norm: Norm | None
    scale: float


@final
class Angles:
    """cos and sin of every position, in the model's dtype as in transformers; the table grows with the context.

    The sine carries the sign of `rotate_half`, so that a roll does for it.
    """

    def __init__(self, rotary: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.rotary, self.like = rotary, torch.empty(0, dtype=dtype, device=device)
        self.cos_PW = self.sin_PW = self.like

    def at(self, position_BQ: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """cos_BQ1W, sin_BQ1W; reach: above every position."""
        if reach > self.cos_PW.shape[0]:
            self._grow(-(-reach // TABLE) * TABLE)
        return self.cos_PW[position_BQ][:, :, None], self.sin_PW[position_BQ][:, :, None]

    def _grow(self, positions: int) -> None:
        cos_1PW, sin_1PW = self.rotary(self.like, torch.arange(positions, device=self.like.device)[None])
        half = sin_1PW.shape[-1] // 2
        self.cos_PW, self.sin_PW = cos_1PW[0], torch.cat([-sin_1PW[0, :, :half], sin_1PW[0, :, half:]], -1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """What `Causal` reads of a forward pass. hidden_states: of the embedding, of every layer; the last one normed."""

    logits: Tensor
    hidden_states: Sequence[Tensor] = ()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Lean:
    """A loaded model of the family.

    widths: (values a row, bytes a value) of its elementwise loops over exp, for `rows.whole`.
    packed: how many of its products are in oneDNN's layout.
    """

    architecture: str
    config: PreTrainedConfig
    table: Tensor
    layers: Sequence[Layer]
    norm: Norm
    head: Product
    angles: Angles
    heads: int
    kv_heads: int
    packed: int

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return self.table.dtype

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return self.table.device

    @property
    def widths(self) -> set[tuple[int, int]]:
        """Values a row of SiLU loops, and their bytes; packed products have none."""
        gates = [layer.gate for layer in self.layers]
        wide = {(len(gate.step), gate.step.itemsize) for gate in gates if isinstance(gate, Int8)}
        return wide | {(gate.weight.shape[0], self.dtype.itemsize) for gate in gates if isinstance(gate, Plain)}

    @property
    def coarse(self) -> bool:
        """Whether results are rounded so coarsely that a last bit may move them by a percent."""
        return self.dtype != torch.float32 or isinstance(self.head, Int8)

    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Any,
        position_ids: Tensor,
        past_key_values: Any,
        use_cache: bool = True,
        output_hidden_states: bool = False,
        logits_to_keep: int = 0,
    ) -> Forward:
        """A transformers model's signature; the cache is always used, and the mask is one for all layers."""
        x_BQD = embedding(input_ids, self.table)
        angles = self.angles.at(position_ids, attention_mask.shape[-1])
        said = [x_BQD] if output_hidden_states else []
        for number, layer in enumerate(self.layers):
            x_BQD = self._attend(layer, number, x_BQD, angles, attention_mask, past_key_values)
            normed_BQD = layer.second_norm(x_BQD)
            x_BQD = layer.down.plus(layer.up.times(normed_BQD, layer.gate.swish(normed_BQD)), x_BQD)
            if output_hidden_states:
                said.append(x_BQD)
        x_BQD = self.norm(x_BQD)
        said[-1:] = [x_BQD] if said else []
        return Forward(self.head(x_BQD[:, -logits_to_keep:]), said)

    def _attend(
        self, layer: Layer, number: int, x_BQD: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor, cache: Any
    ) -> Tensor:
        """Read, rotate, cache, mix, write."""
        batch, rows, _ = x_BQD.shape
        heads, kv_heads = self.heads, self.kv_heads
        read_BQHW = layer.read(layer.first_norm(x_BQD)).view(batch, rows, heads + 2 * kv_heads, -1)
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key, value = read_BQHW.split([heads, kv_heads, kv_heads], 2)
            turned_BQHW = rotate(torch.cat([layer.query_norm(query), layer.key_norm(key)], 2), *angles)
        else:
            turned_BQHW, value = rotate(read_BQHW[:, :, :-kv_heads], *angles), read_BQHW[:, :, -kv_heads:]
        query, key = turned_BQHW[:, :, :heads].transpose(1, 2), turned_BQHW[:, :, heads:].transpose(1, 2)
        keys, values = cache.layers[number].update(key, value.transpose(1, 2))
        return layer.write.plus(mix(query, keys, values, mask, layer.scale).reshape(batch, rows, -1), x_BQD)


def rotate(rows_BQHW: Tensor, cos_BQ1W: Tensor, sin_BQ1W: Tensor) -> Tensor:
    """Source: Su et al. 2021, arXiv:2104.09864, with halves instead of pairs, as in transformers."""
    return rows_BQHW * cos_BQ1W + rows_BQHW.roll(rows_BQHW.shape[-1] // 2, -1) * sin_BQ1W

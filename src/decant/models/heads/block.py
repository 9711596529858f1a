"""A transformer layer of a head: its weights under public names, and its mathematics in plain torch.

Training and decoding run the same lines; only the layout of the weights differs.
Source: Touvron et al. 2023, arXiv:2302.13971 (the layer); Shazeer 2020, arXiv:2002.05202 (its gate).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from decant.models.fast.lean import Angles, rotate
from decant.models.fast.products import AsStored, Plain, Product
from decant.models.heads.spec import HeadSpec


@final
@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A layer, ready to compute.

    read:  queries, keys and values in one product; both: gate and up.
    after: weight of the norm before gate and up; before: of the one before attention, if it has that alone.
    width: of one attention head.
    """

    read: Product
    write: Product
    both: Product
    down: Product
    after: Tensor
    heads: int
    kv_heads: int
    width: int
    eps: float
    before: Tensor | None = None

    def look(self, x_BLE: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """query_BHLW, key_BKLW, value_BKLW; angles: of the rows' positions, broadcast over heads."""
        batch, rows, _ = x_BLE.shape
        read_BHLW = self.read(x_BLE).view(batch, rows, -1, self.width).transpose(1, 2)
        turned_BHLW = rotate(read_BHLW[:, : -self.kv_heads], *angles).to(read_BHLW.dtype)
        return turned_BHLW[:, : self.heads], turned_BHLW[:, self.heads :], read_BHLW[:, -self.kv_heads :]

    def finish(self, mixed_BHLW: Tensor, residual_BLD: Tensor) -> Tensor:
        """out_BLD: what was mixed and the feed-forward part, each added to the residual."""
        batch, _, rows, _ = mixed_BHLW.shape
        x_BLD = self.write.plus(mixed_BHLW.transpose(1, 2).reshape(batch, rows, -1), residual_BLD)
        gate, up = self.both(normed(x_BLD, self.after, self.eps)).chunk(2, -1)
        return self.down.plus(silu(gate) * up, x_BLD)

    def mix(self, query_BHLW: Tensor, key_BKTW: Tensor, value_BKTW: Tensor, sees_BLT: Tensor | None) -> Tensor:
        """mixed_BHLW. sees_BLT: which keys each row sees; None: all.

        Heads that share keys are rows of one head: one call, no copies of keys.
        """
        batch, heads, rows, width = query_BHLW.shape
        folded = query_BHLW.reshape(batch, self.kv_heads, -1, width)
        mask = None if sees_BLT is None else sees_BLT.repeat(1, heads // self.kv_heads, 1)[:, None]
        return scaled_dot_product_attention(folded, key_BKTW, value_BKTW, mask).view(batch, heads, rows, width)


@final
class Layer(nn.Module):
    """The weights, under the names that Llama's layers have; `inputs`: columns that attention reads."""

    def __init__(self, spec: HeadSpec, inputs: int, norms: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.spec = spec
        wide, narrow = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        self.self_attn = _named(
            q_proj=nn.Linear(inputs, wide, bias=False),
            k_proj=nn.Linear(inputs, narrow, bias=False),
            v_proj=nn.Linear(inputs, narrow, bias=False),
            o_proj=nn.Linear(wide, spec.hidden, bias=False),
        )
        self.mlp = _named(
            gate_proj=nn.Linear(spec.hidden, spec.intermediate, bias=False),
            up_proj=nn.Linear(spec.hidden, spec.intermediate, bias=False),
            down_proj=nn.Linear(spec.intermediate, spec.hidden, bias=False),
        )
        for name in (*norms, "post_attention_layernorm"):
            self.add_module(name, nn.RMSNorm(spec.hidden, eps=spec.eps))

    def block(self, packed: bool = False) -> Block:
        """Ready to compute; packed: for decoding, in the layout that suits the machine, and without gradients."""
        spec = self.spec
        product = AsStored().product if packed else Plain

        def weight(name: str) -> Tensor:
            return self.get_parameter(f"{name}_proj.weight")

        return Block(
            read=product(torch.cat([weight(f"self_attn.{part}") for part in "qkv"]), None),
            write=product(weight("self_attn.o"), None),
            both=product(torch.cat([weight("mlp.gate"), weight("mlp.up")]), None),
            down=product(weight("mlp.down"), None),
            after=self.get_parameter("post_attention_layernorm.weight"),
            heads=spec.heads,
            kv_heads=spec.kv_heads,
            width=spec.head_dim,
            eps=spec.eps,
            before=self.get_parameter("input_layernorm.weight") if hasattr(self, "input_layernorm") else None,
        )


@final
class ResBlock(nn.Module):
    """x + SiLU(W x + b), nothing at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x_XD: Tensor) -> Tensor:
        """As wide as it came."""
        return x_XD + silu(self.linear(x_XD))


def through(
    blocks: Sequence[Block],
    fed: tuple[Tensor, Tensor],
    angles: tuple[Tensor, Tensor],
    mixed: Callable[[int, Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """out_BLD of layers on top of one another. fed: what attention of the lowest reads, and the residual.

    mixed: number of a layer, query, key, value -> mixed_BHLW, over all keys that there are.
    """
    attended, residual = fed
    for at, block in enumerate(blocks):
        if at:
            assert block.before is not None, "a layer on top of others has a norm before attention"
            attended = normed(residual, block.before, block.eps)
        residual = block.finish(mixed(at, *block.look(attended, angles)), residual)
    return residual


def normed(x_XD: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root mean square over the last axis, in the weight's own type."""
    return rms_norm(x_XD.to(weight.dtype), weight.shape, weight, eps)


def angles_of(spec: HeadSpec, dtype: torch.dtype, device: torch.device) -> Angles:
    """cos and sin of every position. Source: Su et al. 2021, arXiv:2104.09864."""
    config = LlamaConfig(
        hidden_size=spec.heads * spec.head_dim,
        num_attention_heads=spec.heads,
        head_dim=spec.head_dim,
        max_position_embeddings=spec.positions,
        rope_parameters=dict(spec.rope),
    )
    return Angles(LlamaRotaryEmbedding(config).to(device), dtype, device)


def _named(**parts: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(parts)

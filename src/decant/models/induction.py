"""A start that can copy: previous-token heads and induction heads written into fresh weights.

Copying from the prompt (find where this token stood before, say what followed) takes two heads in two layers that are
useless without each other, so gradient descent finds them late. house:draft predicted 29 % of a look-up's tokens after
8 million tokens without this start, and 86 % after 2 million with it (in one run each; the second also had shorter rows
and ten times the rope_theta). What is planted is trained like everything else.

All embeddings share a constant coordinate, which tied output weights turn into the same logit for every token; with
RoPE it gives the first layer heads that look one and two positions back. What they read they write into a part of the
residual that embeddings leave free, and heads of the second layer match it against the present token, in the slow
half of the frequencies, which hardly turn within some hundred positions.
Source: Olsson et al. 2022, arXiv:2209.11895 (induction heads); Trockman & Kolter 2023, arXiv:2305.09828 (such starts).
"""

import math
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Generator, Tensor
from transformers import LlamaForCausalLM

from decant.errors import IncompatibleParts

SPREAD: Final = 0.04  # standard deviation of the embeddings
CONSTANT: Final = 0.2  # their shared first coordinate
FASTEST: Final = 8  # frequencies that tell positions apart
SLOW: Final = 0.014  # radians a position, at most, where tokens are matched
BACK: Final = 7.0  # attention logit for each fast frequency of the position looked for
MATCH: Final = 14.0  # attention logit of the same token, on average
WRITES: Final = 3.0  # spread of what a looking-back head writes, in spreads of the embedding
COPIES: Final = 8.0  # the same for a copying head
GROUPS: Final = 2  # matching key-value heads


@final
@dataclass(frozen=True, slots=True)
class Rooms:
    """Directions of the residual stream, all at right angles to one another and to the constant coordinate."""

    named_WD: Tensor  # what looking-back heads read of a token
    before_GWD: Tensor  # where they write it, one room for each query head of the group
    free_XD: Tensor  # everything that embeddings use


@torch.no_grad()
def plant(model: LlamaForCausalLM, seed: int = 0) -> None:
    """Overwrite embeddings and a few heads of a fresh, tied Llama; all layers' outputs start smaller.

    Raises IncompatibleParts for fewer than two layers, or a residual too narrow for what the heads write.
    """
    config: Any = model.config
    rng = Generator().manual_seed(seed)
    width, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    if config.num_hidden_layers < 2:
        raise IncompatibleParts(f"copying needs two layers, not {config.num_hidden_layers}")
    if config.hidden_size < (group + 1) * width + 1:
        raise IncompatibleParts(f"hidden {config.hidden_size} leaves no room beside {group} heads of {width}")
    rooms = _rooms(config.hidden_size, width, group, rng)
    embedding = model.model.embed_tokens.weight
    embedding *= SPREAD / config.initializer_range
    embedding -= embedding @ rooms.before_GWD.flatten(0, 1).T @ rooms.before_GWD.flatten(0, 1)
    embedding[:, 0] = CONSTANT
    layers: list[Any] = list(model.model.layers)
    for layer in layers:
        for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
            projection.weight *= 1 / math.sqrt(2 * config.num_hidden_layers)  # as in GPT-2
    first, second = (layer.self_attn for layer in layers[:2])
    angles_F: Any = model.model.rotary_emb.inv_freq
    norm = float(embedding.square().mean().sqrt())
    _look_back(first, angles_F, CONSTANT / norm, width, group)
    _pass(first, 0, rooms.named_WD, WRITES * norm * rooms.before_GWD)
    for head in range(min(GROUPS, config.num_key_value_heads - 1)):
        _match(second, head, angles_F, rooms)
        mixed_WX = torch.linalg.qr(torch.randn(len(rooms.free_XD), width, generator=rng)).Q.T
        copied_WD = mixed_WX @ rooms.free_XD
        _pass(second, head, copied_WD, COPIES * norm * copied_WD.expand(group, -1, -1))


def _rooms(hidden: int, width: int, group: int, rng: Generator) -> Rooms:
    """Split an orthonormal basis of everything but the constant coordinate."""
    basis = torch.linalg.qr(torch.randn(hidden - 1, hidden - 1, generator=rng)).Q
    basis_XD = torch.cat([torch.zeros(hidden - 1, 1), basis], 1)
    before_GWD = basis_XD[: group * width].view(group, width, hidden)
    free_XD = basis_XD[group * width :]
    return Rooms(free_XD[:width], before_GWD, free_XD)


def _look_back(attention: Any, angles_F: Tensor, steady: float, width: int, group: int) -> None:
    """Query head g of the first key-value head attends g + 1 positions back, whatever the tokens are."""
    half, size = width // 2, math.sqrt(BACK * math.sqrt(width)) / steady
    keys, queries = attention.k_proj.weight, attention.q_proj.weight
    fast_F = torch.arange(min(FASTEST, half))
    for back in range(1, group + 1):
        rows = (back - 1) * width + fast_F
        queries[rows] = queries[rows + half] = 0.0
        queries[rows, 0] = size * torch.cos(back * angles_F[fast_F])
        queries[rows + half, 0] = -size * torch.sin(back * angles_F[fast_F])
    keys[fast_F] = keys[fast_F + half] = 0.0
    keys[fast_F, 0] = size


def _match(attention: Any, head: int, angles_F: Tensor, rooms: Rooms) -> None:
    """Query heads of a group ask for the present token, keys tell the token before: they attend to what followed."""
    width = len(rooms.named_WD)
    slow_F = (angles_F <= SLOW).nonzero()[:, 0]
    rows = torch.cat([slow_F, slow_F + width // 2])
    codes = torch.arange(len(rows)) if head == 0 else torch.arange(width - len(rows), width)
    # A code has unit spread where it was read; a norm later both sides are smaller, which `shrunk` makes up for.
    shrunk = 1 / (1 + WRITES**2 * rooms.before_GWD.shape[0] * width / rooms.named_WD.shape[1])
    size = math.sqrt(MATCH * math.sqrt(width) / (len(rows) * WRITES * shrunk))
    attention.k_proj.weight[head * width + rows] = size * rooms.before_GWD[0, codes]
    for query in range(rooms.before_GWD.shape[0]):
        places = (head * rooms.before_GWD.shape[0] + query) * width + rows
        attention.q_proj.weight[places] = size * rooms.named_WD[codes]


def _pass(attention: Any, head: int, read_WD: Tensor, written_GWD: Tensor) -> None:
    """Let a key-value head read some directions and its query heads write them into others."""
    group, width, _ = written_GWD.shape
    attention.v_proj.weight[head * width : (head + 1) * width] = read_WD
    first = head * group * width
    attention.o_proj.weight[:, first : first + group * width] = written_GWD.flatten(0, 1).T

"""Rows that ride in a model's own forward, behind the rows that it is asked for, and guess what comes further on.

To decode, they are nodes of a draft whose ids lie behind the vocabulary. To teach them, a frozen model reads a text
once; rows then hang behind many of its columns at the same time, blind to each other, and gradients reach them alone.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import IncompatibleParts
from decant.models.attention import MaskForm
from decant.models.causal import Causal
from decant.models.fast.births import Births
from decant.models.fast.lean import Lean
from decant.models.heads.spec import HeadSpec
from decant.models.spans import additive
from decant.models.teacher import Reading

CHUNK: Final = 64  # columns that rows hang behind at once: bounds the mask


class RiderNet(Protocol):
    """What is taught. entries: of each place, the layer of the teacher that its row enters. copies: of each row, blind
    to each other; what they say is averaged."""

    spec: HeadSpec
    entries: tuple[int, ...]
    copies: int

    def enter(self, place: int, hidden_XF: Tensor) -> Tensor:
        """x_XED: each copy, behind nodes whose tapped states these are, as it enters."""
        ...


def dressed(model: Causal, kind: str, rows_PD: Tensor, births: Births | None = None) -> Causal:
    """The model with more ids: vocab, vocab + 1 ... have these lines of the embedding. All other weights are shared.

    rows_PD: as wide as the teacher's; zeros behind where the model was enlarged. Raises IncompatibleParts for a model
    that runs through transformers.
    """
    network = model.network
    if not isinstance(network, Lean):
        raise IncompatibleParts(
            f"a {kind} head rides in decant's own forward pass, but {network.architecture} runs through transformers; "
            f"take draft-model or prompt-lookup"
        )
    vocab, width = network.config.get_text_config().vocab_size, network.table.shape[1]
    lines_PD = pad(rows_PD.detach(), (0, width - rows_PD.shape[1])).to(network.table)
    table = torch.cat([network.table[:vocab], lines_PD])
    return replace(model, network=replace(network, table=table, births=births))


def heard(net: RiderNet, reading: Reading, columns_BS: Tensor) -> Tensor:
    """hidden_BSJD: the last state, after the final norm, of the row at each place behind each column; copies' mean."""
    text = _Text.of(reading)
    parts = [_heard(net, reading, text, part_BS) for part_BS in columns_BS.split(CHUNK, 1)]
    return torch.cat(parts, 1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    """What a teacher's layers wrote of a text. `update` joins new rows to it and forgets them."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, reading: Reading) -> "_Text":
        """Raises IncompatibleParts for a teacher whose layers forget."""
        network, length = reading.teacher.network, reading.ids_BT.shape[1]
        cache: Any = network.get_decoder()(input_ids=reading.ids_BT, use_cache=True).past_key_values
        config = reading.teacher.config
        if MaskForm.of(config, network.dtype).window or any(layer.keys.shape[2] != length for layer in cache.layers):
            raise IncompatibleParts(
                f"rows cannot be hung behind a text of {type(network).__name__}, whose layers look back only so far; "
                f"teach medusa or eagle for it"
            )
        return cls(tuple(layer.keys for layer in cache.layers), tuple(layer.values for layer in cache.layers))

    def update(self, key_BKQW: Tensor, value_BKQW: Tensor, layer: int, *rest: object) -> tuple[Tensor, Tensor]:
        """As attention in transformers asks its cache."""
        del rest
        return torch.cat([self.keys[layer], key_BKQW], 2), torch.cat([self.values[layer], value_BKQW], 2)


def _heard(net: RiderNet, reading: Reading, text: _Text, columns_BS: Tensor) -> Tensor:
    """The same of some columns."""
    network: Any = reading.teacher.network
    body = network.get_decoder()
    batch, count = columns_BS.shape
    shape = (batch, count, net.copies, len(net.entries))
    columns_BSEJ = columns_BS[:, :, None, None].expand(shape)
    position_BQ = (columns_BSEJ + 1 + torch.arange(shape[3], device=columns_BS.device)).flatten(1)
    mask = additive(_sees(columns_BSEJ, reading.ids_BT.shape[1])[:, None], network.dtype)
    place_BSF = columns_BS[..., None].expand(-1, -1, reading.hidden_BTF.shape[-1])
    hidden_BSF = reading.hidden_BTF.gather(1, place_BSF)
    x_BQD = torch.zeros(*position_BQ.shape, net.spec.hidden, dtype=network.dtype, device=columns_BS.device)
    angles = body.rotary_emb(x_BQD, position_ids=position_BQ)
    for number, layer in enumerate(body.layers):
        if number in net.entries:
            x_BQD = _entered(net, number, x_BQD.view(*shape, -1), hidden_BSF).flatten(1, 3)
        if number >= min(net.entries):
            x_BQD = layer(
                x_BQD,
                attention_mask=mask,
                position_ids=position_BQ,
                position_embeddings=angles,
                past_key_values=text,
                use_cache=True,
            )
    return body.norm(x_BQD).view(*shape, -1).mean(2)


def _entered(net: RiderNet, number: int, x_BSEJD: Tensor, hidden_BSF: Tensor) -> Tensor:
    """With the rows of those places that enter this layer."""
    each = list(x_BSEJD.unbind(3))
    for place, at in enumerate(net.entries):
        if at == number:
            each[place] = net.enter(place, hidden_BSF).to(x_BSEJD.dtype)
    return torch.stack(each, 3)


def _sees(columns_BSEJ: Tensor, length: int) -> Tensor:
    """allow_BQS: the text up to the column; of the hung rows those of the same column and copy, up to itself."""
    device = columns_BSEJ.device
    _, count, copies, depth = columns_BSEJ.shape
    text_BQT = torch.arange(length, device=device) <= columns_BSEJ.flatten(1)[..., None]
    chain_QQ = torch.block_diag(*[torch.ones(depth, depth).tril()] * (count * copies)).bool().to(device)
    return torch.cat([text_BQT, chain_QQ.expand(len(text_BQT), -1, -1)], -1)

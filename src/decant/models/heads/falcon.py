"""Falcon's network: a block of states at a time. An LSTM reads in slot t, as EAGLE's layer does, the target's state of
token t and the embedding of token t + 1; one layer of attention makes of it the state `block` places on.

Attention is causal between blocks, not inside: a slot sees its whole block. So the slots of the last block that the
target has read give, all at once, the states of a whole block to come, and what stands at a place of it does not depend
on the guesses before it. Behind the text a block feeds on the block before it, and on the tokens guessed there.

Keys do not depend on where blocks begin, and outputs are asked for in the newest block alone: decoding lets it end at
the last slot, wherever that is, and teaching lets blocks begin anywhere.
Source: Gao et al. 2024, arXiv:2412.12639.
"""

from collections.abc import Iterator
from typing import ClassVar, Final, final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from decant.models.fast.lean import Angles
from decant.models.heads.block import Layer
from decant.models.heads.borrower import Borrower
from decant.models.heads.recurrent import mixed_own
from decant.models.heads.spec import HeadSpec

LSTM_LAYERS: Final = 2


@final
class FalconNet(Borrower):
    """Knobs: `block`, states at a time; `memory`, the width of the LSTM, 0: the state's."""

    architecture: ClassVar[str] = "FalconDrafter"

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__(spec, ids_V)
        self.block = int(spec.knobs.get("block", 2))
        self.memory = int(spec.knobs.get("memory", 0)) or spec.hidden
        self.lstm = nn.LSTM(2 * spec.hidden, self.memory, LSTM_LAYERS, batch_first=True)
        self.out = nn.Identity() if self.memory == spec.hidden else nn.Linear(self.memory, spec.hidden)
        self.layers = nn.ModuleList([Layer(spec, spec.hidden)])

    @property
    def layer(self) -> Layer:
        """The only one."""
        layer = self.layers[0]
        assert isinstance(layer, Layer)
        return layer

    def fresh(self, batch: int, like: Tensor) -> Tensor:
        """memory_BF before any token: the LSTM's states, hidden and cell, of both layers."""
        return like.new_zeros(batch, 2 * LSTM_LAYERS * self.memory)

    def read(
        self, tokens_BC: Tensor, state_BCD: Tensor, memory_BF: Tensor, count_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x_BCD, which attention reads, and memory_BF behind the first `count_B` of them; None: behind all."""
        both_BCE = torch.cat([token_BCD := self.embedded(tokens_BC), state_BCD.to(token_BCD.dtype)], -1)
        before = memory_BF.unflatten(1, (2, LSTM_LAYERS, self.memory)).movedim(0, 2).contiguous().unbind(0)
        if count_B is None or len(count_B) == 1 == tokens_BC.shape[1]:
            x_BCR, after = self.lstm(both_BCE, before)
        else:
            # sync: lengths are counted on the host. None is zero: what it left is taken back below.
            packed = pack_padded_sequence(both_BCE, count_B.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False)
            x_packed, after = self.lstm(packed, before)
            x_BCR, _ = pad_packed_sequence(x_packed, batch_first=True, total_length=tokens_BC.shape[1])
        after_BF = torch.stack(after).movedim(2, 0).flatten(1)
        if count_B is not None:
            after_BF = after_BF.where(count_B[:, None] > 0, memory_BF)
        return self.out(x_BCR), after_BF

    def logits(self, state_XD: Tensor) -> Tensor:
        """What the target would say of such a state."""
        return self.say(state_XD)


def ahead(length: int, block: int, first: int = 0) -> Tensor:
    """ahead_T: how many slots behind itself each slot sees, where a block begins at slot `first`."""
    return block - 1 - (torch.arange(length) - first) % block


def passed(net: FalconNet, tokens_BT: Tensor, hidden_BTF: Tensor, angles: Angles, ahead_T: Tensor) -> Tensor:
    """state_BTD: slot t guesses the state `block` slots on. tokens_BT: the token after each state."""
    x_BTD, _ = net.read(tokens_BT, hidden_BTF, net.fresh(len(tokens_BT), hidden_BTF))
    return _attended(net, x_BTD, angles, ahead_T)


def unrolled(net: FalconNet, ids_BT: Tensor, hidden_BTF: Tensor, angles: Angles) -> Iterator[Tensor]:
    """state_BTD of depths 0, 1, 2 ...: column t of depth i guesses token t + 2 + i; up to a block it knows token t + 1,
    behind that the tokens up to the block's end. As it drafts: a column's block ends at the column, and behind that it
    feeds on itself. Columns with less than a block in front of them give zeros.

    The LSTM's states are kept at every column, one step at a time: for measuring, not for teaching.
    """
    size, (batch, length) = net.block, ids_BT.shape
    block, each_BTS = net.layer.block(), pad(ids_BT, (0, 2 * length + size)).unfold(1, size, 1)
    where_T = torch.arange(length, device=ids_BT.device)
    x_BTD, memory_BTF = _stepped(net, each_BTS[:, 1 : length + 1, 0], hidden_BTF)
    states: list[Tensor] = []
    for place in range(size):
        late = size - 1 - place
        states.append(pad(_attended(net, x_BTD, angles, torch.full((length,), late)), (0, 0, late, 0))[:, :length])
        yield states[-1]
    text, own = block.look(x_BTD, angles.at(where_T[None], length))[1:], []
    for first in range(0, length, size):
        tokens_BTS = each_BTS[:, first + 2 : first + 2 + length]
        read = (tokens_BTS.flatten(0, 1), torch.stack(states[-size:], 2).flatten(0, 1), memory_BTF.flatten(0, 1))
        x_RSD, memory_RF = net.read(*read)
        memory_BTF = memory_RF.view(batch, length, -1)
        x_SBTD = x_RSD.view(batch, length, size, -1).movedim(2, 0)
        looked = [
            block.look(x, angles.at(where_T[None] + 1 + first + at, 2 * length + size)) for at, x in enumerate(x_SBTD)
        ]
        own += [(key, value) for _, key, value in looked]
        sees_TT = where_T <= where_T[:, None]
        for (query, _, _), x_own_BTD in zip(looked, x_SBTD, strict=True):
            states.append(block.finish(mixed_own(query, [text, *own], sees_TT), x_own_BTD))
            yield states[-1]


def _attended(net: FalconNet, x_BTD: Tensor, angles: Angles, ahead_T: Tensor) -> Tensor:
    """state_BTD of the slots of a text."""
    block, (batch, length) = net.layer.block(), x_BTD.shape[:2]
    where_T = torch.arange(length, device=x_BTD.device)
    query, key, value = block.look(x_BTD, angles.at(where_T[None], length))
    sees_TT = where_T <= (where_T + ahead_T.to(where_T.device))[:, None]
    return block.finish(block.mix(query, key, value, sees_TT.expand(batch, -1, -1)), x_BTD)


def _stepped(net: FalconNet, tokens_BT: Tensor, hidden_BTF: Tensor) -> tuple[Tensor, Tensor]:
    """x_BTD and memory_BTF: what the LSTM says in every slot, and its states behind it."""
    memory_BF, steps = net.fresh(len(tokens_BT), hidden_BTF), []
    for at in range(tokens_BT.shape[1]):
        x_B1D, memory_BF = net.read(tokens_BT[:, at : at + 1], hidden_BTF[:, at : at + 1], memory_BF)
        steps.append((x_B1D[:, 0], memory_BF))
    x, memory = zip(*steps, strict=True)
    return torch.stack(x, 1), torch.stack(memory, 1)

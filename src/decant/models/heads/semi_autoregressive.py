"""Drafts with a head that guesses a block of states at a time (`falcon.py`).

Nodes of a block share its states: what a place says does not depend on the guesses before it in the block. Where a
block ends in a node's path, the next one is run, out of the states of the last and the tokens of the path; the LSTM
goes on from where that path's last block left it.
Source: Gao et al. 2024, arXiv:2412.12639.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.models.heads.block import angles_of
from decant.models.heads.borrower import spread
from decant.models.heads.ends import narrowed
from decant.models.heads.falcon import LSTM_LAYERS, FalconNet
from decant.models.heads.recurrent import Memory, rows_at, written
from decant.types import PAD, Draft


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """What a text has left behind.

    text:     slots of true states; `last_BD`: the states of the block to come, one behind the other, zeros where the
        text is shorter than a block.
    tail_BSD: what the LSTM said in the last block's slots. memory_BF: the LSTM's own states behind the text.
    """

    text: Memory
    tail_BSD: Tensor
    memory_BF: Tensor


@final
class SemiAutoregressive:
    """A network that is ready to draft: `protocols.FeatureHead`.

    layers: of the target, that it reads. vocab: the target's.
    """

    def __init__(self, net: Any, layers: tuple[int, ...], vocab: int, like: Tensor) -> None:
        self.net: FalconNet = net
        self.kind: str = net.spec.kind
        self.layers, self.vocab, self.like = layers, vocab, like
        self.block = net.layer.block(packed=True)
        self._angles = angles_of(net.spec, like.dtype, like.device)
        net.lstm.flatten_parameters()

    def start(self, prompt_BT: Tensor, hidden_BTF: Tensor) -> Reach:
        """After a prompt, of whose last token the target's state is not known."""
        net, batch, like = self.net, len(prompt_BT), self.like
        none = like.new_empty(batch, self.block.kv_heads, 0, self.block.width)
        length_B = torch.zeros(batch, dtype=torch.int64, device=like.device)
        tail_BSD = like.new_zeros(batch, net.block, net.spec.hidden)
        text = Memory(none, none, length_B, tail_BSD.flatten(1))
        return self.follow(Reach(text, tail_BSD, net.fresh(batch, like)), prompt_BT[:, 1:], hidden_BTF)

    def follow(self, state: Reach, tokens_BC: Tensor, hidden_BCF: Tensor) -> Reach:
        """After tokens_BC more, PAD behind. hidden_BCF: the target's state of the token before each."""
        count, size, text = tokens_BC.shape[1], self.net.block, state.text
        if not count:
            return state
        new_B = (tokens_BC != PAD).sum(-1)
        fed_BCD = narrowed(hidden_BCF, self.net.spec).to(self.like.dtype)
        x_BCD, memory_BF = self.net.read(tokens_BC.clamp_min(0), fed_BCD, state.memory_BF, new_B)
        slot_BC = text.length_B[:, None] + torch.arange(count, device=new_B.device)
        _, key, value = self.block.look(x_BCD, self.at(slot_BC))
        length_B = text.length_B + new_B
        most = int(length_B.max())  # sync: slots are counted on the host
        key_BKTW, value_BKTW = (
            written(old, new, slot_BC, most)[:, :, :most]
            for old, new in ((text.key_BKTW, key), (text.value_BKTW, value))
        )
        last_BS = new_B[:, None] + torch.arange(size, device=new_B.device)
        at_BSD = last_BS[..., None].expand(-1, -1, x_BCD.shape[-1])
        tail_BSD = torch.cat([state.tail_BSD, x_BCD], 1).gather(1, at_BSD)
        grown = replace(text, key_BKTW=key_BKTW, value_BKTW=value_BKTW, length_B=length_B)
        return Reach(replace(grown, last_BD=self._ahead(grown, tail_BSD)), tail_BSD, memory_BF)

    def _ahead(self, text: Memory, tail_BSD: Tensor) -> Tensor:
        """The block behind a text, flat: its last slots see all of it."""
        size, device = self.net.block, tail_BSD.device
        slot_BS = text.length_B[:, None] - size + torch.arange(size, device=device)
        query, _, _ = self.block.look(tail_BSD, self.at(slot_BS.clamp_min(0)))
        sees_B1T = torch.arange(text.key_BKTW.shape[2], device=device) < text.length_B[:, None, None]
        mixed = self.block.mix(query, text.key_BKTW, text.value_BKTW, sees_B1T.expand(-1, size, -1))
        return self.block.finish(mixed, tail_BSD).where((slot_BS >= 0)[..., None], 0.0).flatten(1)

    def guess(self, state: Reach) -> Callable[[Draft], Tensor]:
        """What follows the newest rows of a tree that grows, for `growing.grown`; the state itself stays as it is."""
        return _Guess(self, state)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Keys and values of requests of so many tokens each, and what each request's last block left."""
        slot = 2 * self.block.kv_heads * self.block.width
        left = 2 * LSTM_LAYERS * self.net.memory + 2 * self.net.block * self.net.spec.hidden
        return (sum(tokens) * slot + len(tokens) * left) * self.like.itemsize

    def said(self, state_BLD: Tensor) -> Tensor:
        """logits_BLV over the target's ids."""
        return spread(self.net.logits(state_BLD), self.net.ids_V, self.vocab)

    def at(self, slot_BL: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin of some slots."""
        reach = int(slot_BL.max()) + 1  # sync: the table of angles grows
        return self._angles.at(slot_BL, reach)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows of a draft. depth_BL: the root's is 0. path_BLS: the last ids of each, as many as a block has.

    state_BLSD, memory_BLF, sees_BLT: of the last block that ended in a row's path, itself included: the states that
    block gives, the LSTM behind it, the slots that the next one sees.
    """

    depth_BL: Tensor
    path_BLS: Tensor
    state_BLSD: Tensor
    memory_BLF: Tensor
    sees_BLT: Tensor

    def at(self, above_BL: Tensor) -> "_Rows":
        """Some of them, in that order."""
        parts = (self.depth_BL[..., None], self.path_BLS, self.state_BLSD.flatten(2), self.memory_BLF, self.sees_BLT)
        depth, path, state, memory, sees = (rows_at(part, above_BL) for part in parts)
        return _Rows(depth[..., 0], path, state.unflatten(-1, self.state_BLSD.shape[2:]), memory, sees)

    def with_more(self, more: "_Rows") -> "_Rows":
        """These, then those, who may see more slots."""
        wide = replace(self, sees_BLT=pad(self.sees_BLT, (0, more.sees_BLT.shape[-1] - self.sees_BLT.shape[-1])))
        return _Rows(*(torch.cat([getattr(wide, part.name), getattr(more, part.name)], 1) for part in fields(self)))


@final
class _Guess:
    """One draft. A block is run at the nodes where one ends; the others say what its next place says."""

    def __init__(self, head: SemiAutoregressive, state: Reach) -> None:
        self._head, self._size, text = head, head.net.block, state.text
        self._length_B, self._key, self._value = text.length_B, text.key_BKTW, text.value_BKTW
        path_B1S = text.length_B.new_zeros(len(text.length_B), 1, self._size)
        sees_B1T = torch.arange(self._key.shape[2], device=path_B1S.device) < text.length_B[:, None, None]
        state_B1SD = text.last_BD.unflatten(1, (self._size, -1))[:, None]
        self._rows = _Rows(path_B1S[..., 0], path_B1S, state_B1SD, state.memory_BF[:, None], sees_B1T)

    def __call__(self, tree: Draft) -> Tensor:
        """logits_BLV of the rows that are new, at first the root's."""
        seen = self._rows.depth_BL.shape[1] - 1
        tokens_BL = tree.tokens_BN[:, seen:].clamp_min(0)
        new = self._rows
        if tokens_BL.shape[1]:
            above_BL = torch.full_like(tokens_BL, seen) if tree.parents_BN is None else tree.parents_BN[:, seen:] + 1
            new = self._below(tokens_BL, above_BL)
            self._rows = self._rows.with_more(new)
        place_BL = new.depth_BL[..., None, None] % self._size
        at_BL1D = place_BL.expand(-1, -1, 1, new.state_BLSD.shape[-1])
        return self._head.said(new.state_BLSD.gather(2, at_BL1D)[:, :, 0])

    def _below(self, tokens_BL: Tensor, above_BL: Tensor) -> _Rows:
        """Some nodes; above_BL: the row that each hangs from."""
        above = self._rows.at(above_BL)
        path_BLS = torch.cat([above.path_BLS[..., 1:], tokens_BL[..., None]], -1)
        new = replace(above, depth_BL=above.depth_BL + 1, path_BLS=path_BLS)
        ends_BL = new.depth_BL % self._size == 0
        return self._run(new, ends_BL) if ends_BL.any() else new  # sync: in most levels of most drafts all or none end

    def _run(self, new: _Rows, ends_BL: Tensor) -> _Rows:
        """The blocks that end in these rows; rows where none does compute one that nobody sees."""
        head, block, size = self._head, self._head.block, self._size
        batch, rows = ends_BL.shape
        read = (new.path_BLS.flatten(0, 1), new.state_BLSD.flatten(0, 1), new.memory_BLF.flatten(0, 1))
        x_RSD, memory_RF = head.net.read(*read)
        x_BQD = x_RSD.reshape(batch, rows * size, -1)
        first_BL = self._length_B[:, None] + new.depth_BL - size
        slot_BQ = (first_BL[..., None] + torch.arange(size, device=first_BL.device)).flatten(1).clamp_min(0)
        query, key, value = block.look(x_BQD, head.at(slot_BQ))
        self._key, self._value = torch.cat([self._key, key], 2), torch.cat([self._value, value], 2)
        own_LQ = torch.eye(rows, dtype=torch.bool, device=x_BQD.device).repeat_interleave(size, 1)
        sees_BLT = torch.cat([new.sees_BLT, own_LQ.expand(batch, -1, -1)], -1)
        mixed = block.mix(query, self._key, self._value, sees_BLT.repeat_interleave(size, 1))
        out_BLSD = block.finish(mixed, x_BQD).view(batch, rows, size, -1)
        ends_BL1 = ends_BL[..., None]
        return replace(
            new,
            state_BLSD=out_BLSD.where(ends_BL1[..., None], new.state_BLSD),
            memory_BLF=memory_RF.view(batch, rows, -1).where(ends_BL1, new.memory_BLF),
            sees_BLT=(sees_BLT & ends_BL1) | pad(new.sees_BLT, (0, rows * size)),
        )

"""Heads that guess one token after another from a state that they update themselves: EAGLE and its kin, GLIDE.

Slot t reads the target's state of token t and the embedding of token t + 1, and says what token t + 2 is. Behind the
last token that the target has read, the head feeds on its own output. A head that is a language model reads the whole
text: a slot in front is the first token's, with zeros for a state.

`unrolled` is how that is taught on a whole text at once: step 0 sees the target's states; step i sees, as it will when
it drafts from column t, the keys of step 0 up to t and of steps 1 to i its own column alone.
Source: Li et al. 2024, arXiv:2401.15077 (EAGLE); training-time test: Li et al. 2025, arXiv:2503.01840 (EAGLE-3).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.models.fast.lean import Angles
from decant.models.heads.block import Layer, angles_of, through
from decant.models.heads.ends import narrowed
from decant.models.heads.spec import HeadSpec
from decant.types import PAD, Draft

ROOM = 64  # slots that a draft grows by


class RecurrentNet(Protocol):
    """A network of this kind: a module, bound to its teacher's ends."""

    spec: HeadSpec
    whole: bool
    """Whether it reads the first token too."""

    @property
    def layers(self) -> Iterable[Layer]:
        """The lowest first; those above it have a norm before attention."""
        ...

    @property
    def width(self) -> int:
        """Of its states."""
        ...

    @property
    def ids_V(self) -> Tensor | None:
        """The target's id of each guess; None: the guesses are the target's ids."""
        ...

    def absorb(self, hidden_XF: Tensor) -> Tensor:
        """The target's tapped states -> state_XD, of the head's own kind."""
        ...

    def inputs(self, tokens_X: Tensor, state_XD: Tensor) -> tuple[Tensor, Tensor]:
        """attended_XE, which attention reads, and residual_XD."""
        ...

    def logits(self, state_XD: Tensor) -> Tensor:
        """What follows, over the guesses."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Slots of true states, right-padded; heads of all layers, a layer's behind those of the one below.

    last_BD: the output of each request's last slot, zeros before the first.
    """

    key_BKTW: Tensor
    value_BKTW: Tensor
    length_B: Tensor
    last_BD: Tensor

    def select(self, rows_R: Tensor) -> "Memory":
        """The requests `rows_R`."""
        parts = (self.key_BKTW, self.value_BKTW, self.length_B, self.last_BD)
        return Memory(*(part.index_select(0, rows_R) for part in parts))

    def join(self, other: "Memory") -> "Memory":
        """These requests, then the other's."""
        most = max(self.key_BKTW.shape[2], other.key_BKTW.shape[2])
        keys, values = (
            torch.cat([_wide(one, most), _wide(two, most)])
            for one, two in ((self.key_BKTW, other.key_BKTW), (self.value_BKTW, other.value_BKTW))
        )
        lengths_B, last_BD = torch.cat([self.length_B, other.length_B]), torch.cat([self.last_BD, other.last_BD])
        return Memory(keys, values, lengths_B, last_BD)


@final
class Recurrent:
    """A network that is ready to draft: `drafters.eagle.FeatureHead`.

    layers: of the target, that it reads. vocab: the target's.
    """

    def __init__(self, net: Any, layers: tuple[int, ...], vocab: int, like: Tensor) -> None:
        self.net: RecurrentNet = net
        self.kind: str = net.spec.kind
        self.layers, self.vocab = layers, vocab
        self._like = like  # a tensor of the type and device that it computes in
        self.blocks = [layer.block(packed=True) for layer in self.net.layers]
        self.kv_heads = self.blocks[0].kv_heads
        self._angles = angles_of(net.spec, like.dtype, like.device)

    def start(self, prompt_BT: Tensor, hidden_BTF: Tensor) -> Memory:
        """After a prompt, of whose last token the target's state is not known."""
        batch, net = len(prompt_BT), self.net
        if net.whole:
            none = hidden_BTF.new_zeros(batch, 1, hidden_BTF.shape[-1] or len(self.layers) * net.spec.hidden)
            hidden_BTF = torch.cat([none, hidden_BTF], 1) if hidden_BTF.shape[1] else none
            prompt_BT = pad(prompt_BT, (1, 0))
        none = self._like.new_empty(batch, len(self.blocks) * self.kv_heads, 0, self.blocks[0].width)
        length_B = torch.zeros(batch, dtype=torch.int64, device=self._like.device)
        memory = Memory(none, none, length_B, self._like.new_zeros(batch, net.width))
        return self.follow(memory, prompt_BT[:, 1:], hidden_BTF)

    def follow(self, memory: Memory, tokens_BC: Tensor, hidden_BCF: Tensor) -> Memory:
        """After tokens_BC more, PAD behind. hidden_BCF: the target's state of the token before each."""
        batch, count = tokens_BC.shape
        if not count:
            return memory
        state_BCD = self.net.absorb(narrowed(hidden_BCF, self.net.spec).to(self._like.dtype))
        slot_BC = memory.length_B[:, None] + torch.arange(count, device=tokens_BC.device)
        new_B = (tokens_BC != PAD).sum(-1)
        length_B = memory.length_B + new_B
        most = int(length_B.max())  # sync: slots are counted on the host
        keys: list[Tensor] = []
        values: list[Tensor] = []

        def mixed(at: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            mine = self.heads_of(at)
            keys.append(key := written(memory.key_BKTW[:, mine], key, slot_BC, most))
            values.append(value := written(memory.value_BKTW[:, mine], value, slot_BC, most))
            sees_BCT = None
            if count > 1 or batch > 1:
                sees_BCT = torch.arange(key.shape[2], device=tokens_BC.device) <= slot_BC[..., None]
            return self.blocks[at].mix(query, key, value, sees_BCT)

        fed = self.net.inputs(tokens_BC.clamp_min(0), state_BCD)
        out_BCD = through(self.blocks, fed, self.at(slot_BC), mixed)
        key_BKTW, value_BKTW = (parts[0] if len(parts) == 1 else torch.cat(parts, 1) for parts in (keys, values))
        at_B11 = (new_B - 1).clamp_min(0)[:, None, None].expand(-1, 1, out_BCD.shape[-1])
        last_BD = out_BCD.gather(1, at_B11)[:, 0].where(new_B[:, None] > 0, memory.last_BD)
        return Memory(key_BKTW[:, :, :most], value_BKTW[:, :, :most], length_B, last_BD)

    def guess(self, memory: Memory) -> Callable[[Draft], Tensor]:
        """What follows the newest rows of a tree that grows, for `growing.grown`; memory itself stays as it is."""
        return _Guess(self, memory)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Keys and values of requests of so many tokens each."""
        return sum(tokens) * 2 * len(self.blocks) * self.kv_heads * self.blocks[0].width * self._like.itemsize

    def heads_of(self, layer: int) -> slice:
        """Where a layer's heads lie in a `Memory`."""
        return slice(layer * self.kv_heads, (layer + 1) * self.kv_heads)

    def said(self, state_BLD: Tensor) -> Tensor:
        """logits_BLV over the target's ids; what cannot be guessed has none."""
        logits = self.net.logits(state_BLD)
        ids_V = self.net.ids_V
        if ids_V is None:
            return logits
        return logits.new_full((*logits.shape[:-1], self.vocab), -torch.inf).index_copy(-1, ids_V, logits)

    def at(self, slot_BL: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin of some slots."""
        reach = int(slot_BL.max()) + 1  # sync: the table of angles grows
        return self._angles.at(slot_BL, reach)


@final
class _Guess:
    """One draft: the slots of its nodes lie behind those of the text. A node comes at least a call after its parent."""

    def __init__(self, head: Recurrent, memory: Memory) -> None:
        self._head, self._text = head, memory
        self._state_BMD = memory.last_BD[:, None]
        self._key, self._value = memory.key_BKTW, memory.value_BKTW
        batch, width = len(memory.length_B), memory.key_BKTW.shape[2]
        # sees_BMS: what each row sees of all slots; the root sees the text.
        self._sees_BMS = torch.arange(width, device=memory.length_B.device) < memory.length_B[:, None, None]
        self._depth_BM = memory.length_B.new_zeros(batch, 1)

    def __call__(self, tree: Draft) -> Tensor:
        """logits_BLV of the rows that are new, at first the root's."""
        seen = self._state_BMD.shape[1] - 1
        if tree.tokens_BN.shape[1] == seen:
            return self._head.said(self._state_BMD[:, -1:])
        if tree.parents_BN is not None:
            return self._deepen(tree.tokens_BN[:, seen:], tree.parents_BN[:, seen:] + 1)
        if len(tree.tokens_BN) == 1:
            return self._lengthen(tree.tokens_BN[:, seen:])
        return self._deepen(tree.tokens_BN[:, seen:], torch.full_like(tree.tokens_BN[:, seen:], seen))

    def _lengthen(self, tokens_11: Tensor) -> Tensor:
        """One more node of the only chain there is: it sees every slot."""
        slot_11 = self._text.length_B[:, None] + (self._state_BMD.shape[1] - 1)
        return self._evaluate(tokens_11, self._state_BMD[:, -1:], slot_11, None)

    def _deepen(self, tokens_BL: Tensor, above_BL: Tensor) -> Tensor:
        """Some nodes; above_BL: the row that each hangs from."""
        rows = tokens_BL.shape[1]
        self._depth_BM = torch.cat([self._depth_BM, self._depth_BM.gather(1, above_BL) + 1], 1)
        slot_BL = self._text.length_B[:, None] + self._depth_BM[:, -rows:] - 1
        own_LL = torch.eye(rows, dtype=torch.bool, device=tokens_BL.device).expand(len(tokens_BL), -1, -1)
        sees_BLS = torch.cat([rows_at(self._sees_BMS, above_BL), own_LL], -1)
        self._sees_BMS = torch.cat([pad(self._sees_BMS, (0, rows)), sees_BLS], 1)
        return self._evaluate(tokens_BL, rows_at(self._state_BMD, above_BL), slot_BL, sees_BLS)

    def _evaluate(self, tokens_BL: Tensor, state_BLD: Tensor, slot_BL: Tensor, sees_BLS: Tensor | None) -> Tensor:
        head = self._head
        first = self._text.key_BKTW.shape[2] + self._state_BMD.shape[1] - 1
        stop = first + tokens_BL.shape[1]
        if stop > self._key.shape[2]:  # a copy once a draft, mostly
            self._key, self._value = (pad(part, (0, 0, 0, ROOM + stop - first)) for part in (self._key, self._value))

        def mixed(at: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            mine = head.heads_of(at)
            self._key[:, mine, first:stop], self._value[:, mine, first:stop] = key, value
            keys, values = self._key[:, mine, :stop], self._value[:, mine, :stop]
            return head.blocks[at].mix(query, keys, values, sees_BLS)

        fed = head.net.inputs(tokens_BL.clamp_min(0), state_BLD)
        out_BLD = through(head.blocks, fed, head.at(slot_BL), mixed)
        self._state_BMD = torch.cat([self._state_BMD, out_BLD], 1)
        return head.said(out_BLD)


def unrolled(net: RecurrentNet, ids_BT: Tensor, hidden_BTF: Tensor, angles: Angles) -> Iterator[Tensor]:
    """state_BTD of steps 0, 1, 2 ...: column t of step i guesses token t + 2 + i, given all before it.

    hidden_BTF: the teacher's tapped states. The last columns, whose tokens lie behind the text, hold garbage.
    """
    blocks, front = [layer.block() for layer in net.layers], int(net.whole)
    ids_BT, hidden_BTF = pad(ids_BT, (front, 0)), pad(hidden_BTF, (0, 0, front, 0))
    batch, length = ids_BT.shape
    where_T = torch.arange(length, device=ids_BT.device)
    state_BTD = net.absorb(hidden_BTF)
    each: list[list[tuple[Tensor, Tensor]]] = [[] for _ in blocks]  # of every layer, keys and values of every step
    sees_TT = where_T <= where_T[:, None]

    def mixed(at: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        each[at].append((key, value))
        if len(each[at]) == 1:
            return blocks[at].mix(query, key, value, sees_TT.expand(batch, -1, -1))
        return mixed_own(query, each[at], sees_TT)

    for step in range(length):
        ids_BT = pad(ids_BT[:, 1:], (0, 1))
        fed = net.inputs(ids_BT, state_BTD)
        state_BTD = through(blocks, fed, angles.at((where_T + step)[None], length + step), mixed)
        yield state_BTD[:, front:]


def mixed_own(query: Tensor, each: list[tuple[Tensor, Tensor]], sees_TT: Tensor) -> Tensor:
    """mixed_BHTW over the keys of step 0 up to the column, and the column's own of later steps."""
    first, *own = each
    groups = query.shape[1] // first[0].shape[1]
    key, value = (part.repeat_interleave(groups, 1) for part in first)
    scores = (query @ key.transpose(-1, -2)).masked_fill(~sees_TT, -torch.inf)
    own_keys, own_values = (torch.stack(part, 3).repeat_interleave(groups, 1) for part in zip(*own, strict=True))
    own_scores = torch.einsum("bhtw,bhtsw->bhts", query, own_keys)
    scale = query.shape[-1] ** -0.5
    shares = (torch.cat([scores, own_scores], -1) * scale).softmax(-1).to(value.dtype)
    length = value.shape[2]
    return shares[..., :length] @ value + torch.einsum("bhts,bhtsw->bhtw", shares[..., length:], own_values)


def rows_at(rows_BMX: Tensor, at_BL: Tensor) -> Tensor:
    """rows_BLX."""
    if len(at_BL) == 1:
        return rows_BMX[:, at_BL[0]]
    return rows_BMX.gather(1, at_BL[..., None].expand(-1, -1, rows_BMX.shape[-1]))


def _wide(part_BKTW: Tensor, slots: int) -> Tensor:
    return pad(part_BKTW, (0, 0, 0, slots - part_BKTW.shape[2]))


def written(old_BKTW: Tensor, new_BKCW: Tensor, slot_BC: Tensor, most: int) -> Tensor:
    """A copy of the old slots with the new ones at `slot_BC`; there may be a few of garbage behind `most`."""
    if len(old_BKTW) == 1:
        return torch.cat([old_BKTW, new_BKCW], 2)
    whole = _wide(old_BKTW, max(most, int(slot_BC.max()) + 1))
    return whole.scatter(2, slot_BC[:, None, :, None].expand_as(new_BKCW), new_BKCW)

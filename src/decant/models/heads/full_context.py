"""Drafts with a head that looks at the target's own states, and behind them at its own (`chimera.py`).

Source: Zeng et al. 2024, arXiv:2402.15758.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.models.heads.block import angles_of
from decant.models.heads.borrower import spread
from decant.models.heads.chimera import GRAM, ChimeraNet
from decant.models.heads.ends import narrowed
from decant.models.heads.recurrent import Memory, rows_at, written
from decant.types import PAD, Draft


@final
@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """text: slots of true states; `last_BD`: the last of them, zeros where there is none. gram_BG: the last ids, the
    first token's in front of it."""

    text: Memory
    gram_BG: Tensor


@final
class FullContext:
    """A network that is ready to draft: `protocols.FeatureHead`.

    layers: of the target, that it reads. vocab: the target's.
    """

    def __init__(self, net: Any, layers: tuple[int, ...], vocab: int, like: Tensor) -> None:
        self.net: ChimeraNet = net
        self.kind: str = net.spec.kind
        self.layers, self.vocab, self.like = layers, vocab, like
        self.block = net.layer.block(packed=True)
        self._angles = angles_of(net.spec, like.dtype, like.device)

    def start(self, prompt_BT: Tensor, hidden_BTF: Tensor) -> Context:
        """After a prompt, of whose last token the target's state is not known."""
        batch, like = len(prompt_BT), self.like
        none = like.new_empty(batch, self.block.kv_heads, 0, self.block.width)
        length_B = torch.zeros(batch, dtype=torch.int64, device=like.device)
        text = Memory(none, none, length_B, like.new_zeros(batch, self.net.spec.hidden))
        first = Context(text, prompt_BT[:, :1].expand(-1, GRAM))
        return self.follow(first, prompt_BT[:, 1:], hidden_BTF)

    def follow(self, state: Context, tokens_BC: Tensor, hidden_BCF: Tensor) -> Context:
        """After tokens_BC more, PAD behind. hidden_BCF: the target's state of the token before each."""
        count, text = tokens_BC.shape[1], state.text
        if not count:
            return state
        new_B = (tokens_BC != PAD).sum(-1)
        true_BCD = narrowed(hidden_BCF, self.net.spec).to(self.like.dtype)
        slot_BC = text.length_B[:, None] + torch.arange(count, device=new_B.device)
        _, key, value = self.block.look(self.net.attended(true_BCD), self.at(slot_BC))
        length_B = text.length_B + new_B
        most = int(length_B.max())  # sync: slots are counted on the host
        key_BKTW, value_BKTW = (
            written(old, new, slot_BC, most)[:, :, :most]
            for old, new in ((text.key_BKTW, key), (text.value_BKTW, value))
        )
        at_B11 = (new_B - 1).clamp_min(0)[:, None, None].expand(-1, 1, true_BCD.shape[-1])
        last_BD = true_BCD.gather(1, at_B11)[:, 0].where(new_B[:, None] > 0, text.last_BD)
        window_BG = new_B[:, None] + torch.arange(GRAM, device=new_B.device)
        gram_BG = torch.cat([state.gram_BG, tokens_BC], 1).gather(1, window_BG)
        return Context(Memory(key_BKTW, value_BKTW, length_B, last_BD), gram_BG)

    def guess(self, state: Context) -> Callable[[Draft], Tensor]:
        """What follows the newest rows of a tree that grows, for `growing.grown`; the state itself stays as it is."""
        return _Guess(self, state)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Keys and values of requests of so many tokens each."""
        return sum(tokens) * 2 * self.block.kv_heads * self.block.width * self.like.itemsize

    def said(self, true_B1D: Tensor, state_BLD: Tensor) -> Tensor:
        """logits_BLV over the target's ids."""
        logits_BLV = self.net.logits(true_B1D.expand(-1, state_BLD.shape[1], -1), state_BLD)
        return spread(logits_BLV, self.net.ids_V, self.vocab)

    def at(self, slot_BL: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin of some slots."""
        reach = int(slot_BL.max()) + 1  # sync: the table of angles grows
        return self._angles.at(slot_BL, reach)


@final
class _Guess:
    """One draft. A row's guessed state gets its slot, behind the text's, when rows below it ask; until then there is
    none to see it."""

    def __init__(self, head: FullContext, state: Context) -> None:
        self._head, self._text = head, state.text
        self._key, self._value = state.text.key_BKTW, state.text.value_BKTW
        root_B1 = state.text.length_B[:, None]
        self._gram_BMG = state.gram_BG[:, None]
        self._slot_BM = root_B1
        # sees_BMS: what the rows below each row see.
        self._sees_BMS = torch.arange(self._key.shape[2], device=root_B1.device) < root_B1[..., None]
        self._waiting: Tensor | None = None  # states that have no slot yet, of the rows evaluated last

    def __call__(self, tree: Draft) -> Tensor:
        """logits_BLV of the rows that are new, at first the root's."""
        if self._waiting is None:
            return self._evaluate(self._gram_BMG, self._slot_BM, self._sees_BMS)
        seen = self._slot_BM.shape[1] - 1
        tokens_BL = tree.tokens_BN[:, seen:].clamp_min(0)
        above_BL = torch.full_like(tokens_BL, seen) if tree.parents_BN is None else tree.parents_BN[:, seen:] + 1
        gram_BLG = torch.cat([rows_at(self._gram_BMG, above_BL)[..., 1:], tokens_BL[..., None]], -1)
        slot_BL = rows_at(self._slot_BM[..., None], above_BL)[..., 0] + 1
        sees_BLS = rows_at(self._sees_BMS, above_BL)
        self._gram_BMG = torch.cat([self._gram_BMG, gram_BLG], 1)
        self._slot_BM = torch.cat([self._slot_BM, slot_BL], 1)
        return self._evaluate(gram_BLG, slot_BL, sees_BLS)

    def _evaluate(self, gram_BLG: Tensor, slot_BL: Tensor, sees_BLS: Tensor) -> Tensor:
        """One product for the new rows and for the states that wait for their slots."""
        head, block, rows = self._head, self._head.block, slot_BL.shape[1]
        state_BLD = fed_BPD = head.net.grams(gram_BLG)
        slot_BP = slot_BL
        if self._waiting is not None:
            waiting = self._waiting.shape[1]
            fed_BPD = torch.cat([state_BLD, self._waiting], 1)
            slot_BP = torch.cat([slot_BL, self._slot_BM[:, -rows - waiting : -rows]], 1)
        query, key, value = block.look(head.net.attended(fed_BPD), head.at(slot_BP))
        self._key, self._value = (
            torch.cat([old, new[:, :, rows:]], 2) for old, new in ((self._key, key), (self._value, value))
        )
        own_BLL = torch.eye(rows, dtype=torch.bool, device=slot_BL.device).expand(len(slot_BL), -1, -1)
        sees_BLS = torch.cat([sees_BLS, own_BLL], -1)  # the own column: of its three tokens now, of its state later
        keys, values = (torch.cat([old, new[:, :, :rows]], 2) for old, new in ((self._key, key), (self._value, value)))
        state_BLD = block.finish(block.mix(query[:, :, :rows], keys, values, sees_BLS), state_BLD)
        if self._waiting is None:
            self._sees_BMS = sees_BLS
        else:
            self._sees_BMS = torch.cat([pad(self._sees_BMS, (0, rows)), sees_BLS], 1)
        self._waiting = state_BLD
        return head.said(self._text.last_BD[:, None], state_BLD)

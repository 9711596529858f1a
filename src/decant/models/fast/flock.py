"""Texts that are written side by side, from their prompts to their ends: one grid of keys for all of them.

Where many texts start together and each says a token a step, attention is one call a layer, whatever their number; the
products see the rows of all. What is computed is what `Lean` computes, up to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from decant.errors import BadInput
from decant.models.fast.lean import Lean

ROWS: Final = 4096  # rows of prompts in one forward: bounds memory
WIDTH: Final = 64  # slots read are a multiple of this: an odd tail makes attention slower


@final
class Flock:
    """logits_BV: what comes next in each text. lengths_B: tokens of each so far.

    keys, values: of each layer, BKSW; a text's token t lies in slot t, whatever its neighbours. On a CPU they are
    float32: for one row a text the kernel is slower over bfloat16 (measured, 8 texts of 192 slots: 180 us beside 33).
    """

    def __init__(self, lean: Lean, prompts: Sequence[Sequence[int]], room: int) -> None:
        """Read the prompts; room: for how many more tokens. Raises BadInput for a prompt that fills the context."""
        lengths = [len(prompt) for prompt in prompts]
        if not 0 < min(lengths) <= max(lengths) < lean.positions:
            raise BadInput(
                f"prompts have {min(lengths)} to {max(lengths)} tokens; the context of {lean.positions} needs at least "
                f"one, and room for an answer"
            )
        self.lean = lean
        self.lengths_B = torch.tensor(lengths, device=lean.device)
        slots = -(-(max(lengths) + room) // WIDTH) * WIDTH
        shape = (len(lengths), lean.kv_heads, slots, lean.width)
        self.kind = torch.float32 if lean.device.type == "cpu" else lean.dtype
        self.keys = [lean.table.new_zeros(shape, dtype=self.kind) for _ in lean.layers]
        self.values = [lean.table.new_zeros(shape, dtype=self.kind) for _ in lean.layers]
        self.reach = max(lengths)  # slots in use, on the host
        size = max(1, ROWS // max(lengths))
        parts = [self._read(prompts[first : first + size], first) for first in range(0, len(lengths), size)]
        self.logits_BV = torch.cat(parts)

    def say(self, ids_B: Tensor) -> None:
        """One more token of every text."""
        lean, slot_B = self.lean, self.lengths_B
        self.reach += 1
        reach = min(-(-self.reach // WIDTH) * WIDTH, self.keys[0].shape[2])
        slot_S = torch.arange(reach, device=lean.device)
        hidden_BS = slot_S > slot_B[:, None]
        if lean.window:
            hidden_BS = hidden_BS | (slot_S <= slot_B[:, None] - lean.window)
        mask_B11S = _mask(hidden_BS, self.kind)[:, None, None]
        mixer = Saying(self, torch.arange(len(slot_B), device=lean.device), slot_B, mask_B11S)
        self.logits_BV = lean.head(self._through(ids_B, slot_B, mixer))
        self.lengths_B = slot_B + 1

    def keep(self, rows_R: Tensor) -> None:
        """Only these texts go on."""
        self.lengths_B, self.logits_BV = self.lengths_B[rows_R], self.logits_BV[rows_R]
        self.keys = [rows_BKSW[rows_R] for rows_BKSW in self.keys]
        self.values = [rows_BKSW[rows_R] for rows_BKSW in self.values]

    def _read(self, prompts: Sequence[Sequence[int]], first: int) -> Tensor:
        """logits_RV behind some prompts, which are the texts from `first` on."""
        place = self.lean.device
        text_R = torch.tensor([row for row, ids in enumerate(prompts) for _ in ids], device=place)
        slot_R = torch.tensor([slot for ids in prompts for slot in range(len(ids))], device=place)
        ids_R = torch.tensor([token for ids in prompts for token in ids], device=place)
        ends_B = torch.tensor([len(ids) for ids in prompts], device=place).cumsum(0) - 1
        x_RD = self._through(ids_R, slot_R, Reading(self, text_R, slot_R, (first, len(prompts))))
        return self.lean.head(x_RD[ends_B])

    def _through(self, ids_R: Tensor, slot_R: Tensor, mixer: "Saying | Reading") -> Tensor:
        """hidden_RD after the final norm."""
        lean = self.lean
        angles = lean.angles.at(slot_R.clamp_max(lean.positions - 1), min(self.reach, lean.positions))
        x_RD = lean.embedded(ids_R)
        for number, layer in enumerate(lean.layers):
            x_RD = lean.attend(layer, number, x_RD, angles, mixer)
            x_RD = layer.down.plus(layer.gated(layer.second_norm(x_RD)), x_RD)
        return lean.norm(x_RD)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Saying:
    """Attention of one row a text. Heads that share keys are rows of one head, as in `mixing.py`."""

    flock: Flock
    text_B: Tensor
    slot_B: Tensor
    mask_B11S: Tensor

    def __call__(self, layer: int, query_RHW: Tensor, key_RKW: Tensor, value_RKW: Tensor, scale: float) -> Tensor:
        """mixed_RHW."""
        keys, values, reach = self.flock.keys[layer], self.flock.values[layer], self.mask_B11S.shape[-1]
        keys[self.text_B, :, self.slot_B] = key_RKW.to(keys.dtype)
        values[self.text_B, :, self.slot_B] = value_RKW.to(keys.dtype)
        query_BKGW = query_RHW.to(keys.dtype).unflatten(1, (key_RKW.shape[1], -1))
        mask_B1GS = self.mask_B11S.expand(-1, -1, query_BKGW.shape[2], -1)
        near = (keys[:, :, :reach], values[:, :, :reach])
        mixed = scaled_dot_product_attention(query_BKGW, *near, attn_mask=mask_B1GS, scale=scale)
        return mixed.flatten(1, 2).to(query_RHW.dtype)


@final
class Reading:
    """Attention of the rows of some prompts, laid on a grid of texts by tokens. share: the first of them, how many."""

    def __init__(self, flock: Flock, text_R: Tensor, slot_R: Tensor, share: tuple[int, int]) -> None:
        self.flock, self.text_R, self.slot_R, (self.first, self.texts) = flock, text_R, slot_R, share
        self.width = int(slot_R.max()) + 1
        place_T = torch.arange(self.width, device=slot_R.device)
        far_TT = place_T[None] > place_T[:, None]
        if flock.lean.window:
            far_TT = far_TT | (place_T[None] <= place_T[:, None] - flock.lean.window)
        self.mask_TT = _mask(far_TT, flock.kind)

    def __call__(self, layer: int, query_RHW: Tensor, key_RKW: Tensor, value_RKW: Tensor, scale: float) -> Tensor:
        """mixed_RHW."""
        keys, values = self.flock.keys[layer], self.flock.values[layer]
        keys[self.first + self.text_R, :, self.slot_R] = key_RKW.to(keys.dtype)
        values[self.first + self.text_R, :, self.slot_R] = value_RKW.to(keys.dtype)
        heads, groups = query_RHW.shape[1], query_RHW.shape[1] // key_RKW.shape[1]
        query_BTHW = keys.new_zeros(self.texts, self.width, heads, query_RHW.shape[2])
        query_BTHW[self.text_R, self.slot_R] = query_RHW.to(keys.dtype)
        part = slice(self.first, self.first + self.texts)
        near = (rows[part, :, : self.width].repeat_interleave(groups, 1) for rows in (keys, values))
        mixed = scaled_dot_product_attention(query_BTHW.transpose(1, 2), *near, attn_mask=self.mask_TT, scale=scale)
        return mixed.transpose(1, 2)[self.text_R, self.slot_R].to(query_RHW.dtype)


def _mask(hidden_XS: Tensor, dtype: torch.dtype) -> Tensor:
    """To add: 0 where a slot is read."""
    return torch.zeros(hidden_XS.shape, dtype=dtype, device=hidden_XS.device).masked_fill_(
        hidden_XS, torch.finfo(dtype).min
    )

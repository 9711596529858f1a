"""A masked diffusion model that is ready to decode: `diffusion.MaskedLM` over decant's own forward pass.

Each request stores the keys and values of its prompt and canvas, position by position. A pass computes the rows that
are named fresh, writes them there, and every fresh row reads all that is stored, in both directions. Places that were
dropped are read by nobody. The rows of a causal prompt never change, and are computed by the first pass alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from decant.diffusion import Fresh
from decant.errors import BadInput
from decant.models.fast.lean import Lean
from decant.models.masked.convention import Convention
from decant.types import PAD


@final
class Shelf:
    """What one request stored: rows_L2KSW (2: keys, values) by position. prompt_P: ids of its prompt. kept: how many of
    its first rows are stored for good."""

    def __init__(self, prompt_P: Tensor, rows_L2KSW: Tensor, kept: int = 0) -> None:
        self.prompt_P, self.rows_L2KSW, self.kept = prompt_P, rows_L2KSW, kept


@final
class Shelves:
    """One shelf a request."""

    def __init__(self, shelves: Sequence[Shelf]) -> None:
        self.shelves = list(shelves)

    def select(self, rows_R: Tensor) -> "Shelves":
        """These requests; of one that is named twice, the second is a copy."""
        found: list[Shelf] = []
        for row in rows_R.tolist():  # sync: shelves live in a list
            shelf = self.shelves[row]
            found.append(Shelf(shelf.prompt_P, shelf.rows_L2KSW.clone(), shelf.kept) if shelf in found else shelf)
        return Shelves(found)

    def join(self, other: "Shelves") -> "Shelves":
        """These requests, then the other's."""
        return Shelves([*self.shelves, *other.shelves])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """lean: the network; convention: how its rows are read. known: ids from there on mean nothing and are never said;
    None: all mean something."""

    lean: Lean
    convention: Convention
    known: int | None = None

    @property
    def vocab(self) -> int:
        """How many logits a place has."""
        return int(self.lean.config.vocab_size)

    @property
    def mask(self) -> int:
        """The id of an open place."""
        return self.convention.mask_token_id

    def start(self, prompt_BT: Tensor, canvas_BL: Tensor) -> Shelves:
        """Raises BadInput for a request that does not fit the positions, or a shifted model's without a prompt."""
        lean, counts = self.lean, (canvas_BL != PAD).sum(-1).tolist()  # sync: once a request
        shelves = []
        for prompt_T, count in zip(prompt_BT, counts, strict=True):
            prompt_P = prompt_T[prompt_T != PAD]
            slots = len(prompt_P) + count
            if slots > lean.positions:
                raise BadInput(
                    f"a prompt of {len(prompt_P)} tokens and {count} places to fill are more than the {lean.positions} "
                    f"positions of the model; ask for fewer"
                )
            if self.convention.shift and not len(prompt_P):
                raise BadInput("this model says a token from the place in front of it; put at least one token in front")
            shape = (len(lean.layers), 2, lean.kv_heads, slots, lean.width)
            shelves.append(Shelf(prompt_P, lean.table.new_zeros(shape)))
        return Shelves(shelves)

    def predict(self, state: Shelves, canvas_BL: Tensor, fresh: Fresh, wanted_BL: Tensor) -> tuple[Shelves, Tensor]:
        """Under the shift, the row in front of a wanted place is computed as well."""
        rows, said, count = [], [], 0
        for at, shelf in enumerate(state.shelves):
            part, told = self._rows(shelf, canvas_BL[at], bool(fresh.prompt_B[at]), fresh.answer_BL[at], wanted_BL[at])
            rows.append(part)
            said.append(told + count)
            count += len(part.position_Q)
        lean = self.lean
        position_R = torch.cat([part.position_Q for part in rows])
        angles = lean.angles.at(position_R, lean.positions if not count else int(position_R.max()) + 1)
        x_RD = lean.embedded(torch.cat([part.ids_Q for part in rows]))
        mixer = _Mixer(rows, lean.heads // lean.kv_heads)
        for number, layer in enumerate(lean.layers):
            x_RD = lean.attend(layer, number, x_RD, angles, mixer)
            if number == len(lean.layers) - 1:
                x_RD = x_RD[torch.cat(said)]  # the others are stored, and nothing behind the last mixing reads them
            x_RD = layer.down.plus(layer.gated(layer.second_norm(x_RD)), x_RD)
        logits_NV = lean.head(lean.norm(x_RD)).float()
        logits_NV[:, self.mask] = -torch.inf
        if self.known is not None:
            logits_NV[:, self.known :] = -torch.inf
        return state, logits_NV

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Keys and values of every position."""
        return sum(tokens) * self.lean.token_bytes()

    def _rows(
        self, shelf: Shelf, canvas_L: Tensor, prompt: bool, fresh_L: Tensor, wanted_L: Tensor
    ) -> "tuple[_Rows, Tensor]":
        """What is computed of one request, and which of these rows say something."""
        prompt_P, before = shelf.prompt_P, len(shelf.prompt_P)
        present_S = torch.cat([torch.ones_like(prompt_P, dtype=torch.bool), canvas_L != PAD])
        fresh_S = torch.cat([torch.full_like(prompt_P, prompt, dtype=torch.bool), fresh_L & (canvas_L != PAD)])
        saying_S = torch.zeros_like(present_S)
        saying_S[before:] = wanted_L
        if self.convention.shift:
            saying_S = saying_S.roll(-1)
        fresh_S[: shelf.kept] = False
        position_Q = (fresh_S | saying_S).nonzero()[:, 0]  # sync: how many rows there are
        ids_S = torch.cat([prompt_P, canvas_L])
        read_S = None if bool(present_S.all()) else present_S[: shelf.rows_L2KSW.shape[3]]
        told = saying_S[position_Q].nonzero()[:, 0]
        causal = self.convention.causal_rows(before) - shelf.kept if prompt else 0
        shelf.kept += causal
        return _Rows(ids_S[position_Q], position_Q, _stretch(position_Q), shelf, read_S, causal), told


def _stretch(position_Q: Tensor) -> Tensor | slice:
    """The same positions, as a slice where they follow each other: writing there costs a tenth."""
    if not len(position_Q):
        return position_Q
    first, last = int(position_Q[0]), int(position_Q[-1])  # sync: on a CPU next to nothing
    return slice(first, last + 1) if last - first + 1 == len(position_Q) else position_Q


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Of one request: ids and positions of the rows of a pass. slots: where their keys go. read_S: positions that are
    there; None: all. causal: how many of the rows, a request's first, read nothing behind them."""

    ids_Q: Tensor
    position_Q: Tensor
    slots: Tensor | slice
    shelf: Shelf
    read_S: Tensor | None
    causal: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Mixer:
    """Attention, request by request. groups: heads that share keys."""

    rows: Sequence[_Rows]
    groups: int

    def __call__(self, layer: int, query_RHW: Tensor, key_RKW: Tensor, value_RKW: Tensor, scale: float) -> Tensor:
        """mixed_RHW."""
        mixed, begin = torch.empty_like(query_RHW), 0
        for part in self.rows:
            end = begin + len(part.position_Q)
            stored_2KSW = part.shelf.rows_L2KSW[layer]
            stored_2KSW[0, :, part.slots] = key_RKW[begin:end].transpose(0, 1)
            stored_2KSW[1, :, part.slots] = value_RKW[begin:end].transpose(0, 1)
            if part.causal:
                first = begin + part.causal
                mixed[begin:first] = self._read(query_RHW[begin:first], stored_2KSW[:, :, : part.causal], scale, True)
                begin = first
            read_2KSW = stored_2KSW if part.read_S is None else stored_2KSW[:, :, part.read_S]
            mixed[begin:end] = self._read(query_RHW[begin:end], read_2KSW, scale)
            begin = end
        return mixed

    def _read(self, query_QHW: Tensor, read_2KSW: Tensor, scale: float, causal: bool = False) -> Tensor:
        """mixed_QHW. Heads that share keys are rows of one head, so that no key is copied."""
        query_KQGW = query_QHW.unflatten(1, (-1, self.groups)).transpose(0, 1)
        behind_FS = None
        if causal:
            count = len(query_QHW)
            behind_FS = query_QHW.new_ones(count, count, dtype=torch.bool).tril().repeat_interleave(self.groups, 0)
        found_1KFW = scaled_dot_product_attention(
            query_KQGW.flatten(1, 2)[None], read_2KSW[:1], read_2KSW[1:], attn_mask=behind_FS, scale=scale
        )
        return found_1KFW[0].unflatten(1, query_KQGW.shape[1:3]).transpose(0, 1).flatten(1, 2)

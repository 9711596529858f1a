"""A masked diffusion model that is ready to decode: `diffusion.MaskedLM` over decant's own forward pass.

Each request stores the keys and values of its prompt and canvas, position by position. A pass computes the rows that
are named fresh, writes them there, and every fresh row reads what is stored, in both directions or as far as the
convention lets it. Places that were dropped are read by nobody. A row is not computed where it would come out as it is
stored, nor, of a model that reads block by block, behind the last block that is asked about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from decant.diffusion import Fresh
from decant.errors import BadInput
from decant.models.fast.lean import Lean
from decant.models.masked.convention import Convention
from decant.types import PAD

NEVER: Final = 2**62  # a group behind all


@final
class Shelf:
    """What one request stored: rows_L2KSW (2: keys, values) by position. prompt_P: ids of its prompt. group_S: as in
    `Convention.groups`. Of the last pass: ids_S, `asked`, the first and the last group that it asked about, and
    exact_S: which rows say what a whole pass would say."""

    def __init__(self, prompt_P: Tensor, rows_L2KSW: Tensor, group_S: Tensor) -> None:
        self.prompt_P, self.rows_L2KSW, self.group_S = prompt_P, rows_L2KSW, group_S
        self.ids_S = torch.full_like(group_S, PAD)
        self.exact_S = torch.zeros_like(group_S, dtype=torch.bool)
        self.asked = (1, 1)

    def copy(self) -> "Shelf":
        """What is written there changes nothing here."""
        other = Shelf(self.prompt_P, self.rows_L2KSW.clone(), self.group_S)
        other.ids_S, other.exact_S, other.asked = self.ids_S.clone(), self.exact_S.clone(), self.asked
        return other

    def turn(self, ids_S: Tensor, saying_S: Tensor) -> None:
        """To another pass. Rows are no longer exact that read a changed one or have changed themselves, nor those that
        were read from both sides and now are not, or the other way round."""
        groups = self.group_S[saying_S]
        asked = (int(groups[0]), int(groups[-1])) if len(groups) else self.asked  # sync: on the host
        group_S = self.group_S.masked_fill(ids_S == self.ids_S, NEVER)
        moved = NEVER if asked == self.asked else min(asked[0], self.asked[0])
        self.exact_S &= self.group_S < group_S.min().clamp_max(moved)
        self.ids_S, self.asked = ids_S, asked

    def computed(self, rows_S: Tensor) -> None:
        """These were, in one pass; they are exact if all are that they read."""
        missing_S = ~(rows_S | self.exact_S | (self.ids_S == PAD))
        self.exact_S |= rows_S & (self.group_S < self.group_S.masked_fill(~missing_S, NEVER).min())


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
            found.append(shelf.copy() if shelf in found else shelf)
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
        lean, shelves = self.lean, []
        for prompt_T, canvas_L in zip(prompt_BT, canvas_BL, strict=True):
            prompt_P, canvas_L = prompt_T[prompt_T != PAD], canvas_L[canvas_L != PAD]
            count, slots = len(canvas_L), len(prompt_P) + len(canvas_L)
            if slots > lean.positions:
                raise BadInput(
                    f"a prompt of {len(prompt_P)} tokens and {count} places to fill are more than the {lean.positions} "
                    f"positions of the model; ask for fewer"
                )
            if self.convention.shift and not len(prompt_P):
                raise BadInput("this model says a token from the place in front of it; put at least one token in front")
            shape = (len(lean.layers), 2, lean.kv_heads, slots, lean.width)
            gaps = bool((canvas_L != self.mask).any())  # sync: once a request
            group_S = self.convention.groups(len(prompt_P), count, whole=gaps).to(canvas_L.device)
            shelves.append(Shelf(prompt_P, lean.table.new_zeros(shape), group_S))
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
        places = len(shelf.group_S) - before  # others in the batch may have more
        canvas_L, fresh_L, wanted_L = canvas_L[:places], fresh_L[:places], wanted_L[:places]
        present_S = torch.cat([torch.ones_like(prompt_P, dtype=torch.bool), canvas_L != PAD])
        fresh_S = torch.cat([torch.full_like(prompt_P, prompt, dtype=torch.bool), fresh_L & (canvas_L != PAD)])
        saying_S = torch.zeros_like(present_S)
        saying_S[before:] = wanted_L
        if self.convention.shift:
            saying_S = saying_S.roll(-1)
        ids_S = torch.cat([prompt_P, canvas_L])
        shelf.turn(ids_S, saying_S)
        rows_S = fresh_S & ~shelf.exact_S
        if self.convention.block is not None:
            rows_S &= shelf.group_S <= shelf.asked[1]
        rows_S |= saying_S
        shelf.computed(rows_S)
        position_Q = rows_S.nonzero()[:, 0]  # sync: how many rows there are
        read_S = None if bool(present_S.all()) else present_S
        told = saying_S[position_Q].nonzero()[:, 0]
        return _Rows(
            ids_S[position_Q], position_Q, _stretch(position_Q), shelf, read_S, _spans(shelf, position_Q)
        ), told


def _spans(shelf: Shelf, position_Q: Tensor) -> "list[_Span]":
    """The rows of a pass: in front of the first block that is asked about, and from there on."""
    first, last = shelf.asked
    bounds = torch.searchsorted(shelf.group_S, torch.tensor([first, last + 1], device=position_Q.device))
    front, reach = bounds.tolist()  # sync: on the host
    count = int((position_Q < front).sum())  # sync: on the host
    spans = [_Span(count, front, position_Q[:count]), _Span(len(position_Q) - count, reach, None)]
    return [span for span in spans if span.count]


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
    there; None: all."""

    ids_Q: Tensor
    position_Q: Tensor
    slots: Tensor | slice
    shelf: Shelf
    read_S: Tensor | None
    spans: "Sequence[_Span]"


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Span:
    """So many rows, which read the first `reach` positions; where `position_Q` is given, up to their own."""

    count: int
    reach: int
    position_Q: Tensor | None


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
            for span in part.spans:
                first, begin = begin, begin + span.count
                read_S = slice(span.reach) if part.read_S is None else part.read_S[: span.reach].nonzero()[:, 0]
                seen_QS = None
                if span.position_Q is not None:
                    place_S = torch.arange(len(part.shelf.group_S), device=mixed.device)[read_S]
                    seen_QS = place_S <= span.position_Q[:, None]
                mixed[first:begin] = self._read(query_RHW[first:begin], stored_2KSW[:, :, read_S], scale, seen_QS)
        return mixed

    def _read(self, query_QHW: Tensor, read_2KSW: Tensor, scale: float, seen_QS: Tensor | None) -> Tensor:
        """mixed_QHW. Heads that share keys are rows of one head, so that no key is copied."""
        query_KQGW = query_QHW.unflatten(1, (-1, self.groups)).transpose(0, 1)
        seen_FS = None if seen_QS is None else seen_QS.repeat_interleave(self.groups, 0)
        found_1KFW = scaled_dot_product_attention(
            query_KQGW.flatten(1, 2)[None], read_2KSW[:1], read_2KSW[1:], attn_mask=seen_FS, scale=scale
        )
        return found_1KFW[0].unflatten(1, query_KQGW.shape[1:3]).transpose(0, 1).flatten(1, 2)

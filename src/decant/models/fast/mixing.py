"""Attention of packed rows: each request's over a lane of its own, with masks that all layers share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.models.attention import (
    FUSED,
    QUERIES,
    boundary,
    edges,
    filling,
    folded,
    front_reach,
    merge,
    mix,
    mix_front,
    mix_tail,
)
from decant.models.fast.lanes import Lane, Lanes
from decant.models.spans import Span, additive, stacked

WIDTH = 64  # slots read are a multiple of this: an odd tail makes attention slower


@final
@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one request. rows: among the packed ones; slots: where they go; mask_11FS: folded, over what is read."""

    lane: Lane
    rows: slice
    slots: slice
    mask_11FS: Tensor


@final
class Mixing:
    """One forward's attention, layer by layer: write the rows' keys and values, then mix what each may read.

    lanes: with room for all of it behind this call. window: positions that a row sees; 0: all.
    """

    def __init__(self, lanes: Lanes, spans: Sequence[Span], groups: int, window: int, like: Tensor) -> None:
        multiple = filling(like.dtype, like.device)
        self.parts: list[Part] = []
        first = 0
        for span in spans:
            lane, reach = lanes.lanes[span.request], -(-span.stop // WIDTH) * WIDTH
            lane.reserve(reach)
            mask = folded(additive(span.reads(reach, window), like.dtype)[None, None], groups, multiple)
            rows = slice(first, first + span.count)
            self.parts.append(Part(lane, rows, slice(span.first, span.stop), mask.to(like.device)))
            first = rows.stop

    def __call__(self, layer: int, query_RHW: Tensor, key_RKW: Tensor, value_RKW: Tensor, scale: float) -> Tensor:
        """mixed_RHW; rows that no part names are zero."""
        alone = len(self.parts) == 1 and self.parts[0].rows.stop == len(query_RHW)
        mixed_RHW = query_RHW if alone else torch.zeros_like(query_RHW)
        for part in self.parts:
            rows_2KSW = _written(part, layer, key_RKW, value_RKW)
            reach = part.mask_11FS.shape[3]
            query_1HQW = query_RHW[part.rows].transpose(0, 1)[None]
            mixed_1HQW = mix(query_1HQW, rows_2KSW[:1, :, :reach], rows_2KSW[1:, :, :reach], part.mask_11FS, scale)
            if alone:
                return mixed_1HQW[0].transpose(0, 1)
            mixed_RHW[part.rows] = mixed_1HQW[0].transpose(0, 1)
        return mixed_RHW


@final
class SteadyMixing:
    """`Mixing` in exact mode: keys are cut at a boundary of each row's position (see attention.py).

    Tails, all of about one length, go together; what lies in front of them does not.
    """

    def __init__(self, lanes: Lanes, spans: Sequence[Span], groups: int, window: int, like: Tensor) -> None:
        self.begins = [boundary(span.first) for span in spans]
        self.longest = max(span.stop - begin for span, begin in zip(spans, self.begins, strict=True))
        self.parts: list[Part] = []
        tails, some = [], []
        first, most = 0, max(span.count for span in spans)
        for span, begin in zip(spans, self.begins, strict=True):
            lane, reach, stop = lanes.lanes[span.request], front_reach(span), begin + self.longest
            lane.reserve(max(reach, stop))
            allow_QS, edge_Q1, slot_S = span.reads(max(reach, stop), window), edges(span)[:, None], torch.arange(stop)
            front_QS = allow_QS[:, :reach] & (torch.arange(reach) < edge_Q1)
            tails.append(allow_QS[:, begin:stop] & (slot_S[begin:] >= edge_Q1))
            some.append(front_QS.any(-1))
            mask = folded(additive(front_QS, like.dtype)[None, None], groups, QUERIES)
            rows = slice(first, first + span.count)
            self.parts.append(Part(lane, rows, slice(span.first, span.stop), mask))
            first = rows.stop
        self.rows, self.reads_BQT, self.some_R11 = first, stacked(tails, most), torch.cat(some)[:, None, None]
        # Packed rows on a grid, and back.
        counts = torch.tensor([span.count for span in spans])
        at_BQ = torch.arange(most) + (counts.cumsum(0) - counts)[:, None]
        self.grid_BQ = at_BQ.clamp_max(first - 1)
        self.real_BQ = torch.arange(most) < counts[:, None]

    def __call__(self, layer: int, query_RHW: Tensor, key_RKW: Tensor, value_RKW: Tensor, scale: float) -> Tensor:
        """mixed_RHW; rows that no part names are zero."""
        rows_of = [_written(part, layer, key_RKW, value_RKW) for part in self.parts]
        tail = self._tail(rows_of, query_RHW, scale)
        mixed_RHW = tail[0]
        if any(part.mask_11FS.shape[3] for part in self.parts):
            mixed_RHW = merge(self._front(rows_of, query_RHW, scale), tail, self.some_R11)
        more = len(query_RHW) - self.rows
        mixed_RHW = mixed_RHW.to(query_RHW.dtype)
        return pad(mixed_RHW, (0, 0, 0, 0, 0, more)) if more else mixed_RHW

    def _tail(self, rows_of: Sequence[Tensor], query_RHW: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """mixed_RHW and log-sum-exp_RH1 of what lies behind the boundaries, on a grid of requests."""
        tails = [
            rows_2KSW[:, :, begin : begin + self.longest] for rows_2KSW, begin in zip(rows_of, self.begins, strict=True)
        ]
        alone = len(tails) == 1
        tails_B2KTW = tails[0][None] if alone else torch.stack(tails)
        query_BQHW = query_RHW[None, : self.rows] if alone else query_RHW[self.grid_BQ]
        found = mix_tail(query_BQHW.transpose(1, 2), tails_B2KTW[:, 0], tails_B2KTW[:, 1], self.reads_BQT, scale)
        mixed_BQHW, total_BQH1 = (each.transpose(1, 2) for each in found)
        return (mixed_BQHW[0], total_BQH1[0]) if alone else (mixed_BQHW[self.real_BQ], total_BQH1[self.real_BQ])

    def _front(self, rows_of: Sequence[Tensor], query_RHW: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """The same of what lies in front of them; nothing (0) where a request has nothing there."""
        heads, width = query_RHW.shape[1:]
        mixed_RHW = query_RHW.new_zeros(self.rows, heads, width, dtype=torch.float64)
        total_RH1 = mixed_RHW.new_zeros(self.rows, heads, 1)
        for part, rows_2KSW in zip(self.parts, rows_of, strict=True):
            if reach := part.mask_11FS.shape[3]:
                query_1HQW = query_RHW[part.rows].transpose(0, 1)[None]
                key, value = rows_2KSW[:1, :, :reach], rows_2KSW[1:, :, :reach]
                mixed_1HQW, total_1HQ1 = mix_front(query_1HQW, key, value, part.mask_11FS, scale)
                mixed_RHW[part.rows], total_RH1[part.rows] = (
                    mixed_1HQW[0].transpose(0, 1),
                    total_1HQ1[0].transpose(0, 1),
                )
        return mixed_RHW, total_RH1


def mixing(steady: bool, device: torch.device) -> type[Mixing] | type[SteadyMixing]:
    """Which of the two."""
    return SteadyMixing if steady and FUSED is not None and device.type == "cpu" else Mixing


def _written(part: Part, layer: int, key_RKW: Tensor, value_RKW: Tensor) -> Tensor:
    """The request's rows_2KSW of this layer, the new ones included."""
    rows_2KSW = part.lane.rows_L2KSW[layer]
    rows_2KSW[0, :, part.slots] = key_RKW[part.rows].transpose(0, 1)
    rows_2KSW[1, :, part.slots] = value_RKW[part.rows].transpose(0, 1)
    return rows_2KSW

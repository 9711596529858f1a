"""Nats of positions that know nothing of each other: a tile of rows at a time, its slopes found along with its values.

What a divergence makes on its way is as wide as the vocabulary, a dozen times over. Of a tile it stays in the cache; of
a whole chunk it goes to memory and back, and copies are paged in anew (measured, Jensen-Shannon over 1,024 rows of
4,096: half the time, no page faults in place of 28,000). What is kept for the backward pass is one slope a logit.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from decant.distill.seams import Study, by_chunks, sketching

TILE: Final = 2**18  # logits of a tile: a copy in float32 is a mebibyte
LEAST: Final = 64  # rows of a tile: a teacher's head is read from memory once for each tile

Nats = Callable[[slice, Tensor], Tensor]
"""(rows, q_logp_XV) -> nats_X: what a row gives depends on this row alone. Gradients reach q_logp_XV and nothing else;
it is float32, or float64 where the logits are."""


def by_tiles(study: Study, nats: Nats) -> Tensor:
    """nats_N of the student's law at all positions that count."""
    student = study.student

    def chunk(rows: slice) -> Tensor:
        logits_XV = student.logits(rows)

        def tile(part: slice, q_logp_XV: Tensor) -> Tensor:
            return nats(slice(rows.start + part.start, rows.start + part.stop), q_logp_XV)

        return _Tiles.apply(logits_XV, tile, _parts(logits_XV))  # type: ignore[no-any-return]

    return by_chunks(len(study.at), student.vocab, chunk)


def _parts(logits_XV: Tensor) -> list[slice]:
    """An accelerator takes a chunk at once: there calls cost more than copies."""
    count, vocab = logits_XV.shape
    size = max(LEAST, TILE // vocab) if logits_XV.device.type == "cpu" else max(1, count)
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


class _Tiles(torch.autograd.Function):
    """logits_XV -> nats_X. Slopes are rounded to the logits' type once, when they have become gradients."""

    @staticmethod
    def forward(ctx: Any, logits_XV: Tensor, nats: Nats, parts: Sequence[slice]) -> Tensor:
        learns = logits_XV.requires_grad and not sketching()
        kind = torch.promote_types(logits_XV.dtype, torch.float32)
        # Whoever runs this again for gradients compares what is saved by its shape, and counts it: a tile's graph is
        # nobody's business.
        slope_XV = logits_XV.new_empty(logits_XV.shape if learns else (1, 1), dtype=kind).expand_as(logits_XV)
        found = [slope_XV.new_empty(0)]
        with torch.set_grad_enabled(learns), saved_tensors_hooks(Tensor.detach, Tensor.detach):
            for part in parts:
                tile_XV = logits_XV[part].detach().to(kind).requires_grad_(learns)
                nats_X = nats(part, tile_XV.log_softmax(-1))
                if learns:
                    slope_XV[part] = torch.autograd.grad(nats_X.sum(), tile_XV)[0]
                found.append(nats_X.detach())
        ctx.save_for_backward(slope_XV)
        ctx.parts, ctx.kind = parts, logits_XV.dtype
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slope: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (slope_XV,) = ctx.saved_tensors
        found_XV = torch.empty_like(slope_XV, dtype=ctx.kind)
        for part in ctx.parts:
            torch.mul(slope_XV[part], slope[0][part, None], out=found_XV[part])
        return found_XV, None, None

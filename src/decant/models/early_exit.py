"""A model's lower layers as drafts of its own, over the very cache that it keeps.

A draft's rows are written behind what is committed, into the layers below their exit; the target's own pass over the
draft then writes the same slots in all layers, and a row reads only slots that its own pass has written or that are
committed. So the target never sees what an exit wrote, and its bits are those of plain decoding. The paper hands the
exit's states to the upper layers instead of computing them again; that reads as many bytes of weights, since the newest
token needs the lower layers in any case.
Source: Elhoushi et al. 2024, arXiv:2404.16710 (LayerSkip).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Final, final

import torch
from torch import Tensor

from decant.errors import BadInput, IncompatibleParts
from decant.models.causal import Causal, on_grid, resized
from decant.models.context import Context
from decant.models.fast.lean import Lean
from decant.models.spans import Span
from decant.types import Draft

CHUNK: Final = 64  # rows of one call of the head: bounds memory where every layer casts a shadow


@final
@dataclass(frozen=True, slots=True, eq=False)
class EarlyExits:
    """The exits of `model`, which runs through `network`. shares: see `share`, of each exit."""

    model: Causal
    network: Lean
    shares: tuple[float, ...]

    @classmethod
    def of(cls, model: Causal, name: str) -> "EarlyExits":
        """Raises IncompatibleParts for a model that runs through transformers: its layers cannot be left early."""
        if not isinstance(model.network, Lean):
            raise IncompatibleParts(
                f"an early exit leaves decant's own forward pass between two layers, but {name} "
                f"({model.network.architecture}) runs through transformers; take draft-model or prompt-lookup"
            )
        network = model.network
        read = [network.upto(exit).weight_bytes() for exit in range(1, len(network.layers) + 1)]
        return cls(model, network, tuple(part / read[-1] for part in read))

    @property
    def layers(self) -> int:
        """Of the model."""
        return len(self.network.layers)

    def share(self, exit: int) -> float:
        """What a pass up to this exit reads of the weights, the head included, as a share of a whole pass."""
        return self.shares[exit - 1]

    def guess(
        self, context: object, exits: tuple[int, ...], sure: Callable[[Tensor], Tensor]
    ) -> Callable[[Draft], Tensor]:
        """See `protocols.Exits`. Raises BadInput unless exits ascend within the layers.

        What the model last scored behind this context is forgotten: its slots are about to be overwritten.
        """
        if not exits or exits[0] < 1 or exits[-1] > self.layers or any(low >= high for low, high in pairwise(exits)):
            raise BadInput(f"exits ascend from 1 to at most the {self.layers} layers of the model, got {exits}")
        assert isinstance(context, Context)
        context.memory[0] = None
        context.cache.claim(context.cached)
        return _Climb(self, context, exits, sure).score

    def shadow(self, hidden_XF: Tensor, exits: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """See `protocols.Exits`. A few rows at a time, so that logits never stand in memory for all layers."""
        hidden_RD = hidden_XF.unflatten(-1, (len(exits), -1)).flatten(0, -2)
        last_R = torch.tensor([exit == self.layers for exit in exits]).repeat(len(hidden_RD) // max(len(exits), 1))
        ids, sure = [], []
        for rows_RD, last in zip(hidden_RD.split(CHUNK), last_R.split(CHUNK), strict=True):
            logits_RV = self.network.speak(rows_RD)
            if last.any():  # what is tapped of the last layer has passed the norm
                logits_RV[last] = self.network.head(rows_RD[last])
            best_R, ids_R = logits_RV.float().max(-1)
            ids.append(ids_R)
            sure.append((best_R - logits_RV.float().logsumexp(-1)).exp())
        shape = (*hidden_XF.shape[:-1], len(exits))
        return torch.cat(ids).view(shape), torch.cat(sure).view(shape)


@final
@dataclass(slots=True, eq=False)
class _Climb:
    """The rows of one draft, on their way up.

    said:    logits_BMV so far, by level. nodes: that were asked for; None: not even the root.
    waiting: rows that left at an exit below the last, with their states there, in the order of their slots. They go on
        when a later row of their request needs what the layers above would have written of them: each row passes each
        layer once at most, many at a time.
    """

    exits: EarlyExits
    context: Context
    rungs: tuple[int, ...]
    sure: Callable[[Tensor], Tensor]
    said: list[Tensor] = field(default_factory=list)
    nodes: int | None = None
    waiting: dict[int, list[Span]] = field(default_factory=dict)

    def score(self, draft: Draft) -> Tensor:
        """logits_BMV of a draft that only adds nodes to the one before."""
        begin = -1 if self.nodes is None else self.nodes  # the root lies in front of node 0
        width = draft.tokens_BN.shape[1] - begin
        spans = self.exits.model.spans(self.context, draft, self.nodes)
        counts = [span.count for span in spans]
        behind = [length + begin - span.first for length, span in zip(self.context.lengths, spans, strict=True)]
        fresh = [span for span in spans if span.count]
        logits_RV = self._leave(fresh) if fresh else draft.tokens_BN.new_empty(0, self.exits.model.vocab).float()
        self.said.append(resized(on_grid(logits_RV, counts, behind, width), self.exits.model.vocab))
        self.nodes = draft.tokens_BN.shape[1]
        return torch.cat(self.said, 1)

    def _leave(self, fresh: list[Span]) -> Tensor:
        """logits_RV of new rows, each at its exit."""
        network = self.exits.network
        states = self._through(fresh, 0, self.rungs[0])
        logits_RV = network.speak(torch.cat(states))
        starts = dict(zip((span.request for span in fresh), accumulate([0, *map(len, states)]), strict=False))
        up = [replace(span, fed_QD=state) for span, state in zip(fresh, states, strict=True)]
        unsure_R = torch.ones(len(logits_RV), dtype=torch.bool, device=logits_RV.device)
        for low, high in pairwise(self.rungs):
            self.waiting.setdefault(low, []).extend(up)
            unsure_R = unsure_R & ~self.sure(logits_RV)
            going = self._going(fresh, unsure_R)
            if not going:
                break
            up = [span for span in self.waiting[low] if span.request in going]
            self.waiting[low] = [span for span in self.waiting[low] if span.request not in going]
            up = [replace(span, fed_QD=state) for span, state in zip(up, self._through(up, low, high), strict=True)]
            for span in {span.request: span for span in up}.values():  # the last of each request: its new rows
                assert span.fed_QD is not None
                at = slice(starts[span.request], starts[span.request] + span.count)
                logits_RV[at] = torch.where(unsure_R[at, None], network.speak(span.fed_QD), logits_RV[at])
        return logits_RV

    def _going(self, fresh: list[Span], unsure_R: Tensor) -> set[int]:
        """Requests with a new row that is not sure. Absent rows, and tokens in front of the root, do not count."""
        real_R = torch.cat([span.ids_Q >= 0 for span in fresh])
        slot_R = torch.cat([torch.arange(span.first, span.stop) - span.length + 1 for span in fresh])
        going_R = unsure_R & real_R & (slot_R >= 0).to(real_R.device)
        parts = going_R.split([span.count for span in fresh])
        return {span.request for span, part in zip(fresh, parts, strict=True) if part.any()}  # sync: who goes on?

    def _through(self, spans: Sequence[Span], low: int, high: int) -> tuple[Tensor, ...]:
        """hidden_QD of each span behind the layers [low, high)."""
        hidden_RD = self.exits.network.stretch(self.context.cache, spans, low, high)  # type: ignore[arg-type]
        return hidden_RD.split([span.count for span in spans])

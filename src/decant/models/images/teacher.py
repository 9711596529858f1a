"""A teacher of images: a body with one row of logits a code, asked unit after unit, or about all units at once.

Source: LlamaGen: Sun et al. 2024, arXiv:2406.06525; VAR: Tian et al. 2024, arXiv:2404.02905; guidance: Ho and Salimans
2022, arXiv:2207.12598.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from decant.images.layout import Layout
from decant.images.seams import ImageTokenizer, Law
from decant.models.images.body import Body, BodySpec, Seen


@final
class CodeModel(nn.Module):
    """What follows the class and the units before."""

    def __init__(self, spec: BodySpec, codes: int) -> None:
        super().__init__()
        self.body = Body(spec)
        self.head = nn.Linear(spec.hidden, codes, bias=False)
        nn.init.normal_(self.head.weight, std=spec.config.initializer_range)

    def forward(self, labels_B: Tensor, inputs_BLC: Tensor) -> Tensor:
        """logits_BLV; inputs_BLC: as `ImageTokenizer.carried` gives them."""
        return self.head(self.body.features(labels_B, inputs_BLC))


def untrained(spec: BodySpec, codes: int, seed: int = 0) -> CodeModel:
    """Fresh weights, float32, the same for the same seed; the global generator does not move."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CodeModel(spec, codes)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Settling:
    """settled_BLC: vectors of the units before `unit`. logits_BKV: of that unit, and other_BKV without a class; empty
    where all units are settled. seen, unclassed: what both sides left in the layers.
    """

    labels_B: Tensor
    settled_BLC: Tensor
    unit: int
    logits_BKV: Tensor
    other_BKV: Tensor
    seen: Seen
    unclassed: Seen | None


@final
@dataclass(frozen=True, slots=True, eq=False)
class CodeTeacher:
    """An `ImageTeacher`. guided: whether `rule` reads what is said without a class; else nothing asks for it, and
    passes have half the rows.
    """

    network: CodeModel
    tokenizer: ImageTokenizer
    rule: Law
    guided: bool = True

    @property
    def layout(self) -> Layout:
        """In which order units come."""
        return self.tokenizer.layout

    @property
    def codes_VC(self) -> Tensor:
        """The codebook."""
        return self.tokenizer.codes_VC

    @property
    def classes(self) -> int:
        """How many."""
        return self.network.body.spec.classes

    @torch.no_grad()
    def start(self, labels_B: Tensor) -> Settling:
        """The first unit's logits; nothing is settled."""
        none_B0C = self.codes_VC.new_zeros(len(labels_B), 0, self.codes_VC.shape[1])
        return self._next(labels_B, none_B0C, 0, None, None)

    def law(self, state: Settling) -> Tensor:
        """logp_BKV of the next unit, after guidance, temperature and truncation."""
        return self.rule(state.logits_BKV, state.other_BKV, state.unit)

    @torch.no_grad()
    def follow(self, state: Settling, ids_BK: Tensor) -> Settling:
        """The unit is settled; one pass, but for the last unit."""
        settled_BLC = torch.cat([state.settled_BLC, self.codes_VC[ids_BK]], dim=1)
        if state.unit + 1 == self.layout.units:
            empty = state.logits_BKV[:, :0]
            return replace(state, settled_BLC=settled_BLC, unit=state.unit + 1, logits_BKV=empty, other_BKV=empty)
        return self._next(state.labels_B, settled_BLC, state.unit + 1, state.seen, state.unclassed)

    @torch.no_grad()
    def laws(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        """logp_BLV, each behind the vectors of earlier units; one pass, of twice the rows under guidance."""
        inputs_BLC = self.tokenizer.carried(vectors_BLC)
        if not self.guided:
            logits_BLV = other_BLV = self.network(labels_B, inputs_BLC).float()
        else:
            both = torch.cat([labels_B, self._no_class(labels_B)]), torch.cat([inputs_BLC, inputs_BLC])
            logits_BLV, other_BLV = self.network(*both).float().chunk(2)
        spans = [self.layout.span(unit) for unit in range(self.layout.units)]
        each = [self.rule(logits_BLV[:, span], other_BLV[:, span], unit) for unit, span in enumerate(spans)]
        return torch.cat(each, dim=1)

    def _next(
        self, labels_B: Tensor, settled_BLC: Tensor, unit: int, seen: Seen | None, unclassed: Seen | None
    ) -> Settling:
        """The logits of a unit, behind those that are settled."""
        span, batch, body = self.layout.span(unit), len(labels_B), self.network.body
        open_BLC = settled_BLC.new_zeros(batch, self.layout.places - span.start, settled_BLC.shape[2])
        inputs_BKC = self.tokenizer.carried(torch.cat([settled_BLC, open_BLC], dim=1))[:, span]
        if not self.guided:
            f_BKD, seen = body.follow(body.read(labels_B, inputs_BKC, span.start), seen)
            logits_BKV = self.network.head(f_BKD).float()
            return Settling(labels_B, settled_BLC, unit, logits_BKV, logits_BKV, seen, None)
        both_B = torch.cat([labels_B, self._no_class(labels_B)])
        x_BKD = body.read(both_B, torch.cat([inputs_BKC, inputs_BKC]), span.start)
        f_BKD, left = body.follow(x_BKD, None if seen is None or unclassed is None else seen.join(unclassed))
        logits_BKV, other_BKV = self.network.head(f_BKD).float().chunk(2)
        halves = left.select(slice(batch)), left.select(slice(batch, None))
        return Settling(labels_B, settled_BLC, unit, logits_BKV, other_BKV, *halves)

    def _no_class(self, labels_B: Tensor) -> Tensor:
        return torch.full_like(labels_B, self.classes)

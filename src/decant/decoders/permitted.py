"""Settle only what a language permits: what was chosen is tested, nothing else.

What fits together is kept as it is. Otherwise chosen places are tried from the surest on, each together with those that
were kept before it; a refused one stays open, and the next pass sees it beside its settled neighbours. Where all were
refused, the surest gets its next guess, and in the end what the language itself proposes: a step always settles.
Source: Muendler et al. 2025, arXiv:2508.10111 (one place a step there).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Permits, Reveal, surest
from decant.errors import BadInput
from decant.types import PAD

TRIES = 100  # guesses at one place, as in the paper; here each is of another kind


def admit(permits: Permits, canvas_BL: Tensor) -> None:
    """Raises BadInput for a canvas that can become no text."""
    for canvas in canvas_BL.tolist():  # sync: once a request
        if not permits.fits(canvas):
            places = sum(token != PAD for token in canvas)
            raise BadInput(
                f"no text of the grammar fits a canvas of {places} places with what is given there; open more places, "
                f"or give what the grammar allows"
            )


def permitted(permits: Permits, reveal: Reveal, seen: Outlook, given_BL: Tensor, mask: int) -> Reveal:
    """What may settle of it, and what follows from that. A row that would not fit with reopened places keeps them."""
    open_BL = seen.canvas_BL == mask
    settled_BL = reveal.settled_BL & open_BL
    again_BL = torch.zeros_like(open_BL) if reveal.again_BL is None else reveal.again_BL & ~given_BL
    tokens_BL, kept_BL = reveal.tokens_BL.clone(), torch.zeros_like(open_BL)
    rows = (settled_BL.any(-1) | again_BL.any(-1)).nonzero()[:, 0].tolist()  # sync: languages are read on the host
    for row in rows:
        before = seen.canvas_BL[row].masked_fill(again_BL[row], mask).tolist()
        if not permits.fits(before):
            before = seen.canvas_BL[row].tolist()
            again_BL[row] = False
            if not bool(settled_BL[row].any()):  # sync: a step always changes something
                settled_BL[row] = surest(seen.confidence_BL, open_BL & seen.asked_BL, 1)[row]
                tokens_BL[row] = seen.guess_BL[row]
        chosen = [place for place in settled_BL[row].nonzero()[:, 0].tolist() if before[place] == mask]
        order = seen.confidence_BL[row, chosen].argsort(descending=True, stable=True).tolist()
        tokens = tokens_BL[row].tolist()
        kept = _Walk(permits, seen, row, before).kept({chosen[at]: tokens[chosen[at]] for at in order})
        after = {**kept, **permits.implied(_with(before, kept))}
        places = list(after)
        tokens_BL[row, places] = torch.tensor([after[place] for place in places], device=tokens_BL.device)
        kept_BL[row, places] = True
    return Reveal(tokens_BL, kept_BL, None if reveal.again_BL is None else again_BL)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """One request. before: its canvas, which fits."""

    permits: Permits
    seen: Outlook
    row: int
    before: Sequence[int]

    def kept(self, chosen: Mapping[int, int]) -> dict[int, int]:
        """chosen: place -> token, the surest first. One at least is kept, be it with another token."""
        if self.permits.fits(_with(self.before, chosen)):
            return dict(chosen)
        kept: dict[int, int] = {}
        for place, token in chosen.items() if len(chosen) > 1 else ():
            if self.permits.fits(_with(self.before, {**kept, place: token})):
                kept[place] = token
        if kept:
            return kept
        first = next(iter(chosen))
        return {first: self._another(first, chosen[first])}

    def _another(self, place: int, refused: int) -> int:
        """The next guess that fits at an open place: noise is keyed by place, so that it is the next of one race."""
        asked_N = (self.seen.row_N == self.row) & (self.seen.place_N == place)
        logits_1V = self.seen.logits_NV[asked_N].clone()  # sync: where it was asked about
        kind_V = self.permits.kind_V.to(logits_1V.device)
        noise = self.seen.noise.select(torch.tensor([self.row], device=logits_1V.device))
        place_1 = torch.tensor([place], device=logits_1V.device)
        for _ in range(TRIES):
            if refused != PAD:
                logits_1V[:, kind_V == kind_V[refused]] = -torch.inf
            if not bool(logits_1V.isfinite().any()):  # sync: nothing is left, or nobody asked
                break
            law_1V = self.seen.warp(logits_1V).softmax(-1)
            refused = int(noise.draw(law_1V, place_1))  # sync: languages are read on the host
            if self.permits.fits(_with(self.before, {place: refused})):
                return refused
        return self.permits.rescue(self.before, place)


def _with(canvas: Sequence[int], tokens: Mapping[int, int]) -> list[int]:
    return [tokens.get(place, token) for place, token in enumerate(canvas)]

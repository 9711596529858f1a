"""Outlooks in which everything is known, and the choice of an unmasker against a rule in words."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Outlook, Turn
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.schedules.full import Full
from decant.testing.canvases import Asked, TableLM
from decant.types import PAD

Rule = Callable[[dict[int, float]], set[int]]
"""Of one request: from the eligible places and what the model thinks of them to the places that settle."""


def outlook(logits_BLV: Tensor, open_BL: Tensor | None = None) -> Outlook:
    """What a greedy decoder sees; the last id is the mask, given places hold id 0."""
    mask = logits_BLV.shape[-1] - 1
    open_BL = torch.ones(logits_BLV.shape[:2], dtype=torch.bool) if open_BL is None else open_BL
    logits_BLV = logits_BLV.index_fill(-1, torch.tensor(mask), -torch.inf)
    row_N, place_N = open_BL.nonzero(as_tuple=True)
    canvas_BL = torch.where(open_BL, mask, 0)
    noise = Noise.of(list(range(len(canvas_BL))))
    return Outlook(canvas_BL, row_N, place_N, logits_BLV[open_BL].float(), greedy(), noise)


def sure(confidence_L: list[float], vocab: int = 12) -> Outlook:
    """One request whose guess in each place is id 0, so likely; the rest is spread evenly. 0: a given place."""
    confidence_BL = torch.tensor([confidence_L], dtype=torch.float64)
    rest_BL = (1 - confidence_BL) / (vocab - 2)
    probs_BLV = rest_BL[..., None].expand(-1, -1, vocab).clone()
    probs_BLV[..., 0] = confidence_BL
    return outlook(probs_BLV.log(), confidence_BL > 0)


def chosen(unmasker: Any, seen: Outlook, turn: Turn | None = None, state: Any = None) -> list[set[int]]:
    """The places of each request that settle; every open one may unless a turn says otherwise."""
    turn = turn or Turn(seen.asked_BL)
    state = unmasker.start(seen.canvas_BL, seen.noise) if state is None else state
    reveal, _ = unmasker.reveal(state, seen, turn)
    return [set(row.nonzero()[:, 0].tolist()) for row in reveal.settled_BL]


def arbitrary(seed: int, batch: int = 48, places: int = 13, vocab: int = 6) -> tuple[Outlook, Turn]:
    """Places of every certainty, some of them given; a block of each request may settle."""
    chance = torch.Generator().manual_seed(seed)
    scale_BL1 = 0.5 + 8 * torch.rand(batch, places, 1, generator=chance)
    logits_BLV = scale_BL1 * torch.randn(batch, places, vocab, generator=chance)
    open_BL = torch.rand(batch, places, generator=chance) < 0.75
    open_BL[:, 0] = True
    end_B1 = torch.randint(1, places + 1, (batch, 1), generator=chance)
    return outlook(logits_BLV, open_BL), Turn(open_BL & (torch.arange(places) < end_B1))


def check_choice(unmasker: Any, rule: Rule, values: Callable[[Outlook], Tensor]) -> None:
    """Raises AssertionError where the unmasker settles other places than the rule; values: what the rule is told."""
    for seed in range(4):
        seen, turn = arbitrary(seed)
        found = chosen(unmasker, seen, turn)
        told_BL, eligible_BL = values(seen).tolist(), turn.eligible_BL.tolist()
        for row, settled in enumerate(found):
            told = {at: value for at, value in enumerate(told_BL[row]) if eligible_BL[row][at]}
            want = rule(told)
            assert settled == want, f"of {told} the rule settles {sorted(want)} and {unmasker} {sorted(settled)}"


def tables(joint: dict[tuple[int, ...], float], vocab: int) -> TableLM:
    """A model whose answers have this law."""
    return TableLM(torch.tensor(list(joint)), torch.tensor(list(joint.values()), dtype=torch.float64), vocab)


def filled(model: TableLM, unmasker: Any, drawn: int, warp: Any = None) -> tuple[Tensor, int]:
    """canvas_RL, as many answers as `drawn`, and the passes of the slowest; all places at once may settle."""
    places = model.answers_YL.shape[1]
    decoder = MaskedDiffusion(model, unmasker, Full(model.mask), NoCache(), warp or temperature(1.0))
    with torch.inference_mode():
        state = decoder.start(right_pad([[1] + [model.mask] * places] * drawn), Noise.of(list(range(drawn))))
        while bool((state.canvas_BL == model.mask).any()):
            state, _ = decoder.step(state)
    assert isinstance(state.context, Asked)
    assert not bool((state.canvas_BL == PAD).any())
    return state.canvas_BL, state.context.passes[0]

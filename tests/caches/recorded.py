"""What a cache asked for, pass by pass."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Fresh, Scope
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.schedules.blocks import Blocks
from decant.testing.canvases import HashLM
from decant.unmaskers.low_confidence import LowConfidence

MODEL = HashLM(vocab=7)
MASK = MODEL.mask


@dataclass(frozen=True)
class Recorded:
    """passes: the canvas as each pass read it, and what it computed anew."""

    refresh: Any
    passes: list[tuple[Tensor, Fresh]] = field(default_factory=list)

    def start(self, canvas_BL: Tensor, noise: Noise) -> Any:
        return self.refresh.start(canvas_BL, noise)

    def fresh(self, state: Any, canvas_BL: Tensor, scope: Scope) -> tuple[Fresh, Any]:
        fresh, state = self.refresh.fresh(state, canvas_BL, scope)
        self.passes.append((canvas_BL, fresh))
        return fresh, state


REFERENCE = MaskedDiffusion(MODEL, LowConfidence(), Blocks(MASK, 4), NoCache(), greedy())


def said(decoder: MaskedDiffusion[Any], prompts: list[list[int]], seeds: list[int]) -> list[list[int]]:
    """The canvases in the end; a prompt's masks are its places."""
    mask = decoder.masked.mask
    with torch.inference_mode():
        state = decoder.start(right_pad(prompts), Noise.of(seeds))
        while bool((state.canvas_BL == mask).any()):
            state, _ = decoder.step(state)
    return state.canvas_BL.tolist()


def recorded(refresh: Any, places: int = 12, **parts: Any) -> list[tuple[Tensor, Fresh]]:
    """Of one request with so many places."""
    watched = Recorded(refresh)
    said(replace(REFERENCE, refresh=watched, **parts), [[1, 2] + [MASK] * places], [1])
    return watched.passes

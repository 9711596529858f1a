"""Tiny random models that fill in masks, beside the networks of transformers that they are."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from decant.models.build import LlamaSpec, untrained
from decant.models.fast.reading import take
from decant.models.masked.canvas import Canvas
from decant.models.masked.convention import Convention
from decant.models.masked.training import adapt

WORDS = 40
POSITIONS = 64
SPEC = LlamaSpec(WORDS, hidden=32, layers=3, heads=4, kv_heads=2, intermediate=48, head_dim=8, positions=POSITIONS)


@dataclass(frozen=True)
class Filler:
    """network: as transformers runs it."""

    network: PreTrainedModel
    convention: Convention
    canvas: Canvas

    def logits(
        self, ids: list[int], unread: tuple[int, ...] = (), prompt: int = 0, asked: tuple[int, int] | None = None
    ) -> Tensor:
        """logits_TV of transformers' own pass, every position open to every other, as far as the convention lets it;
        no place may say the mask. asked: the first and the last place; None: the canvas is one block."""
        seen_1TT = torch.ones(1, len(ids), len(ids), dtype=torch.bool)
        seen_1TT[..., list(unread)] = False
        if self.convention.causal_prompt:
            opens, closes = prompt - int(self.convention.shift), len(ids)
            if asked is not None and (block := self.convention.block) is not None:
                closes = opens + (asked[1] // block + 1) * block
                opens += asked[0] // block * block
            for row in range(len(ids)):
                seen_1TT[:, row, row + 1 if row < opens else closes :] = False
        with torch.inference_mode():
            logits_TV = self.network(torch.tensor([ids]), attention_mask=seen_1TT[:, None], use_cache=False).logits[0]
        return logits_TV.index_fill(-1, torch.tensor([self.convention.mask_token_id]), -torch.inf)


def filler(shift: bool, causal_prompt: bool = False, block: int | None = None, seed: int = 0) -> Filler:
    """Weights are six times what training starts from, so that places heed each other."""
    network = untrained(SPEC, seed)
    convention = adapt(network, shift, causal_prompt, block)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.mul_(6.0)
    network = network.eval().requires_grad_(False)
    lean = take(copy.deepcopy(network), POSITIONS)  # which hands its network's weights back
    return Filler(network, convention, Canvas(lean, convention))

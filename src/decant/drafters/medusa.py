"""Medusa: heads on the target's last state guess the next tokens all at once; a tree of their likeliest is drafted.

What a head says does not depend on what the others guess: all rows of a level share one law. Verified exactly (the
verifier `coupled`); the paper's typical acceptance is the lossy verifier `typical-acceptance`.
Source: Cai et al. 2024, arXiv:2401.10774.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.drafting.growing import grown
from decant.noise import Noise
from decant.numerics import along_path, depths
from decant.protocols import ParallelHeads, Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class Medusa:
    """head: the trained network. coupled: draw with the target's own noise (see `growing.grown`).

    The state, logits_BKV, is what each head says behind the last token that the target has read: row k is about the
    token k + 1 places behind the root. A draft is no deeper than there are heads.
    """

    kind: ClassVar[str] = "medusa"
    head: ParallelHeads
    coupled: bool = True

    @property
    def taps(self) -> Taps:
        """The last state."""
        return Taps(layers=self.head.layers)

    def start(self, prompt_BT: Tensor, prefill: Scores) -> Tensor:
        """Behind the last prompt token but one; a prompt of one token leaves every guess as likely as any other."""
        batch = len(prompt_BT)
        hidden_BTF = prefill.hidden(self.head.layers)
        if not hidden_BTF.shape[1]:
            return torch.zeros(batch, self.head.depth, self.head.vocab, device=prompt_BT.device)
        last_B = (prompt_BT != PAD).sum(-1) - 2
        said_BKV = self.head.said(hidden_BTF[torch.arange(batch, device=last_B.device), last_B.clamp_min(0)])
        return said_BKV.where(last_B[:, None, None] >= 0, 0.0)

    def draft(self, state: Tensor, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """A tree whose level k is drawn from head k's law."""

        def evaluate(tree: Draft) -> Tensor:
            if tree.parents_BN is None:
                return state[:, : tree.tokens_BN.shape[1] + 1]
            if not tree.tokens_BN.shape[1]:
                return state[:, :1]
            depth_BM = torch.nn.functional.pad(depths(tree.parents_BN), (1, 0))
            return state.gather(1, depth_BM[..., None].expand(-1, -1, state.shape[-1]))

        return grown(evaluate, replace(shape, depth=min(shape.depth, self.head.depth)), warp, noise, self.coupled)

    def observe(self, state: Tensor, draft: Draft, verdict: Verdict, scores: Scores) -> Tensor:
        """What the heads say behind the last accepted token, whose state the target has just computed."""
        hidden_BCF = along_path(scores.hidden(self.head.layers), verdict.nodes_BC)
        batch = torch.arange(len(state), device=state.device)
        return self.head.said(hidden_BCF[batch, verdict.accepted_B])

"""Medusa's network: heads on the target's last state, of which head k guesses k tokens further than the target does.

A head adds to the state what a residual block makes of it (zero at first, so that a head begins as the target's own
output), and reads the sum with an output matrix of its own, or with the target's (`shared`): V times D weights less.
Source: Cai et al. 2024, arXiv:2401.10774.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from decant.models.heads.block import ResBlock
from decant.models.heads.ends import Ends
from decant.models.heads.spec import HeadSpec


@final
class MedusaNet(nn.Module):
    """`num_heads` heads of `num_layers` blocks each; `heads.k.j` are blocks, `heads.k.<num_layers>` is the matrix."""

    architecture: ClassVar[str] = "MedusaModel"
    learns_vocab: ClassVar[bool] = False

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.count, self.depth = int(spec.knobs.get("num_heads", 3)), int(spec.knobs.get("num_layers", 1))
        self.shared = bool(spec.knobs.get("shared", True))
        self.heads = nn.ModuleList()
        for _ in range(self.count):
            # One module each: a list times a number would hold one module many times.
            parts: list[nn.Module] = [ResBlock(spec.hidden) for _ in range(self.depth)]
            if not self.shared:
                parts.append(nn.Linear(spec.hidden, spec.draft_vocab or spec.vocab, bias=False))
            self.heads.append(nn.Sequential(*parts))
        self.register_buffer("chosen", ids_V, persistent=False)
        self.ends: Ends | None = None

    def bind(self, ends: Ends) -> "MedusaNet":
        """With its teacher's output matrix."""
        self.ends = ends
        return self

    @torch.no_grad()
    def begin(self) -> None:
        """Start every output matrix at the teacher's."""
        assert self.ends is not None, "bind the head to its teacher first"
        if not self.shared:
            eye_DD = torch.eye(self.spec.hidden, dtype=self.ends.table_VD.dtype)
            for head in self.heads:
                head.get_parameter(f"{self.depth}.weight").copy_(self.ends.say(eye_DD).T)

    @property
    def ids_V(self) -> Tensor | None:
        """The ids that it guesses; None: all."""
        return self.chosen if isinstance(self.chosen, Tensor) else None

    def forward(self, hidden_XD: Tensor) -> Tensor:
        """logits_XKV: row k is head k + 1's."""
        assert self.ends is not None, "bind the head to its teacher first"
        each_XKD = torch.stack([head(hidden_XD) for head in self.heads], -2)
        return self.ends.say(each_XKD) if self.shared else each_XKD

    @staticmethod
    def renamed(weights: dict[str, Any]) -> dict[str, Any]:
        """Public names (`0.0.linear.weight`, with or without `medusa_head.`) -> these."""
        short = {name.removeprefix("medusa_head.").removeprefix("heads."): weight for name, weight in weights.items()}
        return {f"heads.{name}" if name[0].isdigit() else name: weight for name, weight in short.items()}


@final
class Parallel:
    """A network that is ready to draft: `drafters.medusa.ParallelHeads`."""

    def __init__(self, net: Any, layers: tuple[int, ...], vocab: int, like: Tensor) -> None:
        self.net: MedusaNet = net
        self.kind: str = net.spec.kind
        self.layers, self.vocab, self.depth = layers, vocab, net.count
        self._like = like

    def said(self, hidden_BF: Tensor) -> Tensor:
        """logits_BKV over the target's ids; what cannot be guessed has none."""
        logits_BKV = self.net(hidden_BF[..., : self.net.spec.hidden].to(self._like.dtype))
        ids_V = self.net.ids_V
        if ids_V is None:
            return logits_BKV
        whole = logits_BKV.new_full((*logits_BKV.shape[:-1], self.vocab), -torch.inf)
        return whole.index_copy(-1, ids_V, logits_BKV)


def shifted(net: MedusaNet, hidden_BTF: Tensor) -> Iterator[Tensor]:
    """logits_BTV of heads 1, 2 ...: column t of head k guesses token t + 1 + k."""
    yield from net(hidden_BTF).unbind(-2)

"""Prompt tokens: trained embeddings that stand for tokens to come. The only weights are `copies` lines for each place.

Source: Chen et al. 2024, arXiv:2405.18628 (PPD; copies are its ensemble prompt tokens).
"""

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from decant.models.causal import Causal
from decant.models.heads.ends import Ends
from decant.models.heads.riders import dressed
from decant.models.heads.spec import HeadSpec


@final
class PromptNet(nn.Module):
    """Line `copy * depth + place` is what that copy of the prompt token at that place enters as."""

    architecture: ClassVar[str] = "PromptTokens"
    learns_vocab: ClassVar[bool] = False

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__()
        del ids_V  # the target's whole output matrix reads them
        self.spec = spec
        self.depth, self.copies = int(spec.knobs.get("depth", 3)), int(spec.knobs.get("copies", 1))
        self.entries = (0,) * self.depth
        self.ids_V: Tensor | None = None
        self.prompts = nn.Embedding(self.copies * self.depth, spec.hidden)
        self.ends: Ends | None = None

    def bind(self, ends: Ends) -> "PromptNet":
        """With its teacher's embedding and output matrix."""
        self.ends = ends
        return self

    @torch.no_grad()
    def begin(self) -> None:
        """Start at tokens' own embeddings, spread over the vocabulary."""
        assert self.ends is not None, "bind the head to its teacher first"
        table_VD, count = self.ends.table_VD, len(self.prompts.weight)
        ids_P = torch.linspace(0, len(table_VD) - 1, count + 2, device=table_VD.device)[1:-1].long()
        self.prompts.weight.copy_(table_VD[ids_P])

    def enter(self, place: int, hidden_XF: Tensor) -> Tensor:
        """The same behind every node."""
        rows_ED = self.prompts.weight.unflatten(0, (self.copies, self.depth))[:, place]
        return rows_ED.expand(*hidden_XF.shape[:-1], -1, -1)

    @staticmethod
    def renamed(weights: dict[str, Any]) -> dict[str, Any]:
        """There are no public names."""
        return weights


@final
class Prompts:
    """A network that is ready to draft: `protocols.Riders`."""

    def __init__(self, net: Any, layers: tuple[int, ...], vocab: int, like: Tensor) -> None:
        del layers, like
        self.net: PromptNet = net
        self.kind: str = net.spec.kind
        self.first, self.depth, self.copies = vocab, net.depth, net.copies

    def dressed(self, model: Causal) -> Causal:
        """The target whose forward they ride in. Raises IncompatibleParts."""
        return dressed(model, self.kind, self.net.prompts.weight)

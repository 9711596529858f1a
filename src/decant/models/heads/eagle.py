"""EAGLE's network: the target's last state and the next token's embedding, joined, through one layer, give the next
state; the target's own output matrix reads it.

The layer has no norm in front of its attention. Where the draft vocabulary is reduced, the matrix is read at the
likeliest ids alone, which is most of what a step costs.
Source: Li et al. 2024, arXiv:2401.15077; reduced vocabulary: Zhao et al. 2025, arXiv:2502.14856 (FR-Spec).
"""

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from decant.models.heads.block import Layer
from decant.models.heads.ends import Ends
from decant.models.heads.spec import HeadSpec


@final
class EagleNet(nn.Module):
    """A `RecurrentNet` whose state is the target's own kind of state."""

    architecture: ClassVar[str] = "LlamaForCausalLMEagle"
    learns_vocab: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.fc = nn.Linear(2 * spec.hidden, spec.hidden, bias=bool(spec.knobs.get("bias", True)))
        self.layers = nn.ModuleList([Layer(spec, spec.hidden)])
        self.register_buffer("chosen", ids_V, persistent=False)
        self.ends: Ends | None = None

    def bind(self, ends: Ends) -> "EagleNet":
        """With its teacher's embedding and output matrix."""
        self.ends = ends
        return self

    @property
    def ids_V(self) -> Tensor | None:
        """The ids that it guesses; None: all."""
        return self.chosen if isinstance(self.chosen, Tensor) else None

    @property
    def width(self) -> int:
        """The target's."""
        return self.spec.hidden

    def absorb(self, hidden_XF: Tensor) -> Tensor:
        """The target's last state as it is."""
        return hidden_XF

    def inputs(self, tokens_X: Tensor, state_XD: Tensor) -> tuple[Tensor, Tensor]:
        """Both joined; attention reads what the residual is."""
        assert self.ends is not None, "bind the head to its teacher first"
        token_XD = embedding(tokens_X, self.ends.table_VD)
        x_XD = self.fc(torch.cat([token_XD, state_XD.to(token_XD.dtype)], -1))
        return x_XD, x_XD

    def logits(self, state_XD: Tensor) -> Tensor:
        """What the target would say of such a state."""
        assert self.ends is not None, "bind the head to its teacher first"
        return self.ends.say(state_XD)

    @staticmethod
    def renamed(weights: dict[str, Any]) -> dict[str, Any]:
        """Public names -> these; the embedding, which is the target's, is left out."""
        short = {name.removeprefix("model."): weight for name, weight in weights.items()}
        return {name: weight for name, weight in short.items() if not name.startswith("embed_tokens")}

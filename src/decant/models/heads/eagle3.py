"""EAGLE-3's network: states of three layers of the target, joined; one layer that reads them beside the next token's
embedding, each after a norm of its own; an output matrix of its own over the likeliest ids.

After the first step the layer's own output takes the place of the joined states. Names and layout of the weights are
those of the published heads: `d2t` holds offsets (target id = draft id + d2t[draft id]). Heads that speculators taught
can have the residual behind the norm; their configuration alone says so.
Source: Li et al. 2025, arXiv:2503.01840; vllm-project/speculators, models/eagle3/model_definitions.py (c05b95b).
"""

from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from decant.models.heads.block import Layer, normed
from decant.models.heads.ends import Ends
from decant.models.heads.spec import NORMED, HeadSpec

PREFIXES: Final = ("model.layers.0.", "layers.0.")  # how others call `midlayer.`


@final
class Eagle3Net(nn.Module):
    """A `RecurrentNet` whose state nothing binds to the target's."""

    architecture: ClassVar[str] = "LlamaForCausalLMEagle3"
    learns_vocab: ClassVar[bool] = True
    whole: ClassVar[bool] = False

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.fc = nn.Linear(len(spec.taps) * spec.hidden, spec.hidden, bias=False)
        self.midlayer = Layer(spec, 2 * spec.hidden, ("hidden_norm", "input_layernorm"))
        self.norm = nn.RMSNorm(spec.hidden, eps=spec.eps)
        self.lm_head = nn.Linear(spec.hidden, spec.draft_vocab or spec.vocab, bias=False)
        self.register_buffer("chosen", ids_V, persistent=False)
        self.ends: Ends | None = None

    def bind(self, ends: Ends) -> "Eagle3Net":
        """With its teacher's embedding; the teacher's output matrix is where its own begins, see `begin`."""
        self.ends = ends
        return self

    @torch.no_grad()
    def begin(self) -> None:
        """Start the output matrix at the teacher's."""
        assert self.ends is not None, "bind the head to its teacher first"
        eye_DD = torch.eye(self.spec.hidden, device=self.lm_head.weight.device, dtype=self.ends.table_VD.dtype)
        self.lm_head.weight.copy_(self.ends.say(eye_DD).T)

    @property
    def layers(self) -> tuple[Layer]:
        """The only one."""
        return (self.midlayer,)

    @property
    def width(self) -> int:
        """The target's."""
        return self.spec.hidden

    @property
    def ids_V(self) -> Tensor | None:
        """The ids that it guesses; None: all."""
        return self.chosen if isinstance(self.chosen, Tensor) else None

    def absorb(self, hidden_XF: Tensor) -> Tensor:
        """The tapped states, joined."""
        return linear(hidden_XF.to(self.fc.weight.dtype), self.fc.weight)

    def inputs(self, tokens_X: Tensor, state_XD: Tensor) -> tuple[Tensor, Tensor]:
        """Attention reads both, each after its norm; the residual is the state, as it is or after that norm."""
        assert self.ends is not None, "bind the head to its teacher first"
        layer, eps = self.midlayer, self.spec.eps
        token_XD = normed(embedding(tokens_X, self.ends.table_VD), layer.get_parameter("input_layernorm.weight"), eps)
        level_XD = normed(state_XD, layer.get_parameter("hidden_norm.weight"), eps)
        return torch.cat([token_XD, level_XD], -1), level_XD if self.spec.knobs.get(NORMED) else state_XD

    def logits(self, state_XD: Tensor) -> Tensor:
        """Over the draft vocabulary."""
        return self.lm_head(normed(state_XD, self.norm.weight, self.spec.eps))

    @staticmethod
    def renamed(weights: dict[str, Any]) -> dict[str, Any]:
        """Public names -> these; the embedding, which is the target's, is left out."""
        found: dict[str, Any] = {}
        for name, weight in weights.items():
            prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
            ours = name.removeprefix("model.") if prefix is None else "midlayer." + name.removeprefix(prefix)
            if not ours.startswith("embed_tokens"):
                found[ours] = weight
        return found

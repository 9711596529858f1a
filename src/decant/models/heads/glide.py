"""GLIDE's network: a small language model of its own, which reads beside every token what the target thought before it.

Slot t reads token t and, added to its embedding, the target's state of token t - 1, brought to the model's width; the
matrix in between is zero at first, so a head that starts from a draft model's weights begins with that model's law.
Behind the text the head's own last state takes the target's place. Only the ids of the draft vocabulary are spoken.

Not as published: there a layer of cross-attention looks at the target's keys and values of the whole text, and the
target's state of the token just read is masked for a block. States alone cost a product, not a layer.
Source: Du et al. 2024, arXiv:2402.02082.
"""

from dataclasses import replace
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor, nn

from decant.errors import BadInput
from decant.models.heads.block import Layer, normed
from decant.models.heads.borrower import Borrower
from decant.models.heads.spec import HeadSpec
from decant.models.load import stored

SCALE: Final = 0.02  # of fresh embeddings
OWN: Final = ("absorbing", "state_norm", "glimpse")  # what the model that it starts from does not have


@final
class GlideNet(Borrower):
    """A `recurrent.RecurrentNet`. Knobs: `width` and `layers` of the small model; `start`, the model whose weights it
    begins with, "" for none."""

    architecture: ClassVar[str] = "GlideDrafter"
    whole: ClassVar[bool] = True
    rows: ClassVar[tuple[str, ...]] = ("embed_tokens.weight",)  # a guess reads a row of it
    once: ClassVar[tuple[str, ...]] = ("absorbing.weight",)  # read once a round, however deep

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__(spec, ids_V)
        width = int(spec.knobs.get("width", 0)) or spec.hidden
        inner = replace(spec, hidden=width)
        self.embed_tokens = nn.Embedding(spec.vocab, width)
        self.absorbing = nn.Linear(len(spec.taps) * spec.hidden, width, bias=False)
        self.state_norm = nn.RMSNorm(width, eps=spec.eps)
        self.glimpse = nn.Linear(width, width, bias=False)
        depth = int(spec.knobs.get("layers", 1))
        self.layers = nn.ModuleList([Layer(inner, width, ("input_layernorm",)) for _ in range(depth)])
        self.norm = nn.RMSNorm(width, eps=spec.eps)
        self.lm_head = nn.Linear(width, spec.draft_vocab or spec.vocab, bias=False)
        nn.init.normal_(self.embed_tokens.weight, std=SCALE)
        nn.init.zeros_(self.glimpse.weight)

    @torch.no_grad()
    def begin(self) -> None:
        """Start from the weights of the model that `start` names. Raises BadInput for one of another shape."""
        start = str(self.spec.knobs.get("start", ""))
        if not start:
            return
        network: Any = stored(start)[0].float()
        theirs = {name.removeprefix("model."): weight for name, weight in network.state_dict().items()}
        said_VD = network.get_output_embeddings().weight
        theirs["lm_head.weight"] = said_VD if self.ids_V is None else said_VD[self.ids_V.to(said_VD.device)]
        own = {name: weight for name, weight in self.state_dict().items() if name.split(".")[0] in OWN}
        try:
            self.load_state_dict(own | theirs)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise BadInput(f"start={start} is not a Llama without biases; name one that is: {reason}") from error

    @property
    def width(self) -> int:
        """Of its states."""
        return self.norm.weight.shape[0]

    def absorb(self, hidden_XF: Tensor) -> Tensor:
        """The tapped states, joined, at this model's width."""
        return self.absorbing(hidden_XF.to(self.absorbing.weight.dtype))

    def inputs(self, tokens_X: Tensor, state_XD: Tensor) -> tuple[Tensor, Tensor]:
        """The token's embedding and a glimpse of the state; attention reads them after the first layer's norm."""
        seen_XD = self.glimpse(normed(state_XD, self.state_norm.weight, self.spec.eps))
        x_XD = self.embed_tokens(tokens_X) + seen_XD
        return normed(x_XD, self.layers[0].get_parameter("input_layernorm.weight"), self.spec.eps), x_XD

    def logits(self, state_XD: Tensor) -> Tensor:
        """Over the draft vocabulary."""
        return self.lm_head(normed(state_XD, self.norm.weight, self.spec.eps))

"""FSPAD's network: EAGLE's, which first samples the target's state with the token that was drawn, and whose logits
come out of a branch beside the state that it goes on with.

A state of the target still holds every token that may come next. It is lifted into more dimensions, gated there by the
drawn token's embedding and brought back; then it is joined with that embedding, as EAGLE does. At first gate and branch
change nothing: the head begins as EAGLE's.

Shapes are a reconstruction: we know the paper's abstract alone, which says what both parts are for. How wide the lifted
state is, what gates it and what the branch is made of are guesses.
Source: Gui et al. 2024, arXiv:2408.15562.
"""

from typing import ClassVar, final

import torch
from torch import Tensor, nn

from decant.models.heads.block import Layer
from decant.models.heads.borrower import Borrower
from decant.models.heads.spec import HeadSpec


@final
class FspadNet(Borrower):
    """A `recurrent.RecurrentNet`. Knobs: `lift`, the width of the lifted state, 0: twice the state's; `gate`, the rank
    of the gate's matrix, 0: whole; `branch`, the width inside the branch, 0: the state's."""

    architecture: ClassVar[str] = "FspadDrafter"
    whole: ClassVar[bool] = False

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__(spec, ids_V)
        width, rank = spec.hidden, int(spec.knobs.get("gate", 0))
        lift, inner = (int(spec.knobs.get(name, 0)) for name in ("lift", "branch"))
        lift, inner = lift or 2 * width, inner or width
        self.up, self.down = nn.Linear(width, lift, bias=False), nn.Linear(lift, width, bias=False)
        parts = [nn.Linear(width, rank, bias=False)] if rank else []
        self.gate = nn.Sequential(*parts, nn.Linear(rank or width, lift))
        self.fc = nn.Linear(2 * width, width, bias=bool(spec.knobs.get("bias", True)))
        self.layers = nn.ModuleList([Layer(spec, width)])
        self.branch = nn.Sequential(nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, width))
        self._begin_as_eagle()

    @property
    def width(self) -> int:
        """The target's."""
        return self.spec.hidden

    def absorb(self, hidden_XF: Tensor) -> Tensor:
        """The target's last state as it is: it is sampled once its next token is known."""
        return hidden_XF

    def sampled(self, token_XD: Tensor, state_XD: Tensor) -> Tensor:
        """state_XD of one next token rather than of all that are likely; token_XD: the embedding of that one."""
        return self.down(self.up(state_XD) * self.gate(token_XD).sigmoid())

    def inputs(self, tokens_X: Tensor, state_XD: Tensor) -> tuple[Tensor, Tensor]:
        """The token and the state sampled with it, joined; attention reads what the residual is."""
        token_XD = self.embedded(tokens_X)
        x_XD = self.fc(torch.cat([token_XD, self.sampled(token_XD, state_XD.to(token_XD.dtype))], -1))
        return x_XD, x_XD

    def logits(self, state_XD: Tensor) -> Tensor:
        """Out of the branch; what the head goes on with is the state itself."""
        return self.say(state_XD + self.branch(state_XD))

    @torch.no_grad()
    def _begin_as_eagle(self) -> None:
        """The gate is half open everywhere, so what comes back of what was lifted counts double."""
        for last in (self.gate[-1], self.branch[-1]):
            for name in ("weight", "bias"):
                nn.init.zeros_(last.get_parameter(name))
        nn.init.orthogonal_(self.up.weight)
        self.down.weight.copy_(2 * self.up.weight.T)

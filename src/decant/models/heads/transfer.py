"""Hidden transfer: the state that a middle layer is given of a token, times a matrix, is the state of a token to come.

The pseudo rows pass the layers above and the output matrix like any other. A matrix is 1 plus what was learnt, so that
decay of weights pulls to the state as it is.
Source: Wu et al. 2024, arXiv:2404.12022. Which layer is not sourced: two thirds up is a guess.
"""

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from decant.errors import BadInput
from decant.models.causal import Causal
from decant.models.fast.births import Births
from decant.models.heads.ends import Ends
from decant.models.heads.riders import dressed
from decant.models.heads.spec import HeadSpec


@final
class TransferNet(nn.Module):
    """`transfer.k` makes the pseudo state k + 1 places on, out of the state that enters layer `spec.taps[k]`.

    Raises BadInput for layers that descend: a row reads those in front of it, which must be born.
    """

    architecture: ClassVar[str] = "HiddenTransfer"
    learns_vocab: ClassVar[bool] = False

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__()
        del ids_V  # the target's whole output matrix reads them
        entries, layers = spec.taps, spec.teacher_layers
        if not entries or list(entries) != sorted(entries) or not 0 <= entries[0] <= entries[-1] < layers:
            raise BadInput(f"hidden states are transferred at layers that ascend from 0 to {layers - 1}, not {entries}")
        self.spec, self.entries, self.depth, self.copies = spec, entries, len(entries), 1
        self.ids_V: Tensor | None = None
        self.transfer = nn.ModuleList([nn.Linear(spec.hidden, spec.hidden, bias=False) for _ in entries])
        for matrix in self.transfer:
            nn.init.zeros_(matrix.get_parameter("weight"))
        self.ends: Ends | None = None

    def bind(self, ends: Ends) -> "TransferNet":
        """With its teacher's output matrix."""
        self.ends = ends
        return self

    def enter(self, place: int, hidden_XF: Tensor) -> Tensor:
        """hidden_XF: the tapped layers' states, one behind the other."""
        state_XD = hidden_XF.chunk(self.depth, -1)[place].to(self.map(place).dtype)
        return linear(state_XD, self.map(place))[..., None, :]

    def map(self, place: int) -> Tensor:
        """The whole matrix."""
        change_DD = self.transfer[place].get_parameter("weight")
        return torch.eye(len(change_DD), dtype=change_DD.dtype, device=change_DD.device) + change_DD

    @staticmethod
    def renamed(weights: dict[str, Any]) -> dict[str, Any]:
        """There are no public names."""
        return weights


@final
class Transfers:
    """A network that is ready to draft: `protocols.Riders`."""

    def __init__(self, net: Any, layers: tuple[int, ...], vocab: int, like: Tensor) -> None:
        self.net: TransferNet = net
        self.kind: str = net.spec.kind
        self.first, self.depth, self.copies = vocab, net.depth, net.copies
        self.births = Births(vocab, layers, torch.stack([net.map(place) for place in range(net.depth)]).to(like))

    def dressed(self, model: Causal) -> Causal:
        """The target whose forward they ride in; what enters below the layer of a birth is of no account."""
        nothing_JD = torch.zeros(self.depth, self.net.spec.hidden)
        return dressed(model, self.kind, nothing_JD, self.births)

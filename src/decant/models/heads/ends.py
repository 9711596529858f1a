"""What a head borrows of its teacher: the embedding, and the matrix that turns states into logits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor
from torch.nn.functional import linear, pad
from transformers import PreTrainedModel

from decant.models.fast.lean import Lean
from decant.models.heads.spec import HeadSpec
from decant.models.network import Network
from decant.models.padded import Padded


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """table_VD: a line of the embedding for each id. say: hidden_XD -> logits_XV, after the final norm; V is the ids
    that were asked for."""

    table_VD: Tensor
    say: Callable[[Tensor], Tensor]

    @classmethod
    def of_teacher(cls, teacher: PreTrainedModel, ids_V: Tensor | None = None) -> "Ends":
        """Of a model that runs through transformers, in float32; ids_V: the ids that can be guessed, None: all."""
        inputs: Any = teacher.get_input_embeddings()
        outputs: Any = teacher.get_output_embeddings()
        said_VD = (outputs.weight if ids_V is None else outputs.weight[ids_V]).detach().float()
        return cls(inputs.weight.detach().float(), lambda hidden_XD: linear(hidden_XD, said_VD))

    @classmethod
    def of_target(cls, network: Network, spec: HeadSpec, ids_V: Tensor | None = None) -> "Ends":
        """Of a loaded target, which may be an enlarged teacher: the first `hidden` columns are the teacher's."""
        config: Any = network.config.get_text_config()
        if isinstance(network, Lean):
            table_VD, head = network.table, network.head
        else:
            assert isinstance(network, Padded)
            inputs: Any = network.model.get_input_embeddings()
            table_VD, head = inputs.weight.detach(), network.model.get_output_embeddings()
        narrow_VD = table_VD[:, : spec.hidden]
        if getattr(config, "tie_word_embeddings", False):
            said_VD = (narrow_VD if ids_V is None else narrow_VD[ids_V]).contiguous()
            return cls(narrow_VD, lambda hidden_XD: linear(hidden_XD, said_VD))
        more = table_VD.shape[1] - spec.hidden

        def say(hidden_XD: Tensor) -> Tensor:
            logits_XV = head(pad(hidden_XD, (0, more)))  # type: ignore[operator]
            return logits_XV if ids_V is None else logits_XV[..., ids_V]

        return cls(narrow_VD, say)


def narrowed(hidden_XF: Tensor, spec: HeadSpec) -> Tensor:
    """Tapped states as the teacher has them: of an enlarged target's, the first columns of each layer."""
    layers = max(len(spec.taps), 1)
    wide = hidden_XF.shape[-1] // layers
    if wide <= spec.hidden:
        return hidden_XF
    return hidden_XF.unflatten(-1, (layers, wide))[..., : spec.hidden].flatten(-2)

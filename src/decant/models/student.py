"""A causal model of transformers, read for training: states at the positions that count, and its head by chunks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import linear
from transformers import PreTrainedModel

from decant.errors import BadInput, IncompatibleParts
from decant.models.build import mixed_precision
from decant.models.unrounded import unrounded

STACKED: Final = ("phi3", "phi4_multimodal")  # families whose one projection makes queries, then keys, then values


@final
@dataclass(frozen=True, slots=True)
class Looks:
    """What is read besides the last states.

    layers:    layers whose outputs are wanted (0 is the embedding; the last, or -1, lies behind the final norm).
    attention: layers, counted from 0, whose queries, keys and values are wanted, as they are projected: before norms
               and rotation. Numbers below 0 count from the end.
    """

    layers: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()

    def __or__(self, other: "Looks") -> "Looks":
        """Both."""
        layers = tuple(dict.fromkeys(self.layers + other.layers))
        return Looks(layers, tuple(dict.fromkeys(self.attention + other.attention)))

    def __contains__(self, other: "Looks") -> bool:
        """Whether this is enough for the other."""
        return set(other.layers) <= set(self.layers) and set(other.attention) <= set(self.attention)


@final
@dataclass(frozen=True, slots=True, eq=False)
class States:
    """What a model thinks of a batch.

    hidden_ND: after the final norm, at the positions that count. head: hidden_XD -> logits_XV.
    vocab:     how many logits. layers: hidden_BTD of the layers asked for, by the numbers they were asked with.
    attention: of the layers asked for, (queries_BTF, keys_BTF, values_BTF), heads side by side; F differs where heads
               share keys.
    fixed:     the head, which learns nothing when this is asked.
    """

    hidden_ND: Tensor
    head: Callable[[Tensor], Tensor]
    vocab: int
    layers: Mapping[int, Tensor] = field(default_factory=dict)
    attention: Mapping[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)
    fixed: Callable[[Tensor], Tensor] | None = None

    def logits(self, rows: slice | Tensor) -> Tensor:
        """logits_XV of some positions, as the head's product gives them."""
        return self.head(self.hidden_ND[rows])

    def logp(self, rows: slice | Tensor) -> Tensor:
        """logp_XV of some positions, float32."""
        return self.logits(rows).log_softmax(-1, dtype=torch.float32)


def read(network: PreTrainedModel, ids_BT: Tensor, row_N: Tensor, at_N: Tensor, looks: Looks | None = None) -> States:
    """One forward pass over texts padded on the right. No mask is needed: padding is behind what counts.

    Raises BadInput for a layer that the model lacks, IncompatibleParts where attention has no projections to look at.
    """
    looks = looks or Looks()
    body, config = network.get_decoder(), network.config.get_text_config()
    _within(looks, config)
    with mixed_precision(network.device), unrounded(network), _caught(network, looks.attention) as caught:
        out: Any = body(input_ids=ids_BT, use_cache=False, output_hidden_states=bool(looks.layers))  # type: ignore[operator]
    return States(
        hidden_ND=out.last_hidden_state[row_N, at_N],
        head=head(network),
        vocab=config.vocab_size,
        layers={layer: out.hidden_states[layer] for layer in looks.layers},
        attention={layer: (found[0], found[1], found[2]) for layer, found in caught.items()},
        fixed=head(network, fixed=True),
    )


def head(network: PreTrainedModel, fixed: bool = False) -> Callable[[Tensor], Tensor]:
    """hidden_XD -> logits_XV with what a family does to its logits: Gemma caps them, Cohere and Granite scale them.

    fixed: gradients reach the states, not the matrix. Where products are rounded the matrix is so once, and not once a
    call: at 28 rows of 152 thousand ids that took four fifths of the time (measured). Of no use after a step.
    """
    matrix: Any = network.get_output_embeddings()
    config = network.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)

    weights: dict[str, Tensor] = {}

    def stand(name: str, weight: Tensor | None) -> Tensor | None:
        """In the weight's place: itself, or rounded."""
        if weight is None or not torch.is_autocast_enabled(network.device.type):
            return weight.detach() if fixed and weight is not None else weight
        if name not in weights:
            weights[name] = weight.detach().bfloat16()
        return weights[name] if fixed else _Stand.apply(weight, weights[name])  # type: ignore[no-any-return]

    def product(hidden_XD: Tensor) -> Tensor:
        if type(matrix) is nn.Linear:
            return linear(hidden_XD, stand("weight", matrix.weight), stand("bias", matrix.bias))  # type: ignore[arg-type]
        if not fixed:
            return matrix(hidden_XD)
        constants = {name: weight.detach() for name, weight in matrix.named_parameters()}
        return functional_call(matrix, constants, (hidden_XD,))

    def logits(hidden_XD: Tensor) -> Tensor:
        with mixed_precision(network.device):
            found_XV = product(hidden_XD)
        if scale != 1:
            found_XV = found_XV * scale
        return found_XV if cap is None else torch.tanh(found_XV / cap) * cap

    return logits


class _Stand(torch.autograd.Function):
    """The rounded weight in the weight's place: gradients reach the weight, in its own type and so summed in it."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rounded: Tensor) -> Tensor:
        ctx.kind = weight.dtype
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: Any, *slope: Tensor) -> tuple[Tensor, None]:
        return slope[0].to(ctx.kind), None


def _within(looks: Looks, config: Any) -> None:
    """Every layer asked for is there."""
    depth: int = config.num_hidden_layers
    for kind, wanted, last in (("states", looks.layers, depth), ("attention", looks.attention, depth - 1)):
        for layer in wanted:
            if not -1 - last <= layer <= last:
                raise BadInput(
                    f"{kind} of layer {layer} were asked for, and this {config.model_type} has layers 0 to {last}; "
                    "numbers below 0 count from the end"
                )


@contextmanager
def _caught(network: PreTrainedModel, layers: tuple[int, ...]) -> Iterator[dict[int, dict[int, Tensor]]]:
    """Queries, keys and values (0, 1 and 2) of the layers, as the pass projects them."""
    found: dict[int, dict[int, Tensor]] = {layer: {} for layer in layers}
    hooks = []
    for layer in layers:
        parts, sizes = _projections(network, layer)
        for first, part in enumerate(parts):

            def keep(
                module: nn.Module, inputs: Any, output: Tensor, at: tuple = (layer, first), sizes: tuple = sizes
            ) -> None:
                found[at[0]].update(enumerate(output.split(sizes, -1) if sizes else [output], at[1]))

            hooks.append(part.register_forward_hook(keep))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _projections(network: PreTrainedModel, layer: int) -> tuple[list[nn.Module], tuple[int, ...]]:
    """Those of queries, keys and values; or the one that makes them all, and how wide each is."""
    config = network.config.get_text_config()
    stack: Any = network.get_decoder()
    attention = getattr(stack.layers[layer], "self_attn", None) if hasattr(stack, "layers") else None
    parts = [getattr(attention, f"{name}_proj", None) for name in "qkv"]
    if all(isinstance(part, nn.Module) for part in parts):
        return parts, ()  # type: ignore[return-value]
    if config.model_type in STACKED and hasattr(attention, "qkv_proj"):
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shared = config.num_key_value_heads * width
        return [attention.qkv_proj], (config.num_attention_heads * width, shared, shared)  # type: ignore[union-attr]
    raise IncompatibleParts(
        f"an objective looks at queries, keys and values of layer {layer}, and a model of the family "
        f"{config.model_type!r} has no q_proj, k_proj and v_proj there; choose another layer, or compare hidden states"
    )

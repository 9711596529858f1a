"""A causal model of transformers, read for training: states at the positions that count, and its head by chunks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from decant.models.build import mixed_precision


@final
@dataclass(frozen=True, slots=True)
class Looks:
    """What is read besides the last states.

    layers:    layers whose outputs are wanted (0 is the embedding).
    attention: layers, counted from 0, whose queries, keys and values are wanted, before rotation.
    """

    layers: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()

    def __or__(self, other: "Looks") -> "Looks":
        """Both."""
        layers = tuple(dict.fromkeys(self.layers + other.layers))
        return Looks(layers, tuple(dict.fromkeys(self.attention + other.attention)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class States:
    """What a model thinks of a batch.

    hidden_ND: after the final norm, at the positions that count. head: hidden_XD -> logits_XV.
    vocab:     how many logits. layers: hidden_BTD of the layers asked for.
    attention: of the layers asked for, (queries_BTF, keys_BTF, values_BTF), heads side by side.
    """

    hidden_ND: Tensor
    head: Callable[[Tensor], Tensor]
    vocab: int
    layers: Mapping[int, Tensor] = field(default_factory=dict)
    attention: Mapping[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    def logp(self, rows: slice) -> Tensor:
        """logp_XV of some positions, float32."""
        return self.head(self.hidden_ND[rows]).float().log_softmax(-1)


def read(network: PreTrainedModel, ids_BT: Tensor, row_N: Tensor, at_N: Tensor, looks: Looks | None = None) -> States:
    """One forward pass over texts padded on the right. No mask is needed: padding is behind what counts."""
    looks = looks or Looks()
    body, config = network.get_decoder(), network.config.get_text_config()
    with mixed_precision(network.device), _caught(network, looks.attention) as caught:
        out: Any = body(input_ids=ids_BT, use_cache=False, output_hidden_states=bool(looks.layers))  # type: ignore[operator]
    return States(
        hidden_ND=out.last_hidden_state[row_N, at_N],
        head=head(network),
        vocab=config.vocab_size,
        layers={layer: out.hidden_states[layer] for layer in looks.layers},
        attention={layer: (found["q"], found["k"], found["v"]) for layer, found in caught.items()},
    )


def head(network: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """hidden_XD -> logits_XV with what a family does to its logits: Gemma caps them, Cohere and Granite scale them."""
    matrix: Any = network.get_output_embeddings()
    config = network.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)

    def logits(hidden_XD: Tensor) -> Tensor:
        with mixed_precision(network.device):
            found_XV = matrix(hidden_XD)
        if scale != 1:
            found_XV = found_XV * scale
        return found_XV if cap is None else torch.tanh(found_XV / cap) * cap

    return logits


@contextmanager
def _caught(network: PreTrainedModel, layers: tuple[int, ...]) -> Iterator[dict[int, dict[str, Tensor]]]:
    """Projections of the layers, as the pass makes them."""
    found: dict[int, dict[str, Tensor]] = {layer: {} for layer in layers}
    stack: Any = network.get_decoder()
    hooks = []
    for layer in layers:
        for name in "qkv":
            part: nn.Module = getattr(stack.layers[layer].self_attn, f"{name}_proj")

            def keep(module: nn.Module, inputs: Any, output: Tensor, layer: int = layer, name: str = name) -> None:
                found[layer][name] = output

            hooks.append(part.register_forward_hook(keep))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()

"""Losses that teach a model's lower layers to speak through its own norm and head, for early exits.

`LayerSkip` asks a few layers at a time, the deeper the more, and skips layers at random, the deeper the oftener.
`Sorted` asks a fixed few, all alike. Both train the whole model, which afterwards is another one: continue from a
trained model with a low rate. Which exits take part and what is skipped follow from the batch, so that a killed run
that goes on repeats them. The constants of LayerSkip are the paper's as remembered, not checked.
Source: Elhoushi et al. 2024, arXiv:2404.16710 (LayerSkip); Kavehzadeh et al. 2024, arXiv:2407.01955 (sorted
fine-tuning).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from decant.distill.trainer import Loss
from decant.errors import BadInput
from decant.models.build import Llama


@final
@dataclass(frozen=True, slots=True)
class LayerSkip:
    """scale: how much every layer's weight grows with its depth; the last one's is far above. every: of so many layers
    one takes part in a step, by turns, and the last in all. skipped: how often the last layer is left out; the first
    never is. Raises BadInput unless scale >= 0, every >= 1 and 0 <= skipped < 1."""

    scale: float = 0.2
    every: int = 2
    skipped: float = 0.1

    def __post_init__(self) -> None:
        if self.scale < 0 or self.every < 1 or not 0 <= self.skipped < 1:
            raise BadInput(f"LayerSkip needs scale >= 0, every >= 1 and 0 <= skipped < 1, got {self}")

    def shares(self, layers: int, turn: int) -> dict[int, float]:
        """exit -> its share of the loss in a step; they sum to one. Exit 1 has none: it would read one layer."""
        weights = {layer + 1: self.scale * layer * (layer + 1) / 2 for layer in range(1, layers - 1)}
        asked = {exit: weight for exit, weight in weights.items() if exit % self.every == turn % self.every}
        asked[layers] = layers - 1 + self.scale * (layers - 2) * (layers - 1) / 2
        total = sum(asked.values())
        return {exit: weight / total for exit, weight in asked.items()} if total else {layers: 1.0}

    def rates(self, layers: int) -> list[float]:
        """How often each layer is left out: exponential in its depth, from 0 up to `skipped`."""
        return [self.skipped * (2 ** (layer / max(layers - 1, 1)) - 1) for layer in range(layers)]

    def loss(self, model: Llama) -> Loss:
        """For `train`."""
        layers = len(model.model.layers)

        def nats(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
            turn = int(ids_BT.sum())  # sync: a pure function of the batch
            with skipping(model, self.rates(layers), Generator().manual_seed(turn)):
                return exit_nats(model, ids_BT, weights_BT, self.shares(layers, turn))

        return nats


@final
@dataclass(frozen=True, slots=True)
class Sorted:
    """exits: layers, whose losses count alike; the last layer should be among them."""

    exits: tuple[int, ...]

    def loss(self, model: Llama) -> Loss:
        """For `train`. Raises BadInput for an exit that the model does not have."""
        layers = len(model.model.layers)
        if not self.exits or not all(1 <= exit <= layers for exit in self.exits):
            raise BadInput(f"exits are layers from 1 to {layers} of this model, got {self.exits}")
        shares = dict.fromkeys(self.exits, 1 / len(self.exits))
        return lambda ids_BT, weights_BT: exit_nats(model, ids_BT, weights_BT, shares)


def exit_nats(model: Llama, ids_BT: Tensor, weights_BT: Tensor, shares: Mapping[int, float]) -> Tensor:
    """The weighted sum over positions of -log p(id), each exit's times its share, in nats."""
    wanted_BT = weights_BT[:, 1:] > 0
    aims_N, weight_N = ids_BT[:, 1:][wanted_BT], weights_BT[:, 1:][wanted_BT]
    states = model.model(input_ids=ids_BT, use_cache=False, output_hidden_states=True).hidden_states
    assert states is not None
    total = weights_BT.new_zeros(())
    for exit, share in shares.items():
        hidden_ND = states[exit][:, :-1][wanted_BT]
        if exit < len(states) - 1:  # the last state has passed the norm
            hidden_ND = model.model.norm(hidden_ND)
        nats_N = cross_entropy(model.lm_head(hidden_ND).float(), aims_N, reduction="none")
        total = total + share * (nats_N * weight_N).sum()
    return total


@contextmanager
def skipping(model: Llama, rates: list[float], generator: Generator) -> Iterator[None]:
    """Leave each layer out, of each row of a batch by itself, with its rate."""
    skipped = [(layer, rate) for layer, rate in zip(model.model.layers, rates, strict=True) if rate > 0]

    def forward(whole: Callable[..., Tensor], rate: float, hidden_states: Tensor, **named: Any) -> Tensor:
        left_B = torch.rand(len(hidden_states), generator=generator) < rate
        return torch.where(left_B.to(hidden_states.device)[:, None, None], hidden_states, whole(hidden_states, **named))

    for layer, rate in skipped:  # no hook: those of transformers, which read the states, would come first
        layer.forward = partial(forward, layer.forward, rate)
    try:
        yield
    finally:
        for layer, _ in skipped:
            del layer.forward

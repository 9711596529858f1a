"""Losses that teach a model's lower layers to speak through its own norm and head, for early exits.

`LayerSkip` asks a few layers at a time, the deeper the more, and skips layers at random, the deeper the oftener.
`Sorted` asks a fixed few, all alike. Both train the whole model, which afterwards is another one: continue from a
trained model with a low rate. Which exits take part and what is skipped follow from the batch, so that a killed run
that goes on repeats them. The constants of LayerSkip are the paper's as remembered, not checked.
Source: Elhoushi et al. 2024, arXiv:2404.16710 (LayerSkip); Kavehzadeh et al. 2024, arXiv:2407.01955 (sorted
fine-tuning).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
    """exits: layers, whose losses count alike, as "2-3-4"; "": 6, 9 and 12 of 32, in proportion, and the last."""

    exits: str = ""

    def asked(self, layers: int) -> tuple[int, ...]:
        """The exits of a model of so many layers. Raises BadInput for one that it does not have."""
        if not self.exits:
            return tuple(sorted({-(-layers * share // 32) for share in (6, 9, 12, 32)}))
        try:
            exits = tuple(map(int, self.exits.split("-")))
        except ValueError:
            raise BadInput(f"sorted reads exits such as 2-3-4, not {self.exits!r}") from None
        if list(exits) != sorted(set(exits)) or not 1 <= exits[0] <= exits[-1] == layers:
            raise BadInput(
                f"exits ascend from 1 to the last of the {layers} layers of this model, such as 1-{layers}, got "
                f"{self.exits!r}"
            )
        return exits

    def loss(self, model: Llama) -> Loss:
        """For `train`. Raises BadInput for exits that do not fit the model."""
        exits = self.asked(len(model.model.layers))
        shares = dict.fromkeys(exits, 1 / len(exits))
        return lambda ids_BT, weights_BT: exit_nats(model, ids_BT, weights_BT, shares)


def exit_nats(model: Llama, ids_BT: Tensor, weights_BT: Tensor, shares: Mapping[int, float]) -> Tensor:
    """The weighted sum over positions of -log p(id), each exit's times its share, in nats."""
    wanted_BT = weights_BT[:, 1:] > 0
    aims_N, weight_N = ids_BT[:, 1:][wanted_BT], weights_BT[:, 1:][wanted_BT]
    total = weights_BT.new_zeros(())
    for share, logits_NV in zip(shares.values(), spoken(model, ids_BT, wanted_BT, shares), strict=True):
        nats_N = cross_entropy(logits_NV, aims_N, reduction="none")
        total = total + share * (nats_N * weight_N).sum()
    return total


def spoken(model: Llama, ids_BT: Tensor, wanted_BT: Tensor, exits: Iterable[int]) -> Iterator[Tensor]:
    """Of each exit, logits_NV at the wanted positions; float32. wanted_BT: without the last position."""
    states = model.model(input_ids=ids_BT, use_cache=False, output_hidden_states=True).hidden_states
    assert states is not None
    for exit in exits:
        hidden_ND = states[exit][:, :-1][wanted_BT]
        if exit < len(states) - 1:  # the last state has passed the norm
            hidden_ND = model.model.norm(hidden_ND)
        yield model.lm_head(hidden_ND).float()


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

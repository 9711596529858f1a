"""A model that is being trained, as it is now, ready to write many texts side by side.

Its modules are copied, its weights are not: what packs or joins them makes copies of its own, everything else is read
where it lies. So this costs less than a step of training, and is done anew for every rollout.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from decant.models.causal import Causal
from decant.models.fast.flock import Flock
from decant.models.fast.lean import Lean
from decant.models.fast.reading import take, why_not
from decant.models.linears import PACK
from decant.models.machine import fast_bfloat16
from decant.models.padded import Padded
from decant.types import PAD, Draft, Verdict

Body = Lean | Causal
"""Weights as they were when `current` was called (`Lean`), or as they are (`Causal`, through transformers)."""


class Voice(Protocol):
    """Texts in the making. logits_BV: what comes next in each."""

    logits_BV: Tensor

    def say(self, ids_B: Tensor) -> None:
        """One more token of every text."""
        ...

    def keep(self, rows_R: Tensor) -> None:
        """Only these texts go on."""
        ...


@torch.no_grad()
def current(network: PreTrainedModel, dtype: torch.dtype | None = None) -> Body:
    """The weights as they are now; `network` stays as it is. dtype: of a rounded copy; None: its own."""
    if why_not(network) is not None or not _plain(network):
        return Causal.over(Padded.of(network, positions(network)))
    return take(_shadow(network, dtype), positions(network))


def swift(network: PreTrainedModel) -> torch.dtype | None:
    """The type of the copy that writes fastest: bfloat16 on accelerators, and on CPUs that multiply it where matrices
    are large enough for oneDNN; None: its own."""
    if network.device.type != "cpu":
        return torch.bfloat16
    head = network.get_output_embeddings()
    sizes = [part.weight.numel() for part in network.modules() if isinstance(part, nn.Linear) and part is not head]
    return torch.bfloat16 if fast_bfloat16() and max(sizes, default=0) >= PACK else None


def begin(body: Body, prompts: Sequence[Sequence[int]], room: int) -> Voice:
    """Read the prompts; room: for how many more tokens each."""
    return Flock(body, prompts, room) if isinstance(body, Lean) else Paced(body, prompts)


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Dropout off, and no gradients; every module's mode comes back."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def positions(network: PreTrainedModel) -> int:
    """Tokens of a text, at most."""
    return int(getattr(network.config.get_text_config(), "max_position_embeddings", 0) or 2**31 - 1)


def ends(network: PreTrainedModel) -> frozenset[int]:
    """Ids that end a text."""
    for config in (network.generation_config, network.config.get_text_config()):
        found = getattr(config, "eos_token_id", None)
        if found is not None:
            return frozenset([found] if isinstance(found, int) else found)
    return frozenset()


@final
class Paced:
    """A `Voice` through transformers, for models that no lean network takes."""

    def __init__(self, model: Causal, prompts: Sequence[Sequence[int]]) -> None:
        width = max(map(len, prompts))
        rows = [[*ids, *[PAD] * (width - len(ids))] for ids in prompts]
        self.model = model
        self.context, _ = model.start(torch.tensor(rows, device=model.network.device))
        self.logits_BV = self._next(len(rows))

    def say(self, ids_B: Tensor) -> None:
        """One more token of every text."""
        ids_B1 = ids_B[:, None]
        self.context = self.model.commit(self.context, Verdict(ids_B1, torch.full_like(ids_B1, PAD)))
        self.logits_BV = self._next(len(ids_B))

    def keep(self, rows_R: Tensor) -> None:
        """Only these texts go on."""
        self.context, self.logits_BV = self.context.select(rows_R), self.logits_BV[rows_R]

    def _next(self, texts: int) -> Tensor:
        return self.model.score(self.context, Draft.nothing(texts, self.model.network.device)).logits_BMV[:, 0]


def _plain(network: PreTrainedModel) -> bool:
    """Whether every matrix is what its module multiplies with: adapters and rounded layers add to theirs."""
    parts = [module for module in network.modules() if getattr(module, "weight", None) is not None]
    norms = [part for part in parts if part.weight.dim() == 1]  # type: ignore[union-attr]
    return len(norms) + sum(type(part) in (nn.Linear, nn.Embedding) for part in parts) == len(parts)


def _shadow(network: PreTrainedModel, dtype: torch.dtype | None) -> PreTrainedModel:
    """The same modules over the same weights, which may be taken out of it."""
    known: dict[int, Any] = {id(network.config): network.config}
    for weight in network.parameters():
        shared = weight.detach() if dtype is None else weight.detach().to(dtype)
        known[id(weight)] = nn.Parameter(shared, requires_grad=False)
    return copy.deepcopy(network, known)

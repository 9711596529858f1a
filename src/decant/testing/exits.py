"""A target of which everything is known, layers and all."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, final

import torch
from torch import Tensor

from decant.testing.markov import MarkovLM
from decant.types import Draft


@final
@dataclass(frozen=True, slots=True, eq=False)
class MarkovExits:
    """`Exits` of a `MarkovLM`, the last of `rungs`, whose lower layers are models of their own.

    A shadow is what the model of a layer says of the row's token alone, averaged over the token before.
    """

    rungs: tuple[MarkovLM, ...]

    @classmethod
    def beneath(cls, model: MarkovLM, layers: int, by: float = 1.0, seed: int = 0) -> "MarkovExits":
        """The lower a layer, the less it agrees with `model`."""
        seeds = range(seed, seed + layers - 1)
        below = accumulate(seeds, lambda above, seed: above.blurred(seed, by), initial=model)
        return cls(tuple(below)[::-1])

    @property
    def layers(self) -> int:
        """Of the target."""
        return len(self.rungs)

    def share(self, exit: int) -> float:
        """Every layer costs the same, the head nothing."""
        return exit / self.layers

    def guess(
        self, context: Any, exits: tuple[int, ...], sure: Callable[[Tensor], Tensor]
    ) -> Callable[[Draft], Tensor]:
        """What the first exit that is sure says of each row."""

        def evaluate(draft: Draft) -> Tensor:
            first, *others = (self.rungs[exit - 1].score(context, draft).logits_BMV for exit in exits)
            unsure_BM = torch.ones(first.shape[:-1], dtype=torch.bool)
            for other in others:
                unsure_BM = unsure_BM & ~sure(first.flatten(0, 1)).view(unsure_BM.shape)
                first = torch.where(unsure_BM[..., None], other, first)
            return first

        return evaluate

    def shadow(self, hidden_XF: Tensor, exits: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """ids_XE and sure_XE; a `MarkovLM`'s state of layer l is the row's token, rolled by l."""
        vocab = self.rungs[-1].vocab
        at_XE = hidden_XF.unflatten(-1, (len(exits), vocab)).argmax(-1) - torch.tensor(exits)
        laws_EUV = torch.stack([self.rungs[exit - 1].logits_UVV.mean(0).softmax(-1) for exit in exits])
        best_EU, ids_EU = laws_EUV.max(-1)
        at = (torch.arange(len(exits)).expand_as(at_XE), at_XE % vocab)
        return ids_EU[at], best_EU[at]

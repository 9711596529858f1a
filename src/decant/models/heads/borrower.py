"""What many networks of heads share: they read with their teacher's embedding and speak with its output matrix."""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from decant.models.heads.ends import Ends
from decant.models.heads.spec import HeadSpec


class Borrower(nn.Module):
    """Bound to its teacher's ends; ids_V: ascending, the ids that it guesses, None: all."""

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("chosen", ids_V, persistent=False)
        self.ends: Ends | None = None

    def bind(self, ends: Ends) -> Self:
        """With its teacher's embedding and output matrix."""
        self.ends = ends
        return self

    @property
    def ids_V(self) -> Tensor | None:
        """The ids that it guesses; None: all."""
        return self.chosen if isinstance(self.chosen, Tensor) else None

    def embedded(self, tokens_X: Tensor) -> Tensor:
        """token_XD."""
        assert self.ends is not None, "bind the head to its teacher first"
        return embedding(tokens_X, self.ends.table_VD)

    def say(self, state_XD: Tensor) -> Tensor:
        """logits_XV: what the teacher would say of such a state, over the guesses."""
        assert self.ends is not None, "bind the head to its teacher first"
        return self.ends.say(state_XD)

    @staticmethod
    def renamed(weights: dict[str, Any]) -> dict[str, Any]:
        """There are no public names."""
        return weights


def spread(logits_XV: Tensor, ids_V: Tensor | None, vocab: int) -> Tensor:
    """Logits over the guesses -> over all of the target's ids; what cannot be guessed has none."""
    if ids_V is None:
        return logits_XV
    return logits_XV.new_full((*logits_XV.shape[:-1], vocab), -torch.inf).index_copy(-1, ids_V, logits_XV)

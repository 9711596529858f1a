"""A frozen teacher: what it thinks of a text, for whoever learns from that. Nothing is kept between batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from decant.errors import BadInput
from decant.models.build import mixed_precision
from decant.models.heads.ends import Ends
from decant.models.load import stored


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A batch as the teacher reads it.

    hidden_BTF: the tapped layers' states, concatenated; final_BTD: the last one's, after the final norm.
    row_N, at_N, weight_N: the positions that count: those whose next id has a weight, and that weight.
    logits_NV:  the teacher's there. teacher: who read.
    """

    ids_BT: Tensor
    hidden_BTF: Tensor
    final_BTD: Tensor
    row_N: Tensor
    at_N: Tensor
    weight_N: Tensor
    logits_NV: Tensor
    teacher: "Teacher"

    def columns(self, depth: int) -> tuple[Tensor, Tensor]:
        """kept_K, column_K: of the positions that count, those with a column so far in front of them that a guess
        `depth` tokens deep is made there: the guess of column t is held against what the teacher says at t + 1 +
        depth."""
        kept_K = (self.at_N >= depth + 1).nonzero()[:, 0]
        return kept_K, self.at_N[kept_K] - 1 - depth


@final
@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """name: as the user typed it."""

    name: str
    network: PreTrainedModel

    @classmethod
    def open(cls, name: str, device: torch.device | str = "cpu") -> "Teacher":
        """Read a folder, `house:NAME` or a Hub id. Raises BadInput."""
        network, _ = stored(name)
        place = torch.device(device)
        # On a CPU products are rounded to bfloat16 where that is fast; the weights stay exact.
        # Elsewhere they keep their type; naming it would round the angles of rotary positions too, which are float32.
        nn.Module.to(network.eval().requires_grad_(False), device=place)
        if place.type == "cpu":
            nn.Module.to(network, dtype=torch.float32)
        return cls(name, network)

    @property
    def config(self) -> Any:
        """The language model's part of config.json."""
        return self.network.config.get_text_config()

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return self.network.device

    def ends(self, ids_V: Tensor | None = None) -> Ends:
        """Its embedding, and the rows `ids_V` of its output matrix."""
        return Ends.of_teacher(self.network, ids_V)

    @torch.no_grad()
    def read(self, ids_BT: Tensor, weights_BT: Tensor, layers: tuple[int, ...]) -> Reading:
        """layers: as in `types.Taps`. Raises BadInput for a text in which nothing counts."""
        ids_BT, weights_BT = ids_BT.to(self.device), weights_BT.to(self.device)
        body, output = self._body(), self._output()
        row_N, at_N = (weights_BT[:, 1:] > 0).nonzero(as_tuple=True)  # sync: how many count depends on the text
        if not len(row_N):
            raise BadInput("a batch in which no position has a weight teaches nothing; give longer rows")
        with mixed_precision(self.device):
            out: Any = body(input_ids=ids_BT, use_cache=False, output_hidden_states=layers != (-1,))
            final_BTD = out.last_hidden_state
            logits_NV = output(final_BTD[row_N, at_N]).float()
        states = [final_BTD if layer == -1 else out.hidden_states[layer] for layer in layers]
        return Reading(
            ids_BT=ids_BT,
            hidden_BTF=torch.cat(states, -1).float(),
            final_BTD=final_BTD.float(),
            row_N=row_N,
            at_N=at_N,
            weight_N=weights_BT[row_N, at_N + 1],
            logits_NV=logits_NV,
            teacher=self,
        )

    def _body(self) -> Any:
        return self.network.get_decoder()

    def _output(self) -> Any:
        return self.network.get_output_embeddings()


def frequent(batches: Callable[[int], tuple[Tensor, Tensor]], count: int, vocab: int, size: int) -> Tensor:
    """ids_V, ascending: the `size` ids that are to be predicted most often in `count` batches; ties go to lower ids.

    Source: Zhao et al. 2025, arXiv:2502.14856.
    """
    seen_V = torch.zeros(vocab, dtype=torch.int64)
    for step in range(count):
        ids_BT, weights_BT = batches(step)
        seen_V += torch.bincount(ids_BT[weights_BT > 0].cpu(), minlength=vocab)
    return seen_V.argsort(descending=True, stable=True)[:size].sort().values

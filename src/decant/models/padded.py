"""Any causal language model of transformers that takes a KV cache and a 4-D mask, on a grid of requests by columns."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedConfig, PreTrainedModel

from decant.models.attention import FUSED, KEYS, SPLIT, WIDTH, MaskForm
from decant.models.cache import Store
from decant.models.linears import Filling
from decant.models.network import Outcome, stored_bytes, together
from decant.models.rows import RowClass, Widths, widths
from decant.models.spans import Span

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")  # how configurations call their number


@final
@dataclass(frozen=True, slots=True, eq=False)
class Padded:
    """A `Network`.

    positions: that the model was made for.
    form:      how the architecture takes its mask.
    filling:   the switch of the linears that give too few rows other bits.
    measured:  bytes of a token in the cache, once a forward has shown them.
    """

    model: PreTrainedModel
    positions: int
    form: MaskForm
    filling: Filling
    measured: list[int] = field(default_factory=list)
    keeps_chunks: ClassVar[bool] = False

    @classmethod
    def of(cls, model: PreTrainedModel, positions: int, filling: Filling | None = None) -> "Padded":
        """With what the configuration says."""
        return cls(model, positions, MaskForm.of(model.config.get_text_config(), model.dtype), filling or Filling())

    @property
    def architecture(self) -> str:
        """The name that transformers has for it."""
        return type(self.model).__name__

    @property
    def config(self) -> PreTrainedConfig:
        """As loaded."""
        return self.model.config

    @property
    def dtype(self) -> torch.dtype:
        """Of activations and cache."""
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return self.model.device

    @property
    def coarse(self) -> bool:
        """Whether results are rounded so coarsely that a last bit may move them by a percent."""
        return self.dtype != torch.float32

    @property
    def loops(self) -> Widths:
        """Elementwise loops over exp."""
        return widths(self.model) if self.device.type == "cpu" else ()

    def weight_bytes(self) -> int:
        """What a forward of one row reads, packed weights as they lie in memory.

        Embedding tables count only where they are the head as well: of a table a row reads one line. Of a mixture of
        experts a row reads those that it is sent to; more rows may read more of them.
        """
        config = self.config.get_text_config()
        experts = next((count for name in EXPERTS if (count := getattr(config, name, None))), 0)
        parts = [
            (stored_bytes(weight), weight.dim() == 3 and weight.shape[0] == experts) for weight in _read(self.model)
        ]
        return sum(size * config.num_experts_per_tok // experts if stacked else size for size, stacked in parts)

    def token_bytes(self) -> int:
        """Keys and values of one token, which a forward over one shows."""
        if not self.measured:
            store = self.cache(1)
            self.prefill(store, [Span(0, 0, torch.zeros(1, dtype=torch.int64, device=self.device), 2)], (), False)
            self.measured.append(store.token_bytes())
        return self.measured[0]

    def cache_bytes(self, slots: Sequence[int]) -> int:
        """Every request has the slots of the longest."""
        return len(slots) * -(-max(slots, default=0) // KEYS) * KEYS * self.token_bytes()

    def embedded(self, ids_X: Tensor) -> Tensor:
        """fed_XD: what enters the first layer for each id."""
        table: Any = self.model.get_input_embeddings()
        return table(ids_X)

    def cache(self, requests: int) -> Store:
        """An empty one."""
        return Store(self.config.get_text_config().num_hidden_layers, requests)

    def holds(self, rows: RowClass, requests: int) -> bool:
        """Whether a column of so many requests fits the class."""
        return rows.holds(requests)

    def prefill(self, cache: Store, spans: Sequence[Span], layers: tuple[int, ...], logits: bool) -> Outcome:
        """All spans in one grid."""
        return _flat(self._forward(cache, spans, layers, logits=logits), spans)

    def score(
        self, cache: Store, spans: Sequence[Span], layers: tuple[int, ...], rows: RowClass | None, steady: bool
    ) -> Outcome:
        """In columns that the class holds, each block filled up if short."""
        if rows is None:
            return _flat(self._forward(cache, spans, layers, steady), spans)
        most = max(span.count for span in spans)
        block = rows.columns(len(spans))
        parts: list[Outcome] = []
        for first in range(0, most, block):
            cuts = [span.cut(min(first, span.count), min(first + block, span.count)) for span in spans]
            columns = min(block, most - first)
            part = self._forward(cache, cuts, layers, steady, rows.fill(len(spans), columns))
            parts.append(_map(part, lambda rows_BQX, columns=columns: rows_BQX[:, :columns]))
        return _flat(together(parts, 1), spans)

    def _forward(
        self,
        cache: Store,
        spans: Sequence[Span],
        layers: tuple[int, ...],
        steady: bool = False,
        columns: int = 0,
        logits: bool = True,
    ) -> Outcome:
        """logits_BQV, hidden_BQD: write the rows into their slots, read every slot that a row may see."""
        device, plan = self.device, cache.plan
        columns = max(columns, *(span.count for span in spans))
        split = steady and FUSED is not None and device.type == "cpu"
        grain = KEYS if split else WIDTH
        plan.width = reach = -(-max(max(span.stop, span.length) for span in spans) // grain) * grain
        cache.reserve(reach)
        slots = [[*range(span.first, span.stop), *[plan.capacity] * (columns - span.count)] for span in spans]
        plan.start = spans[0].first if spans[0].count == columns and all(row == slots[0] for row in slots) else None
        plan.slot_BQ = torch.tensor(slots, device=device) if plan.start is None else None
        self.filling.on = steady
        # Rows behind the context's end are scored at its last position: they are cut before anybody sees them.
        positions = [pad(span.positions(), (0, columns - span.count)).clamp_max(self.positions - 1) for span in spans]
        with SPLIT.during(spans, columns, device) if split else nullcontext():
            out: Any = self.model(
                **self._fed(spans, columns),
                attention_mask=self.form.argument(spans, reach, columns, device),
                position_ids=torch.stack(positions).to(device),
                past_key_values=cache.cache,
                use_cache=True,
                output_hidden_states=bool(layers),
                logits_to_keep=0 if logits else 1,
            )
        hidden = torch.cat([out.hidden_states[layer] for layer in layers], -1) if layers else None
        return Outcome(out.logits if logits else out.logits.new_empty(len(spans), columns, 0), hidden)

    def _fed(self, spans: Sequence[Span], columns: int) -> dict[str, Tensor]:
        """ids, or where a span brings embeddings of its own, the embeddings of all."""
        ids_BQ = torch.stack([pad(span.ids_Q, (0, columns - span.count)) for span in spans]).clamp_min(0)
        if all(span.fed_QD is None for span in spans):
            return {"input_ids": ids_BQ}
        fed_BQD = self.embedded(ids_BQ)
        for row_QD, span in zip(fed_BQD, spans, strict=True):
            if span.fed_QD is not None:
                row_QD[: span.count] = span.fed_QD
        return {"inputs_embeds": fed_BQD}


def _map(out: Outcome, change: Callable[[Tensor], Tensor]) -> Outcome:
    return Outcome(change(out.logits_RV), None if out.hidden_RD is None else change(out.hidden_RD))


def _flat(out: Outcome, spans: Sequence[Span]) -> Outcome:
    """Rows of a grid, one behind the other, without what only fills its shape."""
    if len(spans) == 1:
        return _map(out, lambda rows_BQX: rows_BQX[0, : spans[0].count])
    return _map(out, lambda rows_BQX: torch.cat([row[: span.count] for row, span in zip(rows_BQX, spans, strict=True)]))


def _read(model: nn.Module) -> list[Tensor]:
    """Weights of all modules but tables, each once; packed ones are plain attributes, not parameters."""
    found: dict[int, Tensor] = {}
    for module in model.modules():
        if not isinstance(module, nn.Embedding):
            packed = [value for value in vars(module).values() if isinstance(value, Tensor)]
            found.update((id(weight), weight) for weight in (*module.parameters(recurse=False), *packed))
    return list(found.values())

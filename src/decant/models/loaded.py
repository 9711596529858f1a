"""A model that is ready to decode, with its tokenizer and what its folder says of it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, final

import torch
from transformers import PreTrainedTokenizerBase

from decant.errors import BadInput
from decant.models.causal import Causal
from decant.models.check import chain_probe, pass_seconds, settle
from decant.models.fast.lean import Lean
from decant.models.machine import fast_bfloat16, instruction_sets
from decant.models.masked.canvas import Canvas
from decant.models.rows import PROBE, RowClass, cheapest, fillings, find, priced, remembered, whole
from decant.models.speller import Speller
from decant.types import CostCurve

LARGE = 2**26  # bytes of weights: in a smaller model rows that nobody reads cost more than they save
COSTED = (*range(1, 9), 12, 16, 24, 32, 48, 64)  # rows of the passes whose costs policies read
ROUNDED = ("int8", "int4")
TAIL = 8  # prompt tokens that keep the first output token's leading space and byte sequences right


@final
@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """What `load` returns.

    name:       as the user typed it.
    model:      the `LanguageModel`.
    ends:       ids that end a text.
    defaults:   sampler settings of generation_config.json, by their usual names.
    draft:      the draft model that the folder's decant.json names.
    exact_note: which exactness applies, and why.
    setting:    how it was loaded: dtype, weights, device, packed linears, widened size.
    heads:      folders of trained heads by kind, which come before those that the folder's decant.json names.
    masked:     the same network as a `MaskedLM`, of models that fill in masks: they do not speak from left to right,
        and their `model` only says how large they are.
    """

    name: str
    model: Causal
    tokenizer: PreTrainedTokenizerBase | None
    ends: frozenset[int]
    defaults: dict[str, Any]
    draft: str | None
    exact_note: str
    setting: dict[str, Any]
    heads: Mapping[str, str] = field(default_factory=dict)
    masked: Canvas | None = None

    def encode(self, text: str) -> list[int]:
        """Prompt ids, with the special tokens that the tokenizer puts in front. Text never spells a special token."""
        return Speller(self.name, self._spelling()).encode(text)

    def opened(self, ids: list[int], places: int) -> list[int]:
        """A prompt as it is decoded: of a model that fills in masks with so many open places behind it, unless it has
        open places itself."""
        if self.masked is None or self.masked.mask in ids:
            return ids
        return ids + [self.masked.mask] * places

    def given(self, ids: list[int]) -> list[int]:
        """Of an opened prompt, what stands in front of the first open place."""
        return ids if self.masked is None or self.masked.mask not in ids else ids[: ids.index(self.masked.mask)]

    def encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        """Ids of a conversation up to where the assistant speaks. Raises BadInput without a chat template."""
        return Speller(self.name, self._spelling()).encode_chat(messages)

    def decode(self, ids: list[int]) -> str:
        """Text without special tokens."""
        return str(self._spelling().decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def after(self, prompt: list[int]) -> Callable[[list[int]], str]:
        """output ids -> text, as it reads behind this prompt: a leading space stays a space."""
        tail = self.given(prompt)[-TAIL:]
        before = len(self.decode(tail))
        return lambda ids: self.decode(tail + ids)[before:]

    def exactly(self, on: bool) -> "Loaded":
        """The same network with exact mode on or off; weights are shared."""
        rows = self.shared_rows() if on else None
        model, note = settle(self.model, "on" if on else "off", rows)
        return replace(self, model=model, exact_note=note)

    def shared_rows(self) -> RowClass | None:
        """The row counts that share bits, measured once for each machine, shape, dtype and thread count."""
        model = replace(self.model, rows=None, steady=True)

        def find_out() -> dict[str, Any] | None:
            rows = find(chain_probe(model), whole(model.network.loops))
            if rows is None:
                return None
            filled = {size: (replace(model, rows=replace(rows, least=size)), 1) for size in fillings(rows)}
            seconds = pass_seconds({**filled, 0: (replace(model, steady=False), 1)})
            return asdict(priced(rows, seconds, seconds.pop(0)))

        found = remembered(self._fingerprint(), "row counts that share bits", find_out)
        return found and RowClass(**found)

    def tuned(self) -> "Loaded":
        """With lone rows filled up to the cheapest number outside exact mode, measured as often."""
        network = self.model.network
        if not isinstance(network, Lean) or network.device.type != "cpu" or network.weight_bytes() < LARGE:
            return self

        def find_out() -> int:
            models = {size: replace(self.model, network=replace(network, lone=size)) for size in fillings()}
            return cheapest(pass_seconds({size: (model, 1) for size, model in models.items()}))

        lone = remembered(self._fingerprint(), "the cheapest row count", find_out)
        return replace(self, model=replace(self.model, network=replace(network, lone=lone)))

    def costs(self) -> CostCurve:
        """Seconds of a pass by its rows, in the mode that applies, measured as often."""

        def find_out() -> dict[str, float]:
            return pass_seconds({str(rows): (self.model, rows) for rows in COSTED})

        mode = "exact" if self.model.rows else "free"
        found = remembered(self._fingerprint(), f"seconds of a pass by its rows, {mode}", find_out)
        return CostCurve(tuple(map(int, found)), tuple(found.values()))

    def same_tokenizer(self, other: "Loaded") -> bool:
        """Whether both spell every text with the same ids."""
        return Speller(self.name, self._spelling()).same(Speller(other.name, other._spelling()))

    def facts(self) -> dict[str, Any]:
        """What a report says of the model; JSON-ready."""
        rows = self.model.rows
        return {
            "name": self.name,
            "architecture": self.model.network.architecture,
            "parameters": self.setting["parameters"],
            "dtype": self.setting["dtype"],
            "weights": self.setting["weights"],
            "device": str(self.model.network.device),
            "packed_linears": self.setting["packed"],
            "forward": "lean" if isinstance(self.model.network, Lean) else "transformers",
            "widen": self.setting["widen"],
            "trees": self.model.trees,
            "context": self.model.context,
            "exact": rows is not None,
            "exact_rows": str(rows) if rows else None,
            "exact_note": self.exact_note,
            "note": self._note(),
        }

    def _note(self) -> str | None:
        if (weights := self.setting["weights"]) in ROUNDED:
            return f"{weights} weights are rounded: another model than the stored one (benchmarks/weights.py: how far)"
        slow = self.setting["dtype"] == "bfloat16" and self.model.network.device.type == "cpu" and not fast_bfloat16()
        return "this CPU has no bfloat16 instructions: --dtype float32 is faster, drafted above all" if slow else None

    def _spelling(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise BadInput(f"{self.name} has no tokenizer files; put tokenizer.json beside the weights")
        return self.tokenizer

    def _fingerprint(self) -> dict[str, Any]:
        config = self.model.network.config.to_dict()
        return {
            "config": {
                key: value for key, value in config.items() if key not in {"_name_or_path", "transformers_version"}
            },
            "network": type(self.model.network).__name__,
            "attention": self.model.network.config._attn_implementation,
            "setting": {key: self.setting[key] for key in ("dtype", "weights", "packed")},
            "device": torch.cuda.get_device_name() if self.model.network.device.type == "cuda" else instruction_sets(),
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
            "probe": PROBE,
        }

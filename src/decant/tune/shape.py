"""A decoder-only transformer by its sizes alone, read from a Hugging Face config.json: no weights are needed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from decant.errors import BadInput

BYTES: Final = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
ROUNDED: Final = {"int8": 1.0, "int4": 0.5}  # bytes of a weight that is stored rounded and multiplied in the dtype
ALIASES: Final = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "intermediate_size": ("n_inner", "ffn_dim"),
    "vocab_size": (),
}
PLAIN: Final = frozenset({"gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "bloom", "falcon", "phi", "starcoder2"})
"""Model types with two matrices in a feed-forward network; all others have three."""
STRANGERS: Final = {
    "num_experts": "a mixture of experts",
    "num_local_experts": "a mixture of experts",
    "n_routed_experts": "a mixture of experts",
    "kv_lora_rank": "latent attention",
    "ssm_cfg": "a recurrent model",
    "state_size": "a recurrent model",
    "is_encoder_decoder": "an encoder and a decoder",
}


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one model. A sliding window counts as the whole context; norms and biases are left out (below 0.5 %).

    matrices:     of a feed-forward network: gated ones have three.
    vocab:        rows of the output matrix.
    weight_bytes: of one weight as it is read.
    dtype:        of the products and the cache.
    """

    name: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocab: int
    dtype: str = "bfloat16"
    weight_bytes: float = 2.0
    matrices: int = 3
    tied: bool = False

    @property
    def layer_parameters(self) -> int:
        """In the products of all layers."""
        attention = 2 * self.width * self.head_size * (self.heads + self.kv_heads)
        return self.layers * (attention + self.matrices * self.width * self.feed_forward)

    @property
    def output_parameters(self) -> int:
        """In the output matrix."""
        return self.vocab * self.width

    @property
    def parameters(self) -> int:
        """In all, the table of embeddings included."""
        return self.layer_parameters + (1 if self.tied else 2) * self.output_parameters

    @property
    def cached_token(self) -> float:
        """Bytes of cache that a token takes."""
        return 2 * self.layers * self.kv_heads * self.head_size * BYTES[self.dtype]

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        sizes = ("layers", "width", "feed_forward", "heads", "kv_heads", "head_size", "vocab", "dtype", "weight_bytes")
        return {"name": self.name, "parameters": self.parameters} | {name: getattr(self, name) for name in sizes}

    @classmethod
    def of(cls, config: Mapping[str, Any], name: str, dtype: str = "auto", weights: str = "auto") -> "Shape":
        """Of a config.json. dtype, weights: "auto", or instead of what the file says; weights may be int8 or int4.

        Raises BadInput for a kind of model whose passes cost otherwise, and for a size that is missing.
        """
        said = config.get("text_config") or config
        _refuse_strangers(said, name)
        found = {field: _size(said, field, name) for field in ALIASES}
        heads, width = found["num_attention_heads"], found["hidden_size"]
        working = _dtype(dtype if dtype != "auto" else str(said.get("dtype") or said.get("torch_dtype") or ""), name)
        return cls(
            name=name,
            layers=found["num_hidden_layers"],
            width=width,
            feed_forward=found["intermediate_size"],
            heads=heads,
            kv_heads=int(said.get("num_key_value_heads") or heads),
            head_size=int(said.get("head_dim") or width // heads),
            vocab=int(said.get("draft_vocab_size") or found["vocab_size"]),
            dtype=working,
            weight_bytes=ROUNDED.get(weights, BYTES[working]),
            matrices=2 if said.get("model_type") in PLAIN else 3,
            tied=bool(said.get("tie_word_embeddings", False)),
        )

    @classmethod
    def read(cls, folder: Path, name: str, dtype: str = "auto", weights: str = "auto") -> "Shape":
        """Of a folder with a config.json. Raises BadInput."""
        file = folder / "config.json"
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{file} cannot be read: {error}") from error
        return cls.of(config, name, dtype, weights)


def _size(said: Mapping[str, Any], field: str, name: str) -> int:
    for known in (field, *ALIASES[field]):
        if said.get(known):
            return int(said[known])
    if field == "intermediate_size" and any(said.get(known) for known in ("hidden_size", *ALIASES["hidden_size"])):
        return 4 * _size(said, "hidden_size", name)  # GPT-2 and its relatives leave it out
    raise BadInput(f"the config.json of {name} has no {field}; a prediction needs it")


def _dtype(said: str, name: str) -> str:
    """Its name without torch's; bfloat16 where nothing is said."""
    said = said.removeprefix("torch.") or "bfloat16"
    if said not in BYTES:
        raise BadInput(f"the dtype of {name} is {said!r}, and passes are predicted for {', '.join(BYTES)}; name one")
    return said


def _refuse_strangers(said: Mapping[str, Any], name: str) -> None:
    for key, kind in STRANGERS.items():
        value = said.get(key)
        if value and (isinstance(value, bool) or not isinstance(value, int) or value > 1):
            raise BadInput(
                f"{name} is {kind} ({key} in its config.json), whose passes are not predicted; measure it with bench "
                f"--costs on the machine itself"
            )

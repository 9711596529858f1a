"""A Llama, Mistral, Qwen2 or Qwen3 as one GGUF file, for llama.cpp and whoever else reads GGUF.

GGUF's Llama turns neighbouring rows of queries and keys, Hugging Face's turns rows half a head apart: these rows change
places. Its Qwen turns them as Hugging Face does.
Source: github.com/ggml-org/llama.cpp, conversion/llama.py (7bca1fd) and the package gguf.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor

from decant.errors import BadInput, IncompatibleParts
from decant.export.gguf_words import Spelling, package, spell
from decant.models.load import ends_of

FAMILIES: Final = {  # as transformers calls them -> as GGUF does
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
KINDS: Final = ("auto", "f32", "f16", "bf16", "q8_0")
FILE_TYPES: Final = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
LOSSLESS: Final = {"bf16": torch.bfloat16, "f16": torch.float16}
Named = tuple[str, Tensor]


@final
@dataclass(frozen=True, slots=True)
class Written:
    """weights: how matrices are stored. tensors: how many there are. spelling: None for a file without a tokenizer."""

    weights: str
    tensors: int
    spelling: Spelling | None


def write(network: Any, tokenizer: Any, file: Path, weights: str = "auto", title: str = "model") -> Written:
    """Write `file`, and read it back.

    weights: auto is the smallest type that loses nothing; q8_0 leaves rows that are no whole blocks in f16.
    Raises IncompatibleParts for a model that GGUF, or this writer, does not know; BadInput for its tokenizer or for
    weights of another name; MissingExtra without the package gguf.
    """
    gguf = package()
    family = refuse_strange(network, weights)
    config = network.config.get_text_config()
    kind = lossless(network) if weights == "auto" else weights
    writer = gguf.GGUFWriter(file, family)
    writer.add_name(title)
    describe(writer, config)
    writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[kind]])
    spelling = None
    if tokenizer is not None:
        spelling = spell(writer, tokenizer, config.vocab_size, ends_of(network, tokenizer))
    count = 0
    for name, weight in _tensors(network, family):
        add(writer, name, weight, kind)
        count += 1
    finish(writer)
    read_back(file, count)
    return Written(kind, count, spelling)


def refuse_strange(network: Any, weights: str = "auto") -> str:
    """GGUF's name of the architecture. Raises IncompatibleParts, and BadInput for weights that are no kind here."""
    if weights not in KINDS:
        raise BadInput(f"weights {weights!r} are no GGUF type that is written here; take {', '.join(KINDS)}")
    config, name = network.config.get_text_config(), type(network).__name__
    if name not in FAMILIES:
        raise IncompatibleParts(f"a {name} is not written as GGUF here; the architectures are {', '.join(FAMILIES)}")
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    if kind != "default" and (FAMILIES[name] != "llama" or kind not in {"linear", "llama3"}):
        raise IncompatibleParts(f"GGUF's {FAMILIES[name]} has no RoPE scaling {kind!r} that is written here")
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        raise IncompatibleParts(
            f"GGUF's {FAMILIES[name]} has no sliding window, this model has {config.sliding_window}"
        )
    return FAMILIES[name]


def describe(writer: Any, config: Any) -> None:
    """Sizes, RoPE and norms, for the architecture that the writer was opened with."""
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def add(writer: Any, name: str, weight: Tensor, kind: str) -> None:
    """One tensor: matrices as `kind`, the rest in float32."""
    gguf = package()
    stored = gguf.GGMLQuantizationType["F32" if weight.dim() == 1 else kind.upper()]
    block, _ = gguf.GGML_QUANT_SIZES[stored]
    if weight.shape[-1] % block:
        stored = gguf.GGMLQuantizationType.F16
    writer.add_tensor(name, gguf.quantize(weight.float().numpy(), stored), raw_dtype=stored)


def finish(writer: Any) -> None:
    """Everything to the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_back(file: Path, tensors: int) -> None:
    """Raises RuntimeError where the package reads something else than was written."""
    found = len(package().GGUFReader(file).tensors)
    if found != tensors:
        raise RuntimeError(f"{file} holds {found} tensors, {tensors} were written")


def lossless(network: Any) -> str:
    """The smallest type that every matrix fits."""
    matrices = [weight for weight in network.state_dict().values() if weight.dim() > 1]
    for kind, dtype in LOSSLESS.items():
        if all(torch.equal(weight.to(dtype).to(weight.dtype), weight) for weight in matrices):
            return kind
    return "f32"


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys as GGUF's Llama turns them."""
    return torch.stack(weight.unflatten(0, (heads, 2, -1)).unbind(1), 2).reshape(weight.shape)


def _tensors(network: Any, family: str) -> Iterator[Named]:
    """By GGUF's names. Raises IncompatibleParts for a weight that has none."""
    gguf = package()
    config = network.config.get_text_config()
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads or config.num_attention_heads}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family.upper()], config.num_hidden_layers)
    for name, weight in network.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # llama.cpp takes the embedding
        known = names.get_name(name, (".weight", ".bias"))
        if known is None:
            raise IncompatibleParts(f"GGUF's {family} has no name for {name}")
        part = name.split(".")[-2]
        turned = family == "llama" and part in heads
        yield known, interleaved(weight, heads[part]) if turned else weight
    if (factors_W := _factors(network, config)) is not None:
        yield "rope_freqs.weight", factors_W


def _factors(network: Any, config: Any) -> Tensor | None:
    """What scaling divides the frequencies of RoPE by; None where there is none."""
    if config.rope_parameters.get("rope_type", "default") == "default":
        return None
    scaled_W = network.model.rotary_emb.inv_freq.float()
    steps_W = torch.arange(len(scaled_W), dtype=torch.float32) / len(scaled_W)
    return config.rope_parameters["rope_theta"] ** -steps_W / scaled_W

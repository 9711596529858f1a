"""What llama.cpp drafts with: GGUF files of target and draft, and the words of its launch line.

An EAGLE-3 head is an architecture of its own, `eagle3`: rows of queries and keys as in GGUF's Llama, `d2t` of ids, not
of offsets, the target's layers by their inputs, and the target's tokenizer.
Source: github.com/ggml-org/llama.cpp, src/models/eagle3.cpp, common/arg.cpp (f5e85d4), docs/speculative.md (a3a1c47).
"""

from pathlib import Path
from typing import Any, Final

import numpy as np

from decant.export import gguf_file, layouts
from decant.export.gguf_words import package, spell
from decant.export.source import Source
from decant.export.speculation import PLAIN, Launch, Speculation
from decant.models.heads.spec import KEYS, NORMED
from decant.models.load import ends_of

METHODS: Final = {  # decant's -> llama.cpp's
    PLAIN: None,
    "draft-model": "draft-simple",
    "prompt-lookup": "ngram-simple",
    "eagle3": "draft-eagle3",
}
NAMES: Final = {  # of a head's layer -> GGUF's
    "input_layernorm": "attn_norm",
    "hidden_norm": "attn_norm_2",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
ENDS: Final = {"fc.weight": "fc.weight", "norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
CHECKED: Final = (
    "Validated against the format, not run: files were read back with the package gguf, llama-server was not at hand.",
    "decant's tests load such files with llama-cpp-python and hold what they say against decant.",
)


def write(target: Source, asked: Speculation, out: Path, weights: str = "auto") -> Launch:
    """`target.gguf`, `draft.gguf` where something drafts. Raises IncompatibleParts, BadInput and MissingExtra as
    `gguf_file.write` does."""
    kind = METHODS[asked.method]
    settings: dict[str, Any] = {} if kind is None else {"spec_type": kind}
    remarks: list[str] = ["llama.cpp drafts a chain where decant draws a tree."] if asked.tree and kind else []
    gguf_file.refuse_strange(target.network, weights)
    if kind == "ngram-simple":
        settings |= {"spec_ngram_simple_size_n": asked.knobs["ngram"], "spec_ngram_simple_size_m": asked.depth}
    elif kind is not None:
        settings |= {"spec_draft_model": "draft.gguf", "spec_draft_n_max": asked.depth}
    if kind == "draft-simple":
        draft = asked.drafter(target)
        gguf_file.write(draft.network, draft.tokenizer, out / "draft.gguf", weights, draft.title)
    elif kind == "draft-eagle3":
        assert asked.head is not None, "the folder of a head is found before an engine is asked"
        eagle3(layouts.read(asked.head, target), target, out / "draft.gguf")
    done = gguf_file.write(target.network, target.tokenizer, out / "target.gguf", weights, target.title)
    remarks += splitting(done)
    words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return Launch(("llama-server", "--model", "target.gguf", *words), settings, tuple(remarks), CHECKED)


def splitting(done: gguf_file.Written) -> list[str]:
    """What a reader must know of how llama.cpp splits text."""
    if done.spelling is None:
        return ["The model has no tokenizer files: the file takes ids alone."]
    if not done.spelling.known:
        return [
            f"llama.cpp knows no name for how this tokenizer splits text before it merges; the file says "
            f"{done.spelling.split}, the nearest. Ids of a text can differ: send prompts as ids where that matters."
        ]
    return []


def eagle3(net: Any, target: Source, file: Path) -> None:
    """An EAGLE-3 head as GGUF, in bfloat16 as heads are stored."""
    gguf, spec, config = package(), net.spec, target.config
    weights, _ = layouts.eagle3(net)
    writer = gguf.GGUFWriter(file, "eagle3")
    writer.add_name(f"{spec.kind} of {target.title}")
    gguf_file.describe(writer, _Shape(spec))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_array("eagle3.target_layers", layouts.layers_read(spec, config.num_hidden_layers))
    writer.add_uint32("eagle3.target_hidden_size", config.hidden_size)
    writer.add_bool(f"eagle3.{NORMED}", bool(spec.knobs.get(NORMED)))
    if target.tokenizer is not None:
        spell(writer, target.tokenizer, spec.vocab, ends_of(target.network, target.tokenizer))
    weights.pop("t2d", None)
    if weights.pop("d2t", None) is not None:
        writer.add_tensor("d2t", net.ids_V.cpu().numpy().astype(np.int64))
    for name, weight in weights.items():
        part = name.removeprefix("midlayer.").removesuffix(".weight")
        heads = {"self_attn.q_proj": spec.heads, "self_attn.k_proj": spec.kv_heads}.get(part)
        known = ENDS.get(name) or f"blk.0.{NAMES[part]}.weight"
        gguf_file.add(writer, known, weight if heads is None else gguf_file.interleaved(weight, heads), "bf16")
    gguf_file.finish(writer)
    gguf_file.read_back(file, len(weights) + (net.ids_V is not None))


class _Shape:
    """A head's sizes under the names of a model's configuration."""

    num_hidden_layers: Final = 1

    def __init__(self, spec: Any) -> None:
        for ours, theirs in KEYS.items():
            setattr(self, theirs, getattr(spec, ours))

"""llama.cpp through llama-cpp-python, which ships prompt lookup but no drafting with a second model."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import llama_cpp
from llama_cpp import Llama
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

from .gguf_file import write
from .seam import CannotRun, Engine, Weights, versions


def engines(weights: Weights, kind: str) -> Iterator[Engine]:
    said = versions("llama-cpp-python")
    file = weights.scratch / "llama.cpp-BF16.gguf"
    if not file.exists():
        write(weights.folder, file, "BF16")
    if kind != "BF16":
        file = _quantized(file, kind, weights)
    yield Engine("", said, partial(_generate, _open(file, weights)))
    lookup = LlamaPromptLookupDecoding(num_pred_tokens=2)  # its documentation's number for machines without a GPU
    yield Engine("prompt-lookup", said, partial(_generate, _open(file, weights, lookup)))


def _quantized(source: Path, kind: str, weights: Weights) -> Path:
    """By llama.cpp's own quantiser, which knows what to leave in a finer type."""
    file = source.with_name(f"llama.cpp-{kind}.gguf")
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    settings.nthread = weights.threads
    if llama_cpp.llama_model_quantize(str(source).encode(), str(file).encode(), settings):
        raise CannotRun(f"llama_model_quantize refused {kind}")
    return file


def _open(file: Path, weights: Weights, lookup: LlamaPromptLookupDecoding | None = None) -> Llama:
    return Llama(
        str(file),
        n_ctx=weights.longest + 16,  # room for what is drafted behind the last token
        n_threads=weights.threads,
        n_threads_batch=weights.threads,
        n_gpu_layers=0,
        draft_model=lookup,
        verbose=False,
    )


def _generate(model: Llama, ids: list[int], new_tokens: int) -> list[int]:
    model.reset()  # else the prompt of the last call is not read again
    return list(islice(model.generate(ids, temp=0.0, repeat_penalty=1.0), new_tokens))

"""llama.cpp's own library, through llama-cpp-python: logits of a file, and an EAGLE-3 head behind a target."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

F32 = 0  # ggml's number of the type: keys and values as exact as the weights


@contextmanager
def opened(file: Path, context: int = 256) -> Iterator[Any]:
    """A `Llama` that computes in float32 and keeps the logits of every position."""
    from llama_cpp import Llama

    model = Llama(
        str(file), n_ctx=context, n_threads=1, n_gpu_layers=0, verbose=False, logits_all=True, type_k=F32, type_v=F32
    )
    try:
        yield model
    finally:
        model.close()


def logits(file: Path, ids: list[int]) -> Tensor:
    """logits_TV."""
    with opened(file) as model:
        model.eval(ids)
        return torch.from_numpy(np.array(model.scores[: len(ids)]))


def greedy(model: Any, ids: list[int], count: int) -> list[int]:
    """New ids, past every end of text."""
    model.reset()
    model.eval(ids)
    new: list[int] = []
    for _ in range(count):
        new.append(int(model.scores[model.n_tokens - 1].argmax()))
        model.eval(new[-1:])
    return new


def drafted(target: Path, head: Path, ids: list[int], hidden_TF: Tensor) -> Tensor:
    """logits_TV of an EAGLE-3 head; row t knows token ids[t] and the target's states hidden_TF[t]."""
    from llama_cpp import llama_cpp as C
    from llama_cpp import llama_cpp_ext as X

    C.llama_backend_init()
    params, setting = C.llama_model_default_params(), C.llama_context_default_params()
    params.n_gpu_layers, setting.n_ctx, setting.n_threads, setting.n_threads_batch = 0, 64, 1, 1
    models = [C.llama_model_load_from_file(str(file).encode(), params) for file in (target, head)]
    assert all(models), "llama.cpp does not load the files"
    first = C.llama_init_from_model(models[0], setting)
    setting.ctx_other = first  # the head has no embedding of its own
    context = C.llama_init_from_model(models[1], setting)
    X.llama_set_embeddings_nextn(context, True, True)
    features = np.ascontiguousarray(hidden_TF.numpy(), dtype=np.float32)
    assert C.llama_encode(context, _batch(features, None)) == 0
    joined = np.ctypeslib.as_array(X.llama_get_embeddings_nextn(context), (len(ids), features.shape[1] // 3)).copy()
    assert C.llama_decode(context, _batch(joined, ids)) == 0
    vocab = C.llama_vocab_n_tokens(C.llama_model_get_vocab(models[1]))
    said = torch.from_numpy(np.ctypeslib.as_array(C.llama_get_logits(context), (len(ids), vocab)).copy())
    for one in (context, first):
        C.llama_free(one)
    for model in reversed(models):
        C.llama_model_free(model)
    return said


def _batch(rows: np.ndarray, ids: list[int] | None) -> Any:
    """Rows of states, and tokens where there are any. It is small, and stays."""
    from llama_cpp import llama_cpp as C

    batch = C.llama_batch_init(len(rows), rows.shape[1], 1)
    ctypes.memmove(batch.embd, rows.ctypes.data, rows.nbytes)
    if ids is not None:
        batch.kept = (ctypes.c_int32 * len(ids))(*ids)
        batch.token = ctypes.cast(batch.kept, ctypes.POINTER(ctypes.c_int32))
    for at in range(len(rows)):
        batch.pos[at], batch.n_seq_id[at], batch.logits[at] = at, 1, 1
        batch.seq_id[at][0] = 0
    batch.n_tokens = len(rows)
    return batch

"""ONNX Runtime GenAI, converted by its own builder."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime_genai

from .seam import CannotRun, Engine, Weights, versions


def engines(weights: Weights, kind: str) -> Iterator[Engine]:
    folder = weights.scratch / f"onnx-{kind}"
    _build(weights, folder, kind)
    _set(folder / "genai_config.json", weights.threads)
    model = onnxruntime_genai.Model(str(folder))

    def generate(ids: list[int], new_tokens: int) -> list[int]:
        settings = onnxruntime_genai.GeneratorParams(model)
        settings.set_search_options(do_sample=False, max_length=len(ids) + new_tokens)
        search = onnxruntime_genai.Generator(model, settings)
        search.append_tokens(np.array([ids], dtype=np.int32))
        found: list[int] = []
        while len(found) < new_tokens and not search.is_done():
            search.generate_next_token()
            found.append(int(search.get_next_tokens()[0]))
        return found

    yield Engine("", versions("onnxruntime-genai", "onnxruntime"), generate)


def _build(weights: Weights, folder: Path, kind: str) -> None:
    cache = str(weights.scratch / "onnx-cache")
    command = ["-i", str(weights.folder), "-o", str(folder), "-p", kind, "-e", "cpu", "-c", cache]
    builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    done = subprocess.run(builder + command, capture_output=True, text=True)
    if done.returncode:
        raise CannotRun(f"its model builder failed: {done.stderr.strip().splitlines()[-1]}")


def _set(file: Path, threads: int) -> None:
    """The number of threads; and padding as the end of text, which no model says: texts must not end early."""
    config = json.loads(file.read_text())
    config["model"]["eos_token_id"] = [config["model"]["pad_token_id"]]
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    file.write_text(json.dumps(config))

"""OpenVINO GenAI, reading GGUF: the export that it recommends (optimum-intel) does not know transformers 5.

float16 stands for bfloat16, which its reader refuses; it computes in bfloat16 where the CPU has it.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import openvino
import openvino_genai

from .gguf_file import write
from .seam import CannotRun, Engine, Weights, versions

DRAFTED = 5  # tokens a step, the number of OpenVINO's own samples


def engines(weights: Weights, kind: str) -> Iterator[Engine]:
    said = versions("openvino-genai")
    file = write(weights.folder, weights.scratch / f"openvino-{kind}.gguf", kind)
    properties = {"INFERENCE_NUM_THREADS": weights.threads}
    open_pipeline = partial(openvino_genai.LLMPipeline, str(file), "CPU", scheduler_config=_scheduler(), **properties)
    yield Engine("", said, partial(_generate, open_pipeline(), {}))
    lookup = {"num_assistant_tokens": DRAFTED, "max_ngram_size": 3}
    yield Engine("prompt-lookup", said, partial(_generate, open_pipeline(prompt_lookup=True), lookup))
    if weights.draft is None:
        raise CannotRun("the model names no draft")
    draft = openvino_genai.draft_model(str(_exported(weights.draft, weights.scratch)), "CPU", **properties)
    yield Engine(
        "draft-model",
        said,
        partial(_generate, open_pipeline(draft_model=draft), {"num_assistant_tokens": DRAFTED}),
    )


def _exported(draft: Path, scratch: Path) -> Path:
    """A draft in OpenVINO's own format, beside its GGUF: of drafts it reads nothing else."""
    folder = scratch / "openvino-draft"
    folder.mkdir(exist_ok=True)
    file = write(draft, folder / "draft.gguf", "F16")
    openvino_genai.LLMPipeline(str(file), "CPU", enable_save_ov_model=True)
    return folder


def _scheduler() -> openvino_genai.SchedulerConfig:
    """Prompts are read anew each time, as by the others."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False
    scheduler.cache_size = 1  # GB
    return scheduler


def _generate(model: openvino_genai.LLMPipeline, mode: dict, ids: list[int], new_tokens: int) -> list[int]:
    settings = openvino_genai.GenerationConfig(max_new_tokens=new_tokens, ignore_eos=True, do_sample=False, **mode)
    done = model.generate(openvino.Tensor(np.array([ids], dtype=np.int64)), settings)
    return list(map(int, done.tokens[0]))

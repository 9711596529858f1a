"""`decant env`: the machine and the versions, for every bug report."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, facts_table, show, write_json
from decant.apps.cli.start import quieten, use_threads

PACKAGES: Final = ("tokenizers", "safetensors", "numpy", "typer", "rich", "jinja2", "markupsafe")
EXTRAS: Final = {
    "dev": (
        *("pytest", "ruff", "basedpyright", "import-linter", "scipy", "llguidance", "jsonschema", "matplotlib"),
        *("fastapi", "uvicorn", "prometheus-client", "httpx", "openai", "schemathesis", "gguf"),
        *("lm-eval", "pytablewriter"),
    ),
    "plot": ("matplotlib",),
    "serve": ("fastapi", "uvicorn", "prometheus-client"),
    "gguf": ("gguf",),
    "images": ("scikit-learn",),
    "eval": ("lm-eval", "pytablewriter"),
    "grammar": ("llguidance",),
    "ray": ("ray",),
    "lora": ("peft",),
    "tensorboard": ("tensorboard",),
    "peers": (
        *("ctranslate2", "gguf", "llama-cpp-python", "onnx", "onnx_ir", "onnxruntime-genai", "openvino-genai"),
        *("trl", "datasets"),
    ),
}
VARIABLES: Final = ("HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
LABELS: Final = {"bandwidth_gb_s": "memory bandwidth", "memory_gib": "memory"}
UNITS: Final = {"bandwidth_gb_s": " GB/s", "memory_gib": " GiB"}


@sentences()
def env(threads: options.Threads = None, json: options.Json = None) -> None:
    """Versions, device, threads, instruction sets and the measured memory bandwidth, for every bug report."""
    check_writable(json)
    quieten()
    use_threads(threads)
    facts = environment()
    if json != "-":
        show(facts_table({_label(name): _said(value, name) for name, value in facts.items()}))
    write_json(facts, json)


def environment() -> dict[str, Any]:
    """Everything that decides what runs here, and how fast."""
    from decant.models.machine import bandwidth_gb_s, fast_bfloat16, machine

    return {
        **machine(),
        "bandwidth_gb_s": round(bandwidth_gb_s(), 1),
        "fast_bfloat16": fast_bfloat16(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": {extra: all(map(_version, names)) for extra, names in EXTRAS.items()},
        "decant_home": os.environ.get("DECANT_HOME") or str(Path.home() / ".cache" / "decant"),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _said(value: object, name: str = "") -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else f"{value}{UNITS.get(name, '')}"

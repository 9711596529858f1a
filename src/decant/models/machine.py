"""What this machine is: for reports, certificates and bug reports."""

import ctypes
import os
import platform
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def machine() -> dict[str, object]:
    """JSON-ready facts; cheap."""
    return {
        "name": platform.node(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instruction_sets": instruction_sets(),
        "memory_gib": _memory_gib(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": _version("transformers"),
        "decant": _version("decant"),
    }


def instruction_sets() -> list[str]:
    """Those that decide which dtype is fast, as the kernel names them; empty where it does not say."""
    try:
        flags = next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
        ).split()
    except (OSError, StopIteration):
        return []
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx_ne_convert", "amx_bf16", "amx_int8")
    return [flag for flag in wanted if flag in flags]


def fast_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; elsewhere float32 is faster and bfloat16 only smaller."""
    return bool({"avx512_bf16", "amx_bf16"} & set(instruction_sets()))


def bandwidth_gb_s(mebibytes: int = 512, repeats: int = 5) -> float:
    """Read bandwidth in GB/s: the best of `repeats` sums over memory that no cache holds."""
    block = torch.ones(mebibytes * 2**20 // 4)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        block.sum()
        times.append(time.perf_counter() - begin)
    return block.numel() * 4 / min(times) / 1e9


def hand_back() -> None:
    """Give freed memory back to the system, where the C library keeps it (glibc): weights freed while others are packed
    would stay resident for good, a sixth of the model (measured)."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

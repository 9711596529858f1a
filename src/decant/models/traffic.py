"""The read bandwidth of a device. Bytes that a forward must read, over it, are the floor under the time of a pass,
however clever its kernels are.
"""

import time

import torch

from decant.models.machine import bandwidth_gb_s

BLOCK = 2**28  # float32 values: 1 GiB, which no cache holds


def read_bandwidth_gb_s(device: torch.device, repeats: int = 5) -> float:
    """GB/s that `device` reads from its own memory: the best of `repeats` sums."""
    if device.type == "cpu":
        return bandwidth_gb_s(repeats=repeats)
    block = torch.ones(BLOCK, device=device)
    seconds = []
    for _ in range(repeats + 1):  # the first pays for the kernel's choice, and is never the best
        torch.accelerator.synchronize(device)
        begin = time.perf_counter()
        block.sum()
        torch.accelerator.synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return block.numel() * block.element_size() / min(seconds) / 1e9

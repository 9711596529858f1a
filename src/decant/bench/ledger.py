"""What one decoder did, and what its time was spent on: `clock.timed` fills it in."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

Part = Literal["draft", "target"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One draft and what became of it: tokens_BN, parents_BN (None for a chain), nodes_BC as in `Verdict`."""

    tokens_BN: Tensor
    parents_BN: Tensor | None
    nodes_BC: Tensor


@final
@dataclass(slots=True)
class Ledger:
    """What one decoder did, added up over all it decoded.

    draft, target: seconds in the drafter, and in the target, while decoding; prefill is not among them.
    prefill:       seconds in `Decoder.start`, the drafter's part of it included.
    first:         seconds from each start to the end of its first step.
    calls:         of the target, after prefill.
    turns:         request-steps: one for each request that is still running, each step.
    asked:         request-calls: one for each request that is still running, each call of the target; `turns` where a
                   step is one call.
    rounds:        every draft.

    On an accelerator each charge waits for the device, before and after: the split is true, and the total a little
    slower than it would be without a clock.
    """

    device: torch.device
    draft: float = 0.0
    target: float = 0.0
    prefill: float = 0.0
    first: list[float] = field(default_factory=list)
    calls: int = 0
    turns: int = 0
    asked: int = 0
    rounds: list[Round] = field(default_factory=list)
    decoding: bool = False

    @contextmanager
    def charge(self, part: Part) -> Iterator[None]:
        """Charge what happens inside to `part`."""
        begin = self.now()
        yield
        if self.decoding:
            setattr(self, part, getattr(self, part) + self.now() - begin)

    @contextmanager
    def call(self, part: Part) -> Iterator[None]:
        """Charge a pass to `part`; only the target's are counted."""
        self.calls += self.decoding and part == "target"
        with self.charge(part):
            yield

    def now(self) -> float:
        """The time once the device has caught up."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

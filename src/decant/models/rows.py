"""Which numbers of rows share bits.

Kernels change with the number of rows, so a token scored alone and the same token scored behind a draft may differ in
the last bit. At load a probe finds the row counts that agree; exact mode keeps every forward among them. What a probe
would find by luck alone is derived: an elementwise loop gives what is left over by its vectors to scalar code, whose
exp and cos have other last bits (`whole`).
"""

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)
REFERENCE = 16
CANDIDATES = (*range(1, 21), 24, 28, 31, 32, 48, 64)  # every size up to 20: kernels have tails of their own
PROBE = 5  # raised when the probe changes, so that what older ones found is forgotten
FEW = (2, 4, 8)
STEPS = (1, 2, 4, 8, 16)
WORTH = 0.98  # a lone row is filled up where that is at least so much cheaper
GRAIN = 32768  # at::internal::GRAIN_SIZE: elementwise loops over more values are cut in equal parts, one a thread


@final
@dataclass(frozen=True, slots=True)
class RowClass:
    """Forwards with `least`, `least + step`, ... `most` rows in all (requests x columns) give a row the same bits.

    least: the smallest, or the cheapest of the smallest.
    step: above 1 where elementwise kernels treat the tail of an odd number of values differently from the rest.
    cost: time of the cheapest forward of the class, over that of one row without exactness.
    """

    least: int
    most: int
    step: int = 1
    cost: float = 1.0

    def columns(self, batch: int) -> int:
        """How many columns a forward may have; at least one, even where the batch alone is too large."""
        return max(self._whole(batch), self.most // batch // self._whole(batch) * self._whole(batch))

    def fill(self, batch: int, columns: int = 1) -> int:
        """How many columns a forward of at least so many must have."""
        whole = self._whole(batch)
        return -(-max(columns, -(-self.least // batch)) // whole) * whole

    def holds(self, batch: int) -> bool:
        """Whether a batch of this size stays inside the class."""
        return batch * self.fill(batch) <= self.most

    def has(self, rows: int) -> bool:
        """Whether so many rows belong to the class."""
        return self.least <= rows <= self.most and rows % self.step == 0

    def __str__(self) -> str:
        """As in: 4 to 64 rows, in steps of 2."""
        return f"{self.least} to {self.most} rows" + (f", in steps of {self.step}" if self.step > 1 else "")

    def _whole(self, batch: int) -> int:
        """Columns come in multiples of this, so that rows come in multiples of `step`."""
        return self.step // math.gcd(batch, self.step)


Probe = Callable[[int, int], Tensor]
"""(rows, columns in a forward) -> the logits [rows, V] of one fixed chain, scored in forwards of that many columns."""


def find(probe: Probe, whole: Callable[[int], bool] = lambda rows: True) -> RowClass | None:
    """The class around 16 rows; None where not even 16 rows agree with themselves.

    whole: what is known of a row count.

    The first rows of a chain of 64 are scored in blocks of each candidate size and compared, bit by bit, with blocks
    of 16; caches are written by the same forwards, so a difference in any layer shows.
    """
    reference = probe(max(CANDIDATES), REFERENCE)
    if not torch.equal(reference[:REFERENCE], probe(REFERENCE, REFERENCE)):
        return None
    good = {size for size in range(1, max(CANDIDATES) + 1) if whole(size)} | {REFERENCE}
    for size in good.intersection(CANDIDATES) - {REFERENCE}:
        count = size * max(1, min(4, REFERENCE // size))  # no block is shorter than the others
        if not torch.equal(probe(count, size), reference[:count]):
            good.remove(size)
    classes = [_around(good, step) for step in STEPS]
    # The fewest rows for a lone token; then room for long drafts; `min` keeps the smallest step of equals.
    return min(classes, key=lambda rows: (rows.least, -rows.most))


def priced(rows: RowClass, seconds: Mapping[int, float], free: float) -> RowClass:
    """The class whose lone token is cheapest: with rows that nobody reads beside it, where kernels are tuned for
    several.

    seconds: of a lone token, by the rows it is filled up to; free: of one outside exact mode.
    """
    least = min(seconds, key=seconds.__getitem__)
    return replace(rows, least=least, cost=round(seconds[least] / free, 2))


def fillings(rows: RowClass | None = None) -> list[int]:
    """Row counts that a lone token is tried with: those of the class, or any."""
    return [1, *FEW] if rows is None else [rows.least, *(size for size in FEW if size > rows.least and rows.has(size))]


Widths = Collection[tuple[int, int]]
"""(values a row, bytes a value) of elementwise loops over functions such as exp."""


def widths(network: PreTrainedModel) -> Widths:
    """Of a transformers model on a CPU; whatever is as wide as a linear may meet an activation."""
    config, head = network.config.get_text_config(), network.get_output_embeddings()
    names = ("in_features", "out_features", "nx", "nf")  # of linears, and of GPT-2's
    found = {getattr(module, name, 0) for module in network.modules() if module is not head for name in names}
    found.add(getattr(config, "moe_intermediate_size", None) or 0)
    angles = (getattr(config, "head_dim", None) or 0, 4)
    return {*((width, network.dtype.itemsize) for width in found), angles}


def whole(loops: Widths) -> Callable[[int], bool]:
    """Whether a row count leaves no value to scalar code, in any of the loops and on any thread."""
    turn = 128 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 64  # bytes: loops take two vectors a turn
    threads = torch.get_num_threads()

    def leaves_nothing(rows: int) -> bool:
        for width, size in loops:
            count = rows * width
            part = -(-count // max(1, min(threads, -(-count // GRAIN))))
            if count * size % turn or part * size % turn:
                return False
        return True

    return leaves_nothing


def cheapest(seconds: Mapping[int, float]) -> int:
    """Of fillings outside exact mode; 1 unless another is clearly better."""
    least = min(seconds, key=seconds.__getitem__)
    return least if seconds[least] < WORTH * seconds[1] else 1


def remembered(fingerprint: Mapping[str, object], question: str, find_out: Callable[[], Any]) -> Any:
    """The answer (JSON-ready), found out once for each fingerprint; it lies under DECANT_HOME."""
    key = hashlib.sha256(json.dumps(fingerprint, sort_keys=True, default=str).encode()).hexdigest()[:24]
    file = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant")) / "rows" / f"{key}.json"
    try:
        said = json.loads(file.read_text())
    except (OSError, ValueError):
        said = {}
    if not isinstance(said, dict) or question not in said:
        LOG.info("%s: measuring it, once for this model on this machine", question)
        known = said if isinstance(said, dict) else {}
        said = {**known, question: find_out(), "fingerprint": fingerprint}
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(said, default=str))
            part.replace(file)
        except OSError:
            pass  # a read-only home costs the measurement at every load, no more
    return said[question]


def _around(good: set[int], step: int) -> RowClass:
    """The unbroken run of good multiples of `step` around the reference; it ends at a size that was probed."""
    least = most = REFERENCE
    while least - step in good:
        least -= step
    while most + step in good:
        most += step
    return RowClass(least, max(size for size in CANDIDATES if size <= most and size % step == 0), step)

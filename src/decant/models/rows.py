"""Which numbers of rows share bits.

Kernels change with the number of rows, so a token scored alone and the same token scored behind a draft may differ in
the last bit. At load a probe finds the row counts that agree; exact mode keeps every forward among them.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

REFERENCE = 16
CANDIDATES = (*range(1, 21), 24, 28, 31, 32, 48, 64)  # every size up to 20: kernels have tails of their own


@final
@dataclass(frozen=True, slots=True)
class RowClass:
    """Every forward with `least` to `most` rows in all (requests x columns) gives a row the same bits.

    least, most: inclusive.
    cost:        time of the cheapest forward of the class, over that of one row without exactness.
    """

    least: int
    most: int
    cost: float = 1.0

    def columns(self, batch: int) -> int:
        """How many columns a forward may have; at least one, even where the batch alone is too large."""
        return max(1, self.most // batch)

    def fill(self, batch: int) -> int:
        """How many columns a forward must have."""
        return -(-self.least // batch)

    def holds(self, batch: int) -> bool:
        """Whether a batch of this size stays inside the class."""
        return batch * max(1, self.fill(batch)) <= self.most


Probe = Callable[[int, int], Tensor]
"""(rows, columns in a forward) -> the logits [rows, V] of one fixed chain, scored in forwards of that many columns."""


def find(probe: Probe, free: Probe) -> RowClass | None:
    """The class around 16 rows; None where not even 16 rows agree with themselves.

    probe: of the model as exact mode runs it; free: of the model without.

    The first rows of a chain of 64 are scored in blocks of each candidate size and compared, bit by bit, with blocks
    of 16; caches are written by the same forwards, so a difference in any layer shows.
    """
    reference = probe(max(CANDIDATES), REFERENCE)
    if not torch.equal(reference[:REFERENCE], probe(REFERENCE, REFERENCE)):
        return None
    shares = {REFERENCE}
    for size in CANDIDATES:
        count = size * max(1, min(4, REFERENCE // size))  # no block is shorter than the others
        if size != REFERENCE and torch.equal(probe(count, size), reference[:count]):
            shares.add(size)
    down = [size for size in reversed(CANDIDATES) if size <= REFERENCE]
    up = [size for size in CANDIDATES if size >= REFERENCE]
    least, most = _reach(down, shares), _reach(up, shares)
    one = _seconds(free, 1)
    return RowClass(least, most, round(_seconds(probe, least) / one, 2) if one > 0 else 1.0)


def remembered(fingerprint: dict[str, object], probe: Probe, free: Probe) -> RowClass | None:
    """`find`, once for each machine, shape, dtype and thread count; the answer lies under DECANT_HOME."""
    key = hashlib.sha256(json.dumps(fingerprint, sort_keys=True, default=str).encode()).hexdigest()[:24]
    file = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant")) / "rows" / f"{key}.json"
    try:
        found = json.loads(file.read_text())["rows"]
        return found and RowClass(**found)
    except (OSError, ValueError, KeyError, TypeError):
        rows = find(probe, free)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"rows": rows and asdict(rows), "fingerprint": fingerprint}, default=str))
        part.replace(file)
    except OSError:
        pass  # a read-only home costs the probe at every load, no more
    return rows


def _reach(sizes: list[int], shares: set[int]) -> int:
    """The last of `sizes` before the first that does not share bits."""
    last = sizes[0]
    for size in sizes:
        if size not in shares:
            break
        last = size
    return last


def _seconds(probe: Probe, size: int) -> float:
    """One forward over `size` rows: five of them less one, so that the prompt's share falls out."""
    whole, one = (min(_timed(probe, count * size, size) for _ in range(5)) for count in (5, 1))
    return (whole - one) / 4


def _timed(probe: Probe, count: int, size: int) -> float:
    begin = time.perf_counter()
    probe(count, size)
    return time.perf_counter() - begin

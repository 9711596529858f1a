"""What a server takes on at a time."""

import math
from dataclasses import dataclass
from typing import final

from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Bounds:
    """Raises BadInput for what leaves no room.

    batch:    texts that run at a time, over all settings. queue: texts that wait, at most.
    cache_mb: megabytes of keys and values that those that run may need together; None: no limit.
    timeout:  seconds from a call to its end.
    """

    batch: int = 32
    queue: int = 256
    cache_mb: float | None = None
    timeout: float = 600.0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise BadInput(f"batch is 1 or more, got {self.batch}")
        if self.queue < 0:
            raise BadInput(f"queue is 0 (nobody waits) or more, got {self.queue}")
        if self.cache_mb is not None and not self.cache_mb > 0:
            raise BadInput(f"cache_mb is more than 0, got {self.cache_mb:g}; leave it out for no limit")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise BadInput(f"timeout is a number of seconds above 0, got {self.timeout:g}")

    @property
    def texts(self) -> int:
        """That run or wait, at most."""
        return self.batch + self.queue

"""A disk that takes some bytes of a file and then refuses, with the system's own limit on a file's size."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def full(after: int) -> Iterator[None]:
    """Every file of this process, as long as this lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

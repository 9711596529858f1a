"""Caches of requests that have ended are freed at once, not when the garbage collector comes."""

import gc
import weakref

import torch

from decant.models.fast.lanes import Lanes


def test_a_batch_that_is_let_go_takes_its_caches_along() -> None:
    gc.disable()
    try:
        batch = Lanes.empty(2, (1, 1, 4), torch.zeros(1))
        rest = batch.select([1])
        left, kept = weakref.ref(batch.lanes[0]), weakref.ref(batch.lanes[1])
        del batch
        assert left() is None  # the planted bug: a lane whose owner is the batch itself
        assert kept() is rest.lanes[0]
        assert rest.owns()
    finally:
        gc.enable()


def test_who_owns_a_lane_may_write() -> None:
    batch = Lanes.empty(2, (1, 1, 4), torch.zeros(1))
    assert batch.owns()
    other = batch.select([0])
    assert other.owns()
    assert not batch.owns()
    batch.claim([0, 0])
    assert batch.owns()

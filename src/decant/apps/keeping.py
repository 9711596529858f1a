"""What drafters learn is kept while they learn: now and then, beside the work, and at the end."""

import logging
import time
from threading import Thread
from typing import Any, Final, final

import torch

from decant.apps.store import DraftStore
from decant.models.loaded import Loaded
from decant.protocols import Stored

LOG = logging.getLogger(__name__)
EVERY: Final = 300.0  # seconds of learning that a process may lose which is killed

Learnt = tuple[Stored, Any] | None
"""A drafter and the state up to which it learnt. States do not change, so another thread may read one."""


@final
class Keeping:
    """Look at what was learnt as often as you like; the last time close(). store: None keeps nothing.

    What cannot be kept is warned of and tried again; nothing is ever raised.
    """

    def __init__(self, store: DraftStore | None, target: Loaded) -> None:
        self._store, self._target = store, target
        self._last, self._kept = time.monotonic(), None
        self._saving: Thread | None = None

    def look(self, learnt: Learnt) -> None:
        """Keep it on another thread, where it is news and the last time is long enough ago."""
        if not self._news(learnt) or time.monotonic() - self._last < EVERY:
            return
        if self._saving is None or not self._saving.is_alive():
            self._last = time.monotonic()
            self._saving = Thread(target=self._save, args=(learnt,), name="decant-draft-store", daemon=True)
            self._saving.start()

    def close(self, learnt: Learnt) -> None:
        """Keep it now, where it is news."""
        if self._saving is not None:
            self._saving.join()
        if self._news(learnt):
            self._save(learnt)

    def _news(self, learnt: Learnt) -> bool:
        return self._store is not None and learnt is not None and learnt[1] is not self._kept

    @torch.inference_mode()
    def _save(self, learnt: Learnt) -> None:
        assert self._store is not None
        assert learnt is not None
        try:
            if self._store.save(*learnt, self._target):
                self._kept = learnt[1]
        except Exception:  # no text depends on it
            LOG.exception("what was learnt is not kept")

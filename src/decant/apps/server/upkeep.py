"""What the engine's thread does beside steps: freed memory goes back; what drafters learn is handed on, and kept."""

import time
from dataclasses import replace
from typing import Any, Final, final
from weakref import WeakKeyDictionary

from decant.apps.keeping import Keeping
from decant.apps.server.cranks import Crank
from decant.apps.session import Session
from decant.apps.store import learnt_by
from decant.decoders.speculative import Speculative
from decant.models.machine import hand_back
from decant.protocols import Learner, Stored

TRIM: Final = 30.0  # seconds between two times that freed memory goes back: caches of many sizes leave holes


@final
class Upkeep:
    """Of drafters that can be stored, what was learnt last counts, in whichever crank it was."""

    def __init__(self, session: Session) -> None:
        decoder = session.method.decoder
        self._method = session.method.name
        self._drafter: Any = decoder.drafter if isinstance(decoder, Speculative) else None
        self._state: Any = None
        self._heard: WeakKeyDictionary[Crank, Any] = WeakKeyDictionary()
        self._keeping, self._trimmed = Keeping(session.store, session.target), time.monotonic()

    def brief(self, crank: Crank) -> None:
        """A crank that stands idle goes on with what was learnt in the meantime, and in earlier runs."""
        decoder = crank.turning.decoder
        shared = isinstance(self._drafter, Stored) and crank.method.name == self._method and not crank.samples
        if shared and isinstance(decoder, Speculative):
            crank.renew(replace(decoder, drafter=self._drafter))

    def hear(self, crank: Crank) -> None:
        """Some have left a crank: what they taught is the latest."""
        learnt = learnt_by(crank.turning) if crank.method.name == self._method else None
        if learnt is None or self._heard.get(crank) is learnt[1]:
            return
        self._heard[crank] = self._state = learnt[1]
        self._drafter = learnt[0].warmed(self._state) if isinstance(learnt[0], Learner) else learnt[0]

    def look(self) -> None:
        """Between two steps."""
        if time.monotonic() - self._trimmed > TRIM:
            hand_back()
            self._trimmed = time.monotonic()
        self._keeping.look(self._learnt)

    def close(self) -> None:
        """No more steps."""
        self._keeping.close(self._learnt)

    @property
    def _learnt(self) -> tuple[Stored, Any] | None:
        return None if self._state is None else (self._drafter, self._state)

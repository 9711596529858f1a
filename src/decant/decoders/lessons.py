"""When a decoder that learns is taught: between two steps, or on a thread while requests go on.

What it learns changes guesses and never the law of the text, so it does not matter in which step a lesson arrives.
"""

from collections import deque
from concurrent.futures import Executor, Future
from typing import Any, Final, final

import torch

from decant.protocols import Decoder, Learner

KEPT: Final = 2  # lessons that wait: each holds the caches of requests that have left


@final
class Lessons:
    """pool: of one thread; None: nobody goes on before a lesson is over.

    On a thread, lessons that come faster than they are learnt are left out, the oldest first. What fails in a lesson is
    raised when the next request begins or ends.
    """

    def __init__(self, pool: Executor | None) -> None:
        self.pool = pool
        self._waiting: deque[Any] = deque(maxlen=KEPT)
        self._underway: Future[Decoder[Any]] | None = None

    def after(self, decoder: Decoder[Any], state: Any) -> Decoder[Any]:
        """The decoder of the next step, once requests with this state have left."""
        if not isinstance(decoder, Learner):
            return decoder
        if self.pool is None:
            return decoder.warmed(state)
        self._waiting.append(state)
        return self.latest(decoder)

    def latest(self, decoder: Decoder[Any]) -> Decoder[Any]:
        """With the lesson that is over by now, if any; then the next one begins."""
        if self._underway is not None:
            if not self._underway.done():
                return decoder
            decoder, self._underway = self._underway.result(), None
        if self._waiting and self.pool is not None:
            self._underway = self.pool.submit(_warmed, decoder, self._waiting.popleft())
        return decoder


@torch.inference_mode()
def _warmed(decoder: Any, state: Any) -> Decoder[Any]:
    """Modes are a thread's own."""
    return decoder.warmed(state)

"""One request with a seed of its own, over a crank that somebody else turns: its text as it grows, and what it took."""

from typing import final

from decant.apps.infilling import Laid, refuse_cuts
from decant.apps.session import Completion, Limits, Session
from decant.decoders.continuous import Continuous, Request
from decant.decoders.stopping import Stopping
from decant.decoders.text import TextStream


@final
class Asked:
    """Put `request` in line of a `Continuous`, and call `fed` after every step that it took part in.

    Raises BadInput for stop strings where the prompt is a template.
    """

    def __init__(self, session: Session, prompt: list[int], seed: int, limits: Limits) -> None:
        target = session.led
        self._laid = laid = Laid.of(prompt, target, limits.max_tokens)
        refuse_cuts([laid], limits.stop, session.method)
        self._ends = target.ends
        self._text = TextStream(laid.decode, limits.stop)
        self._steps = 0
        ending = Stopping(laid.room, target.ends, limits.stop, laid.decode, laid.ends_from)
        self.request = Request(laid.prompt, seed, ending, places=laid.room if laid.canvas else 0)

    def fed(self) -> str:
        """The text that a step added."""
        self._steps += 1
        output = self.request.output
        return self._text.feed(output.tokens, done=output.reason is not None)

    def ended(self) -> str:
        """The text that was held back, of a request that was taken out before its end."""
        return self._text.feed(self.request.output.tokens, done=True)

    @property
    def completion(self) -> Completion:
        """What was said so far."""
        output = self.request.output
        filled = self._laid.filled(output.tokens, self._ends)
        return Completion(self._text.text, output.tokens, output.drafted, output.reason, self._steps, None, filled)


def crank(session: Session, batch: int) -> Continuous[object]:
    """A crank for requests of a session, `batch` at a time."""
    return Continuous(session.method.decoder, batch=batch, device=session.led.model.network.device)

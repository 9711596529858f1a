"""A method for models that fill in masks, held to a grammar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, final

from torch import Tensor

from decant.apps.permitting import permits_of
from decant.apps.session import Session
from decant.diffusion import Permits
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded
from decant.models.spelling import vocabulary


def obeying(session: Session, grammar: str, prompts: Sequence[list[int]]) -> Session:
    """The session, whose answers follow from the grammar; of a template the whole text does.

    grammar: as `permitting.permits_of` takes it. prompts: ids of all requests. Raises as that does, IncompatibleParts
    for a method that obeys none, BadInput for templates that begin differently.
    """
    target, method = session.led, session.method
    permits: Permits = permits_of(grammar, target)
    decoder: Any = method.decoder
    if "permits" not in {field.name for field in fields(decoder)}:
        raise IncompatibleParts(
            f"{method.name} decodes in a loop of its own, which obeys no grammar; take low-confidence or threshold, or "
            f"leave the grammar out"
        )
    opening = () if target.tokenizer is None else vocabulary(target.tokenizer).opening
    fronts = {_front(prompt, target, opening) for prompt in prompts}
    if len(fronts) > 1:
        raise BadInput(
            "templates that begin differently cannot share a grammar, which reads beginnings; give them one by one"
        )
    front = fronts.pop() if fronts else ()
    permits = Behind(permits, front) if front else permits
    return replace(session, method=replace(method, decoder=replace(decoder, permits=permits)))


def _front(prompt: list[int], target: Loaded, opening: tuple[int, ...]) -> tuple[int, ...]:
    """Of a template, what stands in front of its first gap, less what the tokenizer puts there: `opening`."""
    if target.masked is None or target.masked.mask not in prompt:
        return ()
    front = tuple(target.given(prompt))
    return front[len(opening) :] if front[: len(opening)] == opening else front


@final
@dataclass(frozen=True, slots=True, eq=False)
class Behind:
    """`diffusion.Permits` for canvases that go on behind a text. front: its ids, which count as if they stood there."""

    permits: Permits
    front: tuple[int, ...]

    @property
    def kind_V(self) -> Tensor:
        """As of the whole."""
        return self.permits.kind_V

    def fits(self, canvas_L: Sequence[int]) -> bool:
        """Whether front and canvas can become a text."""
        return self.permits.fits([*self.front, *canvas_L])

    def implied(self, canvas_L: Sequence[int]) -> Mapping[int, int]:
        """By place of the canvas; all of the front is settled."""
        before = len(self.front)
        return {place - before: token for place, token in self.permits.implied([*self.front, *canvas_L]).items()}

    def rescue(self, canvas_L: Sequence[int], place: int) -> int:
        """As of the whole."""
        return self.permits.rescue([*self.front, *canvas_L], place + len(self.front))

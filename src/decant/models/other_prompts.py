"""Which other prompt stands beside a request's own, where two contexts are read side by side.

Source: the last token alone, and a negative prompt: Sanchez et al. 2023, arXiv:2306.17806.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from decant.errors import BadInput


class OtherPrompt(Protocol):
    """From a request's prompt to the other one; a rule must give the same answer every time."""

    @property
    def longer(self) -> int:
        """By how many tokens the other prompt may be longer than the request's own, at most; 0 if never."""
        ...

    def __call__(self, prompt: Sequence[int]) -> Sequence[int]: ...


@final
@dataclass(frozen=True, slots=True)
class Same:
    """The request's own prompt: for two models."""

    @property
    def longer(self) -> int:
        """It is as long."""
        return 0

    def __call__(self, prompt: Sequence[int]) -> Sequence[int]:
        return prompt


@final
@dataclass(frozen=True, slots=True)
class Last:
    """Only the last `count` tokens of the prompt: the continuation without what it continues.

    Raises BadInput for fewer than one.
    """

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadInput(f"the other prompt keeps at least the last token of the prompt, got a count of {self.count}")

    @property
    def longer(self) -> int:
        """It is no longer."""
        return 0

    def __call__(self, prompt: Sequence[int]) -> Sequence[int]:
        return prompt[-self.count :]


@final
@dataclass(frozen=True, slots=True)
class Instead:
    """The same ids for every request: a negative prompt. Raises BadInput where there are none."""

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.ids or min(self.ids) < 0:
            raise BadInput(f"the other prompt needs at least one token id, none below 0, got {list(self.ids)}")

    @property
    def longer(self) -> int:
        """Than a prompt of one token."""
        return len(self.ids) - 1

    def __call__(self, prompt: Sequence[int]) -> Sequence[int]:
        return self.ids


@final
@dataclass(frozen=True, slots=True)
class InFront:
    """The same ids in front of every request's own prompt, such as a bad instruction before the same question."""

    ids: tuple[int, ...]

    @property
    def longer(self) -> int:
        """By these."""
        return len(self.ids)

    def __call__(self, prompt: Sequence[int]) -> Sequence[int]:
        return [*self.ids, *prompt]


@final
@dataclass(frozen=True, slots=True)
class Listed:
    """Another prompt for each prompt: ids of the one -> ids of the other. Raises BadInput for an empty one, and, when
    it is asked, for a prompt that is not listed."""

    ids: Mapping[tuple[int, ...], tuple[int, ...]]

    def __post_init__(self) -> None:
        if not all(self.ids.values()):
            raise BadInput("an other prompt is empty; give at least one token for every prompt")

    @property
    def longer(self) -> int:
        """Of all that are listed."""
        return max((len(other) - len(own) for own, other in self.ids.items()), default=0)

    def __call__(self, prompt: Sequence[int]) -> Sequence[int]:
        found = self.ids.get(tuple(prompt))
        if found is None:
            raise BadInput(
                f"no other prompt is listed for a prompt of {len(prompt)} tokens that begins with {list(prompt[:8])}; "
                f"list one for every prompt, or take the last token or one negative prompt for all"
            )
        return found

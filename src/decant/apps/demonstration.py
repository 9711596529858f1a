"""The shipped pair, loaded once, for a sample, a race and certificates."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, final

import torch

from decant.apps.choosing import warp_of
from decant.apps.compose import compose
from decant.apps.opening import Opening
from decant.apps.prompts import Prompt, encode
from decant.apps.sampling import Sampling
from decant.apps.session import Limits, Session
from decant.apps.trial import Progress, Question, Trial, prepare
from decant.errors import IncompatibleParts
from decant.models.load import Loaded
from decant.models.machine import fast_bfloat16

SHOWN: Final = ("draft-model", "prompt-lookup", "token-recycling")  # `bench --methods all` shows the rest


@final
@dataclass(frozen=True, slots=True)
class Demonstration:
    """Models in exact mode, in the dtype that is fast on this machine, and held-out prompts."""

    target: Loaded
    draft: Loaded | None
    prompts: list[Prompt]
    source: str
    max_tokens: int
    seed: int

    @classmethod
    def load(cls, model: str, prompts: list[Prompt], source: str, max_tokens: int, seed: int) -> "Demonstration":
        """`model` and the draft that it names."""
        dtype = "bfloat16" if torch.cuda.is_available() or fast_bfloat16() else "float32"
        target, draft = Opening(dtype=dtype).pair(model, None, ["all"])
        with suppress(IncompatibleParts):  # where exact mode cannot be had the report says so
            target = target.exactly(True)
        return cls(target, draft, prompts, source, max_tokens, seed)

    @property
    def facts(self) -> dict[str, Any]:
        """Of the target."""
        return self.target.facts()

    def spell(self, ids: list[int]) -> str:
        """Ids as text."""
        return self.target.decode(ids)

    def sample(self) -> Iterator[str]:
        """The greedy answer to the first prompt, piece by piece."""
        sampling = Sampling(temperature=0.0)
        method = compose("draft-model", self.target, self.draft, warp_of(sampling))
        session = Session(self.target, self.draft, method, sampling)
        for new in session.run(encode(self.prompts[:1], self.target), self.seed, Limits(self.max_tokens)):
            yield new[0]

    def race(self, prompts: int, repeat: int, progress: Progress) -> dict[str, Any]:
        """A few methods on the first `prompts` prompts, greedily."""
        return self._trial(self.prompts[:prompts], 0.0).race(repeat, progress)

    def certify(self, temperature: float, progress: Progress) -> dict[str, Any]:
        """Whether each of them says plain decoding's very tokens."""
        return self._trial(self.prompts, temperature).certify(0, progress)

    def _trial(self, prompts: list[Prompt], temperature: float) -> Trial:
        question = Question(SHOWN, self.source, self.draft, max_tokens=self.max_tokens, seed=self.seed)
        return prepare(self.target, question, prompts, Sampling(temperature=temperature), Opening())

"""Diverse beam search: groups of hypotheses that choose one after another, each put off what those before it chose.

The penalty counts when a group chooses (Hamming, the same token at the same step) and never in a score: the text is the
likeliest that any group found. Steps and stretches are those of beam search (`beam.py`). Lossy: no draws.

Source: Vijayakumar et al. 2016, arXiv:1610.02424.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

from torch import Tensor

from decant.decoders.hypotheses import SearchState
from decant.decoders.searching import Search
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel
from decant.types import Step

C = TypeVar("C")  # the target's context


@final
@dataclass(frozen=True, slots=True)
class DiverseBeam(Generic[C]):
    """With a penalty of 0 all groups are one: beam search of width `width / groups`. The first group always is.

    width:          hypotheses of all groups together.
    groups:         how many; each has as many hypotheses.
    penalty:        nats off a token for every hypothesis of earlier groups that chose it at this step, ended ones and
        those of groups that are done among them.
    length, length_penalty, ends: as in beam search; patience: each group's, of its own width.
    """

    target: LanguageModel[C]
    constraint: Constraint[Any]
    width: int = 4
    groups: int = 4
    penalty: float = 0.5
    length: int = 32
    length_penalty: float = 1.0
    patience: float = 1.0
    ends: frozenset[int] = frozenset()

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.groups < 1 or self.width % self.groups or not 0 <= self.penalty < float("inf"):
            raise BadInput(
                f"a diverse beam needs groups that share its width equally and a penalty of at least 0, got width "
                f"{self.width}, groups {self.groups}, penalty {self.penalty}"
            )
        self._search()

    def start(self, prompt_BT: Tensor, noise: Noise) -> SearchState[C]:
        """Read the prompt."""
        return self._search().start(prompt_BT, noise)

    def step(self, state: SearchState[C]) -> tuple[SearchState[C], Step]:
        """One target call: no token or many of every request."""
        return self._search().step(state)

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The target's, for every hypothesis."""
        return self._search().cache_bytes(tokens)

    def _search(self) -> Search[C]:
        return Search(
            self.target,
            self.constraint,
            self.ends,
            groups=self.groups,
            width=self.width // self.groups,
            penalty=self.penalty,
            length=self.length,
            length_penalty=self.length_penalty,
            patience=self.patience,
        )

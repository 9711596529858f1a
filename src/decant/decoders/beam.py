"""Beam search: the likeliest of many texts, of which the best few are kept at every token.

A step is one target call, and emits what all hypotheses that may still win agree on; so a step may emit nothing, and
the last of a stretch much. A stretch is at most `length` tokens: then the best hypothesis is emitted whole, and the
search begins anew behind it. Nothing here knows how many tokens a request may say: the best text of n tokens takes
length=n, and a text that is cut before its stretch is over is the beginning of a longer one. Lossy: no draws.

Source: Lowerre 1976 (Harpy); the pool, and when it is full: Kasai et al. 2022, arXiv:2204.05424.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

from torch import Tensor

from decant.decoders.hypotheses import SearchState
from decant.decoders.searching import Search
from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel
from decant.types import Step

C = TypeVar("C")  # the target's context


@final
@dataclass(frozen=True, slots=True)
class Beam(Generic[C]):
    """Width 1 is greedy decoding; a width of vocab ** (length - 1) finds the best text of a stretch. No warp: laws are
    the target's own, of what the constraint allows.

    width:          hypotheses.
    length:         tokens of a stretch.
    length_penalty: a text scores logp / tokens ** length_penalty; above 0 longer ones gain, 0 is the likeliest text.
    patience:       a stretch ends when width * patience hypotheses have ended, or earlier, when no other can win; inf:
        only then.
    ends:           ids that end a text.
    """

    target: LanguageModel[C]
    constraint: Constraint[Any]
    width: int = 4
    length: int = 32
    length_penalty: float = 1.0
    patience: float = 1.0
    ends: frozenset[int] = frozenset()

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
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
            groups=1,
            width=self.width,
            penalty=0.0,
            length=self.length,
            length_penalty=self.length_penalty,
            patience=self.patience,
        )

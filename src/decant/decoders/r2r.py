"""R2R: the small model proposes every token; where a learned router expects it to lead elsewhere, the large one speaks.

The router looks at what the small model thought: its last hidden state, its logits, the token that it proposes. Lossy:
what the router lets pass is checked by nobody.

Source: Fu et al. 2025, arXiv:2505.21600.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, final

from torch import Tensor

from decant.decoders.speakers import Turn, drawn, said
from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel, Warp
from decant.types import Draft, Scores, Step, Taps

T = TypeVar("T")  # the target's context
S = TypeVar("S")  # the small model's context

LAST = (-1,)  # the layer whose hidden state the router reads


class Router(Protocol):
    """Says how sure it is that a token of the small model leads elsewhere than the target would have gone."""

    @property
    def threshold(self) -> float:
        """The probability from which on it was tuned to send a token to the target."""
        ...

    def __call__(self, hidden_BD: Tensor, logits_BV: Tensor, tokens_B: Tensor) -> Tensor:
        """score_B, a logit: the small model's last hidden state, its logits before any warp, and its proposal."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class R2RState(Generic[T, S]):
    """What is remembered between steps."""

    large: T
    small: S
    constraint: Any
    noise: Noise


@final
@dataclass(frozen=True, slots=True)
class R2R(Generic[T, S]):
    """One token a step. The target computes only where it is asked, all that it has missed in one pass.

    threshold: probability from which on the target is asked, 0: always, above 1: never; None: the router's own.
    """

    target: LanguageModel[T]
    small: LanguageModel[S]
    router: Router
    warp: Warp
    constraint: Constraint[Any]
    threshold: float | None = None

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.threshold is None:
            object.__setattr__(self, "threshold", self.router.threshold)

    def start(self, prompt_BT: Tensor, noise: Noise) -> R2RState[T, S]:
        """Both models read the prompt."""
        return R2RState(
            large=self.target.start(prompt_BT)[0],
            small=self.small.start(prompt_BT, Taps(layers=LAST))[0],
            constraint=self.constraint.start(prompt_BT),
            noise=noise,
        )

    def step(self, state: R2RState[T, S]) -> tuple[R2RState[T, S], Step]:
        """One token of every request."""
        batch, device = len(state.noise.seed_B), state.noise.seed_B.device
        scores = self.small.score(state.small, Draft.nothing(batch, device))
        logits_BV = scores.logits_BMV[:, 0].float()
        proposed_B1 = drawn(self.warp, self.constraint, state.constraint, logits_BV, state.noise)
        score_B = self.router(scores.hidden(LAST)[:, 0], logits_BV, proposed_B1[:, 0])
        assert self.threshold is not None, "__post_init__"
        asked_B = score_B.sigmoid() >= self.threshold
        large = Turn.of(self.target, state.large, asked_B)
        logits_BV = large.over(logits_BV)  # where nobody asked they are the small model's, and so is the draw
        tokens_B1 = drawn(self.warp, self.constraint, state.constraint, logits_BV, state.noise)
        verdict = said(tokens_B1)
        return R2RState(
            large=large.commit(tokens_B1),
            small=self.small.commit(state.small, verdict),
            constraint=self.constraint.observe(state.constraint, verdict, Scores(logits_BV[:, None])),
            noise=state.noise.advance(verdict.committed_B),
        ), Step(tokens_B1, state.noise.root_B[:, None], ~asked_B[:, None])

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk with the target, which is the dear one; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Both models'."""
        return self.target.cache_bytes(tokens) + self.small.cache_bytes(tokens)

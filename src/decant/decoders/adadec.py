"""AdaDec: greedy while the target is sure; where it is not, the best few tokens are tried out and reranked.

A candidate's worth is the mean log-probability of itself and of the tokens that greedy decoding would say behind it,
which are then forgotten. Where uncertainty begins is learnt from texts: `learnt_threshold`. Lossy: no draws. The
authors also end a look-ahead where a block of code ends, which is not done here.

Source: He et al. 2025, arXiv:2506.08980.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.forks import Fork, bare
from decant.decoders.speakers import said
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel
from decant.types import PAD, Step, Taps

C = TypeVar("C")  # the target's context


@final
@dataclass(frozen=True, slots=True, eq=False)
class AdaDecState(Generic[C]):
    """What is remembered between steps. pauses_B: how many tokens were reranked."""

    context: C
    constraint: Any
    noise: Noise
    pauses_B: Tensor


@final
@dataclass(frozen=True, slots=True)
class AdaDec(Generic[C]):
    """One token a step: by one target call, or by up to 1 + length where some request pauses.

    threshold: nats; a law of at least this entropy pauses. It is a model's own.
    width:     tokens that are tried out.
    length:    tokens looked ahead; a look-ahead ends earlier at an end token.
    dynamic:   whether it also ends where the entropy is below the threshold.
    No warp: laws are the target's own, of what the constraint allows. With an infinite threshold, or a length of 0,
    this is greedy decoding.
    """

    target: LanguageModel[C]
    constraint: Constraint[Any]
    threshold: float = 1.0
    width: int = 3
    length: int = 5
    dynamic: bool = False
    ends: frozenset[int] = frozenset()

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if math.isnan(self.threshold) or self.width < 1 or self.length < 0:
            raise BadInput(
                f"adadec needs a threshold in nats, a width of at least 1 and a length of at least 0, got threshold "
                f"{self.threshold}, width {self.width}, length {self.length}"
            )

    def start(self, prompt_BT: Tensor, noise: Noise) -> AdaDecState[C]:
        """Read the prompt."""
        context = self.target.start(prompt_BT)[0]
        return AdaDecState(context, self.constraint.start(prompt_BT), noise, torch.zeros_like(noise.root_B))

    def step(self, state: AdaDecState[C]) -> tuple[AdaDecState[C], Step]:
        """One token of every request."""
        draft = bare(self.target, len(state.pauses_B), state.pauses_B.device)
        scores = self.target.score(state.context, draft)
        logits_BV = self.constraint.adjust(state.constraint, draft, scores.logits_BMV.float())[:, 0]
        pauses_B = nats(logits_BV) >= self.threshold
        tokens_B = logits_BV.argmax(-1)
        if self.length and bool(pauses_B.any()):  # sync: looking ahead is dear
            tokens_B = torch.where(pauses_B, self._reranked(state, logits_BV, pauses_B), tokens_B)
        tokens_B1 = tokens_B[:, None]
        verdict = said(tokens_B1)
        return AdaDecState(
            context=self.target.commit(state.context, verdict),
            constraint=self.constraint.observe(state.constraint, verdict, scores),
            noise=state.noise.advance(verdict.committed_B),
            pauses_B=state.pauses_B + pauses_B,
        ), Step(tokens_B1, state.noise.root_B[:, None], torch.zeros_like(tokens_B1, dtype=torch.bool))

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The target's, once more for every candidate where it takes no trees."""
        rows = 1 if self.target.trees else 1 + self.width
        return self.target.cache_bytes([count for count in tokens for _ in range(rows)])

    def _reranked(self, state: AdaDecState[C], logits_BV: Tensor, pauses_B: Tensor) -> Tensor:
        """tokens_B: of each request that pauses, the best of its candidates."""
        sum_BK, ids_BK = logits_BV.log_softmax(-1).topk(min(self.width, logits_BV.shape[-1]), -1)
        ends_E = torch.tensor(sorted(self.ends), dtype=torch.int64, device=ids_BK.device)
        count_BK = torch.ones_like(sum_BK)
        newest_BK = ids_BK.where(pauses_B[:, None] & (sum_BK > -math.inf), PAD)
        fork = Fork.of(self.target, self.constraint, state.context, state.constraint, newest_BK)
        for _ in range(self.length):
            goes_BK = (newest_BK != PAD) & ~(newest_BK[..., None] == ends_E).any(-1)
            if not bool(goes_BK.any()):  # sync: does anybody look on?
                break
            logits_BKV = fork.ruled(fork.score())
            best_BK, newest_BK = logits_BKV.log_softmax(-1).max(-1)
            goes_BK = goes_BK & best_BK.isfinite()  # nan where nothing may come next
            if self.dynamic:
                goes_BK = goes_BK & (nats(logits_BKV) >= self.threshold)
            newest_BK = newest_BK.where(goes_BK, PAD)
            sum_BK, count_BK = sum_BK + best_BK.where(goes_BK, 0), count_BK + goes_BK
            fork = fork.grown(newest_BK)
        return ids_BK.gather(1, (sum_BK / count_BK).argmax(-1, keepdim=True))[:, 0]


def nats(logits_XV: Tensor) -> Tensor:
    """nats_X: the entropy of the law of each row."""
    return torch.special.entr(logits_XV.softmax(-1)).sum(-1)


@torch.inference_mode()
def surveyed(target: LanguageModel[Any], texts_BT: Tensor) -> tuple[Tensor, Tensor]:
    """nats_X and right_X over all tokens of some texts but the first of each: how uncertain the target was, and whether
    it found the token that came the likeliest. texts_BT: right-padded with PAD."""
    logits_BTV = target.start(texts_BT, Taps(logits=True))[1].logits_BMV.float()
    next_BT = texts_BT[:, 1:]
    real_BT = next_BT != PAD
    return nats(logits_BTV)[real_BT], (logits_BTV.argmax(-1) == next_BT)[real_BT]


def learnt_threshold(nats_X: Tensor, right_X: Tensor) -> float:
    """Nats from which on a token is rather wrong than right: logistic regression on the entropy, both classes weighing
    the same, cut where every fifth pair, left out, is told best. Raises BadInput where there is nothing to learn."""
    held_X = torch.arange(len(nats_X), device=nats_X.device) % 5 == 4
    for part_X in (held_X, ~held_X):
        if not bool(right_X[part_X].any()) or bool(right_X[part_X].all()):
            raise BadInput(
                f"{len(nats_X)} tokens, but not right and wrong ones to learn from and to test on; give more"
            )
    slope, intercept = _logistic(nats_X[~held_X].double(), ~right_X[~held_X])
    if not slope > 0:
        raise BadInput("the target is no less often right where it is uncertain; give more texts, or set a threshold")
    cuts_K = torch.arange(1, 100, device=nats_X.device, dtype=torch.float64) / 100
    nats_K = (cuts_K.logit() - intercept) / slope
    told_KX = (nats_X[held_X].double() >= nats_K[:, None]) == ~right_X[held_X]
    return float(nats_K[(told_KX * _weights(right_X[held_X])).sum(-1).argmax()])


def _weights(class_X: Tensor) -> Tensor:
    """Half of the weight is each class's."""
    yes_X = class_X.double()
    return yes_X / yes_X.sum() / 2 + (1 - yes_X) / (1 - yes_X).sum() / 2


def _logistic(x_X: Tensor, y_X: Tensor) -> tuple[float, float]:
    """slope and intercept of sigmoid(slope x + intercept), by Newton's method."""
    rows_X2 = torch.stack([x_X, torch.ones_like(x_X)], -1)
    weight_X, beta_2 = _weights(y_X), rows_X2.new_zeros(2)
    ridge_22 = 1e-6 * torch.eye(2, dtype=rows_X2.dtype, device=rows_X2.device)  # classes that part fit any slope
    for _ in range(50):
        p_X = (rows_X2 @ beta_2).sigmoid()
        slope_2 = rows_X2.T @ (weight_X * (p_X - y_X.double())) + ridge_22 @ beta_2
        curve_22 = rows_X2.T @ (rows_X2 * (weight_X * p_X * (1 - p_X))[:, None]) + ridge_22
        beta_2 = beta_2 - torch.linalg.solve(curve_22, slope_2)
    return float(beta_2[0]), float(beta_2[1])

"""Sequential Monte Carlo: several texts of one prompt side by side, copied and dropped by how much was allowed of them.

Each particle is written by `awrs`. Their weights turn the law of restricted tokens into the model's law of whole texts,
given that they are allowed: exactly so with infinitely many particles, and nearer with each. Lossy, since that law is
not plain decoding's.

Source: Lew et al. 2023, arXiv:2306.03081; Lipkin et al. 2025, arXiv:2504.05410.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.awrs import AWRS, AWRSState, Checker
from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import append
from decant.protocols import LanguageModel, Warp
from decant.types import PAD, Step, join_rows, select_rows

C = TypeVar("C")  # the target's context


@final
@dataclass(frozen=True, slots=True, eq=False)
class SMCState(Generic[C]):
    """What is remembered between steps. P counts particles, those of one request side by side.

    inner:    the particles. The mean of exp(logw) over a request's is the estimate of the allowed mass.
    noise:    the requests'; each particle's own follows from it and from its slot.
    texts_PL: what each has said since all were alike, PAD behind.
    ended_P:  whether that ends with an end token.
    said_B:   how many tokens of it are final.
    """

    inner: AWRSState[C]
    noise: Noise
    texts_PL: Tensor
    ended_P: Tensor
    said_B: Tensor

    @property
    def logmass_B(self) -> Tensor:
        """Log of the estimated allowed mass, float64."""
        return _log_mean(self.inner.logw_B.unflatten(0, (len(self.said_B), -1)))

    def select(self, rows_R: Tensor) -> "SMCState[C]":
        """The requests `rows_R` with all their particles."""
        each = len(self.texts_PL) // len(self.said_B)
        rows_P = (rows_R[:, None] * each + torch.arange(each, device=rows_R.device)).flatten()
        return SMCState(
            inner=select_rows(self.inner, rows_P),
            noise=self.noise.select(rows_R),
            texts_PL=self.texts_PL[rows_P],
            ended_P=self.ended_P[rows_P],
            said_B=self.said_B[rows_R],
        )

    def join(self, other: "SMCState[C]") -> "SMCState[C]":
        """These requests, then the other's."""
        return SMCState(
            inner=join_rows(self.inner, other.inner),
            noise=self.noise.join(other.noise),
            texts_PL=join_rows(self.texts_PL, other.texts_PL),
            ended_P=torch.cat([self.ended_P, other.ended_P]),
            said_B=torch.cat([self.said_B, other.said_B]),
        )


@final
@dataclass(frozen=True, slots=True)
class SMC(Generic[C]):
    """One token of every particle a step. A token is final once all particles that may win have it. When all have
    ended, or have said `length` tokens, one is drawn by weight: the rest of its text is final, and all go on from it.

    particles: texts of one request, in one batch; with one this is `awrs`.
    threshold: share of `particles` below which the effective number of them may not fall before they are resampled.
    length:    of such a stretch: at most what a request may say, since what it says beyond is thrown away.
    ends:      ids that end a text.
    Where every particle has weight zero the first goes on.
    """

    target: LanguageModel[C]
    warp: Warp
    checker: Checker[Any]
    particles: int = 16
    threshold: float = 0.5
    length: int = 128
    estimator: Literal["recursive", "geometric"] = "recursive"
    accepts: int = 2
    ends: frozenset[int] = frozenset()

    exact: ClassVar[bool] = False
    seeded: ClassVar[bool] = False  # each particle draws with noise of its own

    def __post_init__(self) -> None:
        if self.particles < 1 or self.length < 1 or not 0 <= self.threshold <= 1:
            raise BadInput(
                f"smc needs 1 particle or more, a length of 1 or more and a threshold in [0, 1], got particles "
                f"{self.particles}, length {self.length}, threshold {self.threshold}"
            )
        _ = self._awrs  # refuses what it cannot do

    def start(self, prompt_BT: Tensor, noise: Noise) -> SMCState[C]:
        """Read each prompt once; its cache is shared out to all particles."""
        batch = torch.arange(len(prompt_BT), device=prompt_BT.device)
        rows_P = batch.repeat_interleave(self.particles)
        return SMCState(
            inner=select_rows(self._awrs.start(prompt_BT, noise), rows_P),
            noise=noise,
            texts_PL=prompt_BT.new_empty(len(rows_P), 0),
            ended_P=torch.zeros_like(rows_P, dtype=torch.bool),
            said_B=torch.zeros_like(batch),
        )

    def step(self, state: SMCState[C]) -> tuple[SMCState[C], Step]:
        """Any number of tokens of a request, none among them."""
        before_BN = self._by_request(state.inner.logw_B) > -torch.inf
        state = self._moved(state)
        count_BN = self._by_request((state.texts_PL != PAD).sum(-1))
        logw_BN = self._by_request(state.inner.logw_B)
        lives_BN = logw_BN > -torch.inf
        over_BN = self._by_request(state.ended_P) | (count_BN >= self.length)
        done_B = (over_BN | ~lives_BN).all(-1)
        newest_B1 = (count_BN.amax(-1) - state.said_B)[:, None]
        weights_BN = (logw_BN - _log_mean(logw_BN)[:, None]).exp().nan_to_num()  # nan where none lives

        weak_B = weights_BN.sum(-1) ** 2 < self.threshold * self.particles * (weights_BN**2).sum(-1)
        drawn_BN = _systematic(weights_BN, state.noise.uniform(newest_B1, "smc resampling"))
        # Those that lived a step ago agree with what was said, even if none of them lives now.
        may_BN = torch.where(lives_BN.any(-1, keepdim=True), weights_BN, before_BN.double())
        winner_B1 = state.noise.draw(may_BN[:, None], newest_B1, "smc winner")
        # Nobody is resampled where one is chosen anyhow: it would only add chance.
        slots_BN = torch.arange(self.particles, device=winner_B1.device).expand_as(drawn_BN)
        slots_BN = torch.where((weak_B & ~done_B)[:, None], drawn_BN, slots_BN)
        slots_BN = torch.where(done_B[:, None], winner_B1, slots_BN)
        state = self._copied(state, slots_BN, weak_B | done_B)
        return self._settled(state, done_B)

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The target's, of all particles, each of which may be a stretch ahead of what is final."""
        return self.target.cache_bytes([count + self.length for count in tokens for _ in range(self.particles)])

    @property
    def _awrs(self) -> AWRS[C]:
        return AWRS(self.target, self.warp, self.checker, self.estimator, self.accepts)

    def _by_request(self, values_P: Tensor) -> Tensor:
        return values_P.unflatten(0, (-1, self.particles))

    def _noise(self, state: SMCState[C]) -> Noise:
        """Each slot has a seed of its own, which stays when its particle is replaced: copies part at the next token."""
        seed_B1 = state.noise.seed_B[:, None]
        slot_N = torch.arange(self.particles, device=seed_B1.device)
        first = Noise(state.noise.seed_B, torch.zeros_like(state.noise.root_B))
        u_BN = first.uniform(torch.zeros_like(seed_B1), "smc particle", slot_N[None])
        seed_BN = torch.where(slot_N == 0, seed_B1, (u_BN * 2.0**52).long())
        begin_B = state.noise.root_B - state.said_B
        count_P = (state.texts_PL != PAD).sum(-1)
        return Noise(seed_BN.flatten(), begin_B.repeat_interleave(self.particles) + count_P)

    def _moved(self, state: SMCState[C]) -> SMCState[C]:
        """One more token of every particle that has not ended."""
        inner = replace(state.inner, noise=self._noise(state))
        runs_R, rests_R = (~state.ended_P).nonzero()[:, 0], state.ended_P.nonzero()[:, 0]  # sync: who goes on?
        if not len(rests_R):
            inner, step = self._awrs.step(inner)
            tokens_P1 = step.tokens_BC
        else:
            moved, step = self._awrs.step(select_rows(inner, runs_R))
            order_P = torch.cat([runs_R, rests_R]).argsort()
            inner = select_rows(join_rows(moved, select_rows(inner, rests_R)), order_P)
            tokens_P1 = torch.full_like(state.ended_P, PAD, dtype=torch.int64)[:, None]
            tokens_P1 = tokens_P1.index_copy(0, runs_R, step.tokens_BC)
        ends_E = torch.tensor(sorted(self.ends), dtype=torch.int64, device=tokens_P1.device)
        return replace(
            state,
            inner=inner,
            texts_PL=append(state.texts_PL, tokens_P1),
            ended_P=state.ended_P | torch.isin(tokens_P1[:, 0], ends_E),
        )

    def _copied(self, state: SMCState[C], slots_BN: Tensor, changed_B: Tensor) -> SMCState[C]:
        """Particle `slots` in each place. Where there was a change all weigh their mean, so that it stays."""
        if not changed_B.any():  # sync: does anything move?
            return state
        first_B1 = torch.arange(len(slots_BN), device=slots_BN.device)[:, None] * self.particles
        rows_P = (first_B1 + slots_BN).flatten()
        inner = select_rows(state.inner, rows_P)
        logw_BN = torch.where(changed_B[:, None], state.logmass_B[:, None], self._by_request(inner.logw_B))
        return replace(
            state,
            inner=replace(inner, logw_B=logw_BN.flatten()),
            texts_PL=state.texts_PL[rows_P],
            ended_P=state.ended_P[rows_P],
        )

    def _settled(self, state: SMCState[C], done_B: Tensor) -> tuple[SMCState[C], Step]:
        """What is final now; requests that are done begin anew behind it."""
        texts_BNL = self._by_request(state.texts_PL)
        lives_BN = self._by_request(state.inner.logw_B) > -torch.inf
        best_BL = texts_BNL.gather(1, _first(lives_BN)[:, None, None].expand(-1, 1, texts_BNL.shape[-1]))[:, 0]
        agree_BL = ((texts_BNL == best_BL[:, None]) | ~lives_BN[..., None]).all(1) & (best_BL != PAD)
        until_B = agree_BL.long().cumprod(-1).sum(-1)
        new_B = until_B - state.said_B
        slot_C = torch.arange(int(new_B.amax()), device=new_B.device)  # sync: the width depends on the particles
        at_BC = (state.said_B[:, None] + slot_C).clamp_max(best_BL.shape[-1] - 1)
        real_BC = slot_C < new_B[:, None]
        tokens_BC = best_BL.gather(1, at_BC).where(real_BC, PAD)
        positions_BC = (state.noise.root_B[:, None] + slot_C).where(real_BC, PAD)
        done_P = done_B.repeat_interleave(self.particles)
        after = replace(
            state,
            noise=state.noise.advance(new_B),
            texts_PL=state.texts_PL.masked_fill(done_P[:, None], PAD),
            ended_P=state.ended_P & ~done_P,
            said_B=until_B.where(~done_B, 0),
        )
        return after, Step(tokens_BC, positions_BC, torch.zeros_like(real_BC))


def _log_mean(logw_BN: Tensor) -> Tensor:
    return logw_BN.logsumexp(-1) - math.log(logw_BN.shape[-1])


def _first(which_BN: Tensor) -> Tensor:
    """Index of the first that is true; 0 where none is."""
    return which_BN.long().argmax(-1)


def _systematic(weights_BN: Tensor, u_B1: Tensor) -> Tensor:
    """slots_BN in proportion to weights: N evenly spaced points, moved by one number. A row of zeros gives garbage.

    Source: Kitagawa 1996, doi:10.1080/10618600.1996.10474692.
    """
    each = weights_BN.shape[-1]
    reach_BN = weights_BN.cumsum(-1)
    points_BN = (torch.arange(each, device=u_B1.device) + u_B1) / each * reach_BN[:, -1:]
    return torch.searchsorted(reach_BN, points_BN, right=True).clamp_max(each - 1)

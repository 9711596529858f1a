"""What beam searches share: how hypotheses grow, when they end, and which tokens are settled.

Source: Kasai et al. 2022, arXiv:2204.05424, for when a search is over; diversity: Vijayakumar et al. 2016,
arXiv:1610.02424.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.generate import right_pad
from decant.decoders.hypotheses import SearchState, Standing, branched, emitted, followed
from decant.decoders.speakers import said
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel
from decant.types import PAD, Draft, Step, join_rows, select_rows

C = TypeVar("C")  # the target's context


@final
@dataclass(frozen=True, slots=True)
class Search(Generic[C]):
    """A step makes every hypothesis one token longer, by one target call, and emits what has become certain.

    groups, width: so many groups of so many hypotheses. penalty: nats off the choice of a token for every hypothesis of
    an earlier group that chose it at the same step; scores do not know of it.
    Of a group's best `width` children those that end join the pool; `width` others go on. The best text is the one with
    the largest logp / tokens ** length_penalty. A group has done its share when width * patience of its own have ended.
    """

    target: LanguageModel[C]
    constraint: Constraint[Any]
    ends: frozenset[int]
    groups: int
    width: int
    penalty: float
    length: int
    length_penalty: float
    patience: float

    def __post_init__(self) -> None:
        if self.width < 1 or self.length < 1 or not self.patience > 0 or not math.isfinite(self.length_penalty):
            raise BadInput(
                f"a beam search needs a width and a length of at least 1, a patience above 0 and a finite length "
                f"penalty, got width {self.width}, length {self.length}, patience {self.patience}, length penalty "
                f"{self.length_penalty}"
            )

    def start(self, prompt_BT: Tensor, noise: Noise) -> SearchState[C]:
        """Read the prompt once; its rows are then copied."""
        batch, device = len(prompt_BT), prompt_BT.device
        hypotheses = self.groups * self.width
        beams_X = torch.arange(batch, device=device).repeat_interleave(hypotheses)
        text_BKL = prompt_BT.new_full((batch, hypotheses, self.length), PAD)
        return SearchState(
            context=select_rows(self.target.start(prompt_BT)[0], beams_X),
            constraint=select_rows(self.constraint.start(prompt_BT), beams_X),
            standing=Standing(
                noise=noise,
                logp_BK=self._alone(batch, device),
                text_BKL=text_BKL,
                said_B=torch.zeros(batch, dtype=torch.int64, device=device),
                ended_BG=torch.zeros(batch, self.groups, dtype=torch.int64, device=device),
                best_BL=text_BKL[:, 0],
                score_B=torch.full((batch,), -math.inf, device=device),
                over_B=torch.zeros(batch, dtype=torch.bool, device=device),
            ),
        )

    def step(self, state: SearchState[C]) -> tuple[SearchState[C], Step]:
        """What all hypotheses that may still win agree on; none, or many tokens."""
        if bool(state.standing.over_B.any()):  # sync: does anybody go on behind an end?
            state = self._reopened(state)
        batch, hypotheses = state.standing.logp_BK.shape
        draft = Draft.nothing(batch * hypotheses, state.standing.logp_BK.device)
        scores = self.target.score(state.context, draft)
        logits_XV = self.constraint.adjust(state.constraint, draft, scores.logits_BMV.float())[:, 0]
        logp_XV = logits_XV.log_softmax(-1)
        logp_XV = logp_XV.masked_fill(logp_XV.isnan(), -math.inf)  # where nothing may come next
        standing, parents_BK, tokens_BK = self._longer(state.standing, logp_XV.unflatten(0, (batch, hypotheses)))
        standing, heirs_BK, step = self._settled(standing)
        parents_BK, tokens_BK = parents_BK.gather(1, heirs_BK), tokens_BK.gather(1, heirs_BK)
        first_B1 = torch.arange(0, batch * hypotheses, hypotheses, device=parents_BK.device)[:, None]
        parents_X, tokens_X = (first_B1 + parents_BK).flatten(), tokens_BK.flatten()
        return SearchState(
            context=branched(self.target, state.context, parents_X, tokens_X),
            constraint=self.constraint.observe(
                select_rows(state.constraint, parents_X), said(tokens_X[:, None]), select_rows(scores, parents_X)
            ),
            standing=standing,
        ), step

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """One cache for each hypothesis, which may be a stretch ahead of what is said."""
        rows = self.groups * self.width
        return self.target.cache_bytes([count + self.length for count in tokens for _ in range(rows)])

    def _alone(self, batch: int, device: torch.device) -> Tensor:
        """logp_BK of stretches that begin: one empty hypothesis a group, whose children are all others."""
        slots_K = torch.arange(self.groups * self.width, device=device)
        return torch.where(slots_K % self.width == 0, 0.0, -math.inf).repeat(batch, 1)

    def _longer(self, was: Standing, logp_BKV: Tensor) -> tuple[Standing, Tensor, Tensor]:
        """After one more token of all hypotheses; parents_BK and tokens_BK: whose child each is, by which token."""
        vocab, length_B = logp_BKV.shape[-1], was.length_B
        ends_V = torch.zeros(vocab, dtype=torch.bool, device=logp_BKV.device)
        ends_V[[end for end in self.ends if end < vocab]] = True
        chosen_BV = torch.zeros_like(logp_BKV[:, 0])
        alive, over = [], []
        for first in range(0, self.groups * self.width, self.width):
            mine = slice(first, first + self.width)
            sums_BX = (was.logp_BK[:, mine, None] + logp_BKV[:, mine]).flatten(1)
            liked_BX = sums_BX - self.penalty * chosen_BV.repeat(1, self.width)
            ends_X = ends_V.repeat(self.width)
            over_BW = liked_BX.topk(self.width, -1).indices
            alive_BW = liked_BX.masked_fill(ends_X, -math.inf).topk(self.width, -1).indices
            ended_BW = sums_BX.gather(1, over_BW).masked_fill(~ends_X[over_BW], -math.inf)
            going_BW = sums_BX.gather(1, alive_BW).masked_fill(ends_X[alive_BW], -math.inf)
            for logp_BW, pair_BW in ((ended_BW, over_BW), (going_BW, alive_BW)):
                chosen_BV = chosen_BV.scatter_add(1, pair_BW % vocab, (logp_BW > -math.inf).float())
            # Where there is no child at all, a copy of the first takes its row: then no parent needs one more.
            none_B1 = going_BW[:, :1] == -math.inf
            pair_BW = alive_BW.where(going_BW > -math.inf, alive_BW[:, :1].masked_fill(none_B1, 0))
            alive.append((going_BW, pair_BW // vocab + first, pair_BW % vocab))
            over.append((ended_BW, over_BW // vocab + first, over_BW % vocab))
        logp_BK, parents_BK, tokens_BK = (torch.cat(parts, 1) for parts in zip(*alive, strict=True))
        ended = (torch.cat(parts, 1) for parts in zip(*over, strict=True))
        return (
            replace(
                self._pooled(was, length_B, *ended),
                logp_BK=logp_BK,
                text_BKL=followed(was.text_BKL, parents_BK, tokens_BK, length_B),
            ),
            parents_BK,
            tokens_BK,
        )

    def _pooled(
        self, was: Standing, length_B: Tensor, logp_BK: Tensor, parents_BK: Tensor, tokens_BK: Tensor
    ) -> Standing:
        """With those that have ended now, of groups that have not done their share yet."""
        logp_BK = logp_BK.masked_fill(~self._open(was.ended_BG), -math.inf)
        new_BG = (logp_BK > -math.inf).unflatten(1, (self.groups, self.width)).sum(-1)
        score_B, at_B = (logp_BK / (length_B + 1)[:, None] ** self.length_penalty).max(-1)
        text_BL = followed(was.text_BKL, parents_BK, tokens_BK, length_B)[
            torch.arange(len(at_B), device=at_B.device), at_B
        ]
        wins_B = score_B > was.score_B
        return replace(
            was,
            ended_BG=was.ended_BG + new_BG,
            best_BL=torch.where(wins_B[:, None], text_BL, was.best_BL),
            score_B=torch.where(wins_B, score_B, was.score_B),
        )

    def _open(self, ended_BG: Tensor) -> Tensor:
        """bool_BK: whether the group of each hypothesis has not done its share yet."""
        return (ended_BG < self.width * self.patience).repeat_interleave(self.width, 1)

    def _settled(self, now: Standing) -> tuple[Standing, Tensor, Step]:
        """What is certain is emitted; and heirs_BK: whose place each hypothesis takes, as a rule its own."""
        length_B = now.length_B
        # The best score that any text that begins like this can reach: at the next length or at the last.
        lengths_2B = torch.stack([(length_B + 1).clamp_max(self.length), torch.full_like(length_B, self.length)])
        reach_BK = (now.logp_BK / (lengths_2B[..., None] ** self.length_penalty)).amax(0)
        wins_BK = (reach_BK > now.score_B[:, None]) & self._open(now.ended_BG)
        found_B = now.score_B > -math.inf
        over_B = found_B & ~wins_BK.any(-1)
        turns_B = (length_B == self.length) & ~over_B
        winner_B = now.logp_BK.masked_fill(~wins_BK, -math.inf).argmax(-1)
        first_BL = now.text_BKL[torch.arange(len(winner_B), device=winner_B.device), winner_B]
        text_BL = torch.where(over_B[:, None], now.best_BL, first_BL)
        same_BL = ((now.text_BKL == first_BL[:, None]) | ~wins_BK[..., None]).all(1)
        same_BL = same_BL & ((now.best_BL == first_BL) | ~found_B[:, None]) | (over_B | turns_B)[:, None]
        until_B = (same_BL & (text_BL != PAD)).long().cumprod(-1).sum(-1)
        step = emitted(text_BL, now.said_B, until_B, now.noise)
        heirs_BK = torch.arange(wins_BK.shape[1], device=winner_B.device).expand_as(wins_BK)
        return (
            replace(
                now,
                noise=now.noise.advance(until_B - now.said_B),
                logp_BK=self._alone(len(winner_B), winner_B.device).where(turns_B[:, None], now.logp_BK),
                text_BKL=now.text_BKL.masked_fill(turns_B[:, None, None], PAD),
                said_B=until_B.masked_fill(turns_B, 0),
                ended_BG=now.ended_BG.masked_fill(turns_B[:, None], 0),
                best_BL=now.best_BL.masked_fill(turns_B[:, None], PAD),
                score_B=now.score_B.masked_fill(turns_B, -math.inf),
                over_B=over_B,
            ),
            winner_B[:, None].where(turns_B[:, None], heirs_BK),
            step,
        )

    def _reopened(self, state: SearchState[C]) -> SearchState[C]:
        """Texts that have ended and yet go on are read again, as prompts: whose rows they were may be long gone."""
        now = state.standing
        over_R, rest_R = now.over_B.nonzero().squeeze(-1), (~now.over_B).nonzero().squeeze(-1)
        held_BT = self.target.tokens(state.context)[:: now.logp_BK.shape[1]]
        texts = []
        for held_T, length, best_L in zip(
            held_BT[over_R], now.length_B[over_R].tolist(), now.best_BL[over_R], strict=True
        ):
            held = held_T[held_T != PAD].tolist()
            texts.append(held[: len(held) - length] + best_L[best_L != PAD].tolist())
        fresh = self.start(right_pad(texts, held_BT.device), now.noise.select(over_R))
        if not len(rest_R):
            return fresh
        return select_rows(join_rows(select_rows(state, rest_R), fresh), torch.cat([rest_R, over_R]).argsort())

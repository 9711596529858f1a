"""Speculative Jacobi decoding: a window of guesses, each drawn from what the target said in its place in the last pass,
and judged by the law that it was drawn from, so that a random text stays exact.

Source: Teng et al. 2024, arXiv:2410.01699; draws that hold on to the guess before: So et al. 2025, arXiv:2510.24211.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from decant.errors import BadInput, IncompatibleParts
from decant.images.prompts import labels_of
from decant.noise import LIKELY, TARGET, Noise
from decant.numerics import append, chain_laws, latest, likeliest, normalise, take
from decant.protocols import Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict

Entering = Literal["marginal", "random", "repeat", "horizontal", "vertical"]
Draws = Literal["fresh", "gumbel", "maximal"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """Of a model of images: its codes are the ids 0 ... codes - 1, and come row after row of `columns`.

    probs_YLV: of every class, place and code, how often the code stands there; None: nobody counted.
    Raises BadInput for less than one of codes and columns.
    """

    codes: int
    columns: int
    probs_YLV: Tensor | None = None

    def __post_init__(self) -> None:
        if self.codes < 1 or self.columns < 1:
            raise BadInput(f"an image has at least one code and one column, got {self.codes} and {self.columns}")


@final
@dataclass(frozen=True, slots=True, eq=False)
class WindowState:
    """label_B: the class of each request, of a model of images.
    recent_BC: the last tokens of each request, left-padded with PAD, the root at the end.
    logits_BNV: the target's rows behind what it committed, nearest first; rows_B: how many of them are a request's.
    guess_BN, laws_BNV: what was guessed in those places, and the law that it was drawn from; PAD and 0 in others.
    """

    label_B: Tensor
    recent_BC: Tensor
    logits_BNV: Tensor
    rows_B: Tensor
    guess_BN: Tensor
    laws_BNV: Tensor

    def select(self, rows_R: Tensor) -> "WindowState":
        """The requests `rows_R`."""
        return WindowState(*(getattr(self, part.name)[rows_R] for part in fields(self)))

    def join(self, other: "WindowState") -> "WindowState":
        """These requests, then the other's."""
        most = max(self.guess_BN.shape[1], other.guess_BN.shape[1])
        one, two = self.widened(most), other.widened(most)
        return WindowState(*(torch.cat([getattr(one, part.name), getattr(two, part.name)]) for part in fields(self)))

    def widened(self, places: int) -> "WindowState":
        """The same in a window of exactly `places`: places of which nothing is known are added, or the last cut."""
        more = places - self.guess_BN.shape[1]
        return replace(
            self,
            logits_BNV=pad(self.logits_BNV, (0, 0, 0, more)),
            rows_B=self.rows_B.clamp_max(places),
            guess_BN=pad(self.guess_BN, (0, more), value=PAD),
            laws_BNV=pad(self.laws_BNV, (0, 0, 0, more)),
        )


@final
@dataclass(frozen=True, slots=True)
class SpeculativeJacobi:
    """A chain of the depth asked for, whose laws are the target's own, one pass old and behind guesses, not tokens.

    entering: what stands in places that enter the window. marginal: drawn from what stands there in images of the
        class; random: any code, evenly; repeat: copies of the last guess; horizontal: drawn from the last law that is
        known, the left neighbour's; vertical: copies of what stands a row above. Where there is nothing to copy, or to
        draw from, it is random. None: marginal where the raster holds such laws, else repeat.
    draws:   how a place is drawn again, each time from its newest law. fresh: with new numbers (the paper's); gumbel:
        with the numbers that belong to the place, so that a law that hardly moved draws the same guess; maximal: the
        guess is kept as often as any draw from the new law could keep it. A guess that stays leaves the laws behind it
        as they are, which is what is accepted. All three are exact where a verifier judges a guess without a look at
        those behind it: neither number nor guess of a place is then seen by any law but those behind it.
    coupled: draw with the numbers of the target, for the verifier `coupled`: the guesses are then fixed, and `draws`
        does not count.
    hindsight: whether the verifier looks at guesses behind the one that it refuses, as `block` does. What those say is
        then no draw from their law any more, and they must be drawn afresh.
    raster:  of a model of images; None: a guess may be any id, and there are no rows.

    A pass settles at least one token. Keeps depth x V floats a request, twice that with maximal draws. Ordinary models
    of language gain next to nothing: what follows a wrong guess says little. Raises BadInput for an `entering` that the
    raster does not allow, IncompatibleParts for guesses that stay under a verifier with hindsight.
    """

    entering: Entering | None = None
    draws: Draws = "maximal"
    coupled: bool = False
    hindsight: bool = False
    raster: Raster | None = None

    def __post_init__(self) -> None:
        if self.entering == "vertical" and self.raster is None:
            raise BadInput("a vertical neighbour is one of an image, and this model makes none; take entering=repeat")
        if self.entering == "marginal" and (self.raster is None or self.raster.probs_YLV is None):
            raise BadInput(
                "entering=marginal draws from how often codes stand in a place, which is only known beside a model of "
                "images that holds marginals.safetensors; take entering=random"
            )
        if self.hindsight and self.draws != "fresh" and not self.coupled:
            raise IncompatibleParts(
                f"this verifier looks at guesses behind the one that it refuses, which draws={self.draws} would keep: "
                f"the text would not follow the target; take draws=fresh, or the verifier rejection"
            )

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target but the rows of its own draft."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> WindowState:
        """Nothing is guessed yet."""
        recent_BC = latest(prompt_BT, (prompt_BT != PAD).sum(-1), self._back)
        none_BNV = prefill.logits_BMV[:, :0].float()
        label_B = recent_BC[:, -1] * 0 if self.raster is None else labels_of(recent_BC, self.raster.codes)
        return WindowState(label_B, recent_BC, none_BNV, label_B * 0, recent_BC[:, :0], none_BNV)

    def draft(self, state: WindowState, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """A chain; nothing of it is ever absent."""
        depth = shape.depth if shape.budget is None else min(shape.depth, shape.budget)
        window = state.widened(depth)
        source_BN = self._source(window)
        laws_BNV = self._laws(window, warp, noise.root_B).masked_fill((source_BN != PAD)[..., None], 0)
        drawn_BN = self._drawn(window, laws_BNV, noise)
        copied_BN = torch.cat([window.recent_BC, drawn_BN], 1).gather(1, source_BN.clamp_min(0))
        tokens_BN = torch.where(source_BN != PAD, copied_BN, drawn_BN)
        if self.coupled:
            return Draft(tokens_BN)
        one_hot_BNV = one_hot(tokens_BN, laws_BNV.shape[-1]).to(laws_BNV)
        laws_BNV = torch.where((source_BN != PAD)[..., None], one_hot_BNV, laws_BNV)
        return Draft(tokens_BN, laws_BMV=laws_BNV, siblings="independent")

    def observe(self, state: WindowState, draft: Draft, verdict: Verdict, scores: Scores) -> WindowState:
        """Keep what lies behind the committed tokens: row i, and guess i, are as far behind the old root as token i of
        the step."""
        committed_B, behind = verdict.committed_B, scores.logits_BMV.shape[1]
        rows_B = (behind - committed_B).clamp_min(0)
        most = int(rows_B.max())  # sync: how many rows are worth keeping
        at_BN = (committed_B[:, None] + torch.arange(most, device=rows_B.device)).clamp_max(behind - 1)
        requests_B1 = torch.arange(len(rows_B), device=rows_B.device)[:, None]
        logits_BMV = scores.logits_BMV.float()
        guess_BM, laws_BMV = pad(draft.tokens_BN, (0, 1), value=PAD), logits_BMV[..., :0]
        if self.draws == "maximal" and not self.coupled:
            laws_BMV = chain_laws(draft, logits_BMV)
        said_BT = append(state.recent_BC, verdict.tokens_BC)
        return WindowState(
            state.label_B,
            latest(said_BT, (said_BT != PAD).sum(-1), self._back),
            logits_BMV[requests_B1, at_BN],
            rows_B,
            guess_BN=guess_BM[requests_B1, at_BN],
            laws_BNV=laws_BMV[requests_B1, at_BN],
        )

    @property
    def _back(self) -> int:
        """How far back it copies from."""
        return self.raster.columns if self.raster is not None and self.entering == "vertical" else 1

    @property
    def _marginal(self) -> Tensor | None:
        """probs_YLV, where they are drawn from."""
        return self.raster.probs_YLV if self.raster is not None and self.entering in (None, "marginal") else None

    def _laws(self, window: WindowState, warp: Warp, root_B: Tensor) -> Tensor:
        """laws_BNV that places are drawn from: what the target said there, after the warp; elsewhere as `entering` has
        it."""
        vocab, device = window.logits_BNV.shape[-1], window.rows_B.device
        may_V = torch.arange(vocab, device=device) < (vocab if self.raster is None else self.raster.codes)
        said_BNV = warp(window.logits_BNV.masked_fill(~may_V, -torch.inf)).softmax(-1)
        if self.coupled:
            said_BNV = likeliest(said_BNV, LIKELY)
        at_N, rows_B1 = torch.arange(said_BNV.shape[1], device=device), window.rows_B[:, None]
        known_BN, enters_BNV = at_N < rows_B1, may_V / may_V.sum()
        if self.entering == "horizontal":
            near_BN1 = torch.minimum(at_N, rows_B1 - 1).clamp_min(0)[..., None]
            said_BNV = said_BNV.gather(1, near_BN1.expand_as(said_BNV))
            known_BN = (rows_B1 > 0).expand_as(known_BN)
        elif (probs_YLV := self._marginal) is not None:
            places_BN = (root_B[:, None] + at_N).clamp_max(probs_YLV.shape[1] - 1)
            classes, label_B1 = len(probs_YLV), window.label_B[:, None]
            probs_BNV = probs_YLV.to(said_BNV)[label_B1.clamp(0, classes - 1), places_BN]
            classed_B11 = ((label_B1 >= 0) & (label_B1 < classes))[..., None]
            enters_BNV = pad(probs_BNV, (0, vocab - probs_BNV.shape[-1])).where(classed_B11, enters_BNV)
        return torch.where(known_BN[..., None], said_BNV, enters_BNV)

    def _source(self, window: WindowState) -> Tensor:
        """Which of the recent tokens and the window's places, one after the other, each place copies; PAD: none."""
        at_N = torch.arange(window.guess_BN.shape[1], device=window.guess_BN.device)
        rows_B1, back = window.rows_B[:, None], self._back
        copies = self.entering in ("repeat", "vertical") or (self.entering is None and self._marginal is None)
        if not copies:
            return torch.full_like(window.guess_BN, PAD)
        # Whole rows up, until what stands there is said or drawn and no copy itself.
        above_BN = at_N - back * ((at_N - rows_B1) // back + 1)
        source_BN = above_BN + back
        # Its sources in front of the window are recent tokens, of which some are no codes: an image begins behind them.
        recent_BN = window.recent_BC.gather(1, source_BN.clamp(0, back - 1))
        code_BN = recent_BN != PAD
        if self.raster is not None:
            code_BN &= recent_BN < self.raster.codes
        return source_BN.where((at_N >= rows_B1) & (code_BN | (above_BN >= 0)), PAD)

    def _drawn(self, window: WindowState, laws_BNV: Tensor, noise: Noise) -> Tensor:
        """tokens_BN: one draw from each law; 0 where there is none."""
        at_BN = torch.arange(laws_BNV.shape[1], device=laws_BNV.device).expand(len(laws_BNV), -1)
        if self.coupled or self.draws == "gumbel":
            return noise.draw(laws_BNV, at_BN, TARGET)
        if self.draws == "fresh":
            return noise.draw(laws_BNV, at_BN, "draft")
        # The test of speculative sampling, with the law before as the draft's and the new one as the target's.
        before_BN = take(window.laws_BNV, window.guess_BN)
        stays_BN = noise.uniform(at_BN, "stay") * before_BN < take(laws_BNV, window.guess_BN)
        rest_BNV = normalise((laws_BNV - window.laws_BNV).clamp_min(0), laws_BNV)
        return torch.where(stays_BN, window.guess_BN, noise.draw(rest_BNV, at_BN, "draft"))

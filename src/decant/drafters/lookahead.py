"""Lookahead decoding: a window of Jacobi iterations rides along in every pass of the target, and the n-grams that it
leaves behind are tomorrow's guesses.

Source: Fu et al. 2024, arXiv:2402.02057.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.drafting.ahead import drawn_ahead
from decant.drafting.each import Each
from decant.drafting.tries import Trie, laid_out
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict

Grams = tuple[tuple[int, ...], ...]
Pool = Mapping[int, Grams]
"""token -> what was seen to follow it, the latest first."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class LookaheadState:
    """What the window showed last, L rows of W columns; (0, 0) is the root.

    window_BLW: row l of column i is a guess for the token i + l behind the root of that pass.
    logits_BWV: what the target said behind its last row.
    depth_BW:   how many tokens behind today's root that row's own tokens are; its draws are one further.
    age_B:      how many passes each request's window has been through.
    """

    root_B: Tensor
    window_BLW: Tensor
    logits_BWV: Tensor
    depth_BW: Tensor
    age_B: Tensor
    pools: Each[Pool]


@final
@dataclass(frozen=True, slots=True)
class Lookahead:
    """Guess the n-grams that began with the last token, as one tree beside the window, whose nodes are probes.

    window:  columns, W. ngram: tokens of an n-gram with its first, N. guesses: n-grams kept a token, G.

    The window costs (N - 1) W - 1 rows a pass whatever comes of it, guesses up to G (N - 1) more. 15, 5 and 15 were
    chosen for GPUs, where rows are nearly free; these defaults keep a pass below 32 rows. The depth asked for bounds
    guesses; a budget that does not hold the window leaves it out, and then the pool learns nothing.

    At a temperature new tokens of the window are the target's own draws for those positions. When k tokens were
    committed the window moves on by k columns (public code: by one, whatever was accepted), and those that fall out
    come in again at its far end. Raises BadInput unless window >= 1, ngram >= 3 and guesses >= 1.
    """

    window: int = 5
    ngram: int = 4
    guesses: int = 5

    def __post_init__(self) -> None:
        if self.window < 1 or self.ngram < 3 or self.guesses < 1:
            raise BadInput(
                f"lookahead needs window >= 1, ngram >= 3 and guesses >= 1, got window {self.window}, "
                f"ngram {self.ngram}, guesses {self.guesses}"
            )

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target but the rows of its own draft."""
        return Taps()

    @property
    def probes(self) -> int:
        """Nodes of the window."""
        return (self.ngram - 1) * self.window - 1

    def riding(self, guesses: int, depth: int) -> int:
        """The window, whatever is guessed."""
        return self.probes

    def start(self, prompt_BT: Tensor, prefill: Scores) -> LookaheadState:
        """Tokens of the prompt, scattered over the window; empty pools."""
        length_B1 = (prompt_BT != PAD).sum(-1, keepdim=True)
        # A stride by a prime that is longer than most prompts: any tokens will do, as long as they differ.
        at_BX = torch.arange(1, self.probes + 2, device=prompt_BT.device) * 7919 % length_B1
        root_B = prompt_BT.gather(1, length_B1 - 1).squeeze(1)
        nothing_BW = torch.zeros(len(root_B), self.window, dtype=torch.int64, device=root_B.device)
        return LookaheadState(
            root_B=root_B,
            window_BLW=prompt_BT.gather(1, at_BX).view(len(root_B), self.ngram - 1, self.window),
            logits_BWV=prefill.logits_BMV.new_zeros(*nothing_BW.shape, prefill.logits_BMV.shape[-1]),
            depth_BW=nothing_BW,
            age_B=torch.zeros_like(root_B),
            pools=Each(({},) * len(root_B)),
        )

    def draft(self, state: LookaheadState, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """The window first, then the guesses."""
        if shape.depth == 0:
            return Draft.nothing(len(state.root_B), state.root_B.device)
        room = self.probes if shape.budget is None else shape.budget - self.probes
        pools, left = state.pools.of, shape.budget
        window = self._laid(state, warp, noise) if room >= 0 else None
        if window is not None:
            pools = self._taught(state, window[:, -self.window :])
            left = None if shape.budget is None else room
        roots = state.root_B.tolist()  # sync: pools lie on the host
        tries = [self._guessed(pool.get(root, ()), shape, left) for pool, root in zip(pools, roots, strict=True)]
        guessed = laid_out(tries, state.root_B.device)
        if window is None:
            return guessed
        assert guessed.parents_BN is not None
        behind_BN = (guessed.parents_BN + self.probes).where(guessed.parents_BN != PAD, PAD)
        tokens_BN = torch.cat([window, guessed.tokens_BN], dim=1)
        probe_N = torch.arange(tokens_BN.shape[1], device=tokens_BN.device) < self.probes
        parents_BN = torch.cat([self._parents(window), behind_BN], dim=1)
        return Draft(tokens_BN, parents_BN, probe_BN=probe_N.expand_as(tokens_BN))

    def observe(self, state: LookaheadState, draft: Draft, verdict: Verdict, scores: Scores) -> LookaheadState:
        """The window was shown: its n-grams go to the pools, and it moves on by what was committed."""
        committed_B1 = verdict.committed_B[:, None]
        root_B = verdict.tokens_BC.gather(1, committed_B1 - 1).squeeze(1)
        if draft.probe_BN is None:
            return LookaheadState(
                root_B, state.window_BLW, state.logits_BWV, state.depth_BW - committed_B1, state.age_B, state.pools
            )
        shown_BX = draft.tokens_BN[:, : self.probes]
        window_BLW = torch.cat([state.root_B[:, None], shown_BX], dim=1).view_as(state.window_BLW)
        last_W = torch.arange(self.probes + 1 - self.window, self.probes + 1, device=root_B.device)
        column_W = torch.arange(self.window, device=root_B.device)
        moved_BW = (column_W + committed_B1 - 1) % self.window
        return LookaheadState(
            root_B=root_B,
            window_BLW=window_BLW.gather(2, moved_BW[:, None].expand_as(window_BLW)),
            logits_BWV=scores.logits_BMV[torch.arange(len(root_B), device=root_B.device)[:, None], last_W[moved_BW]],
            depth_BW=moved_BW + self.ngram - 2 - committed_B1,
            age_B=state.age_B + 1,
            pools=Each(self._taught(state, window_BLW[:, -1])),
        )

    def _laid(self, state: LookaheadState, warp: Warp, noise: Noise) -> Tensor:
        """tokens_BN of the window's nodes, row by row: every row moves up, and a new one is drawn."""
        new_BW = drawn_ahead(state.logits_BWV, state.depth_BW, warp, noise)
        moved_BLW = torch.cat([state.window_BLW[:, 1:], new_BW[:, None]], dim=1)
        fresh_B11 = state.age_B[:, None, None] == 0  # nothing was scored yet
        return torch.where(fresh_B11, state.window_BLW, moved_BLW).flatten(1)[:, 1:]

    def _parents(self, window_BN: Tensor) -> Tensor:
        """Row 0 is a chain behind the root; every other row hangs from the row above it."""
        above = [PAD, *range(self.window - 2)] if self.window > 1 else []
        below = range(self.window - 1, self.probes)
        parents_N = [*above, *(node - self.window for node in below)]
        return torch.tensor(parents_N, dtype=torch.int64, device=window_BN.device).expand(len(window_BN), -1)

    def _taught(self, state: LookaheadState, new_BW: Tensor) -> tuple[Pool, ...]:
        """The pools with the n-gram of every column: its rows, one after the other, and the new token."""
        grams_BWL = torch.cat([state.window_BLW, new_BW[:, None]], dim=1).transpose(1, 2)
        # sync: pools lie on the host. Until all rows but the first are the target's own, an n-gram is chance.
        each = zip(state.pools.of, grams_BWL.tolist(), (state.age_B >= self.ngram - 1).tolist(), strict=True)
        return tuple(self._learnt(pool, map(tuple, grams)) if ripe else pool for pool, grams, ripe in each)

    def _learnt(self, pool: Pool, grams: Iterable[tuple[int, ...]]) -> Pool:
        """With newer n-grams in front; of each token the latest `guesses`."""
        new: dict[int, Grams] = {}
        for first, *rest in grams:
            gram = tuple(rest)
            known = new.get(first, pool.get(first, ()))
            new[first] = (gram, *(other for other in known if other != gram))[: self.guesses]
        return {**pool, **new}

    def _guessed(self, grams: Grams, shape: DraftShape, left: int | None) -> Trie:
        """Within what the window leaves of the budget; the latest n-gram is worth most."""
        trie = Trie.of_paths((gram, -float(age)) for age, gram in enumerate(grams))
        return trie.cut(shape, len(trie.tokens) if left is None else left)

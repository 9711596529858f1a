"""Planted faults: parts that are wrong in a known, small way. A check that does not see them proves nothing."""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from decant.decoders.speculative import Speculative
from decant.noise import Noise
from decant.numerics import chain_parents
from decant.protocols import AnyDecoder, Verifier, Warp
from decant.types import PAD, Draft, DraftShape, Scores, Siblings, Step, Taps, Verdict, select_rows


@runtime_checkable
class Careful(Protocol):
    """A decoder that checks guesses of its own, and has a twin that checks none."""

    def careless(self) -> AnyDecoder: ...


@final
@dataclass(slots=True)
class Tally:
    """How often a fault has acted."""

    count: int = 0


@final
@dataclass(frozen=True, slots=True)
class OneTooMany:
    """A verifier that keeps one guess more than `inner` does, wherever it refused one: the classical off-by-one."""

    inner: Verifier
    tally: Tally = field(default_factory=Tally)

    @property
    def exact(self) -> bool:
        """It is not."""
        return False

    @property
    def seeded(self) -> bool:
        """As `inner`."""
        return self.inner.seeded

    @property
    def accepts(self) -> frozenset[Siblings]:
        """As `inner`."""
        return self.inner.accepts

    @property
    def trees(self) -> bool:
        """As `inner`."""
        return self.inner.trees

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """The verdict of `inner`, then a refused child of the last accepted node, then a draw behind it."""
        verdict = self.inner.verify(draft, target_BMV, noise)
        if not draft.tokens_BN.shape[1]:
            return verdict
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        kept_B1 = verdict.accepted_B[:, None]
        last_B1 = verdict.tokens_BC.gather(1, kept_B1)
        end_B1 = _end(verdict)
        refused_BN = (parents_BN == end_B1) & (draft.tokens_BN != PAD) & (draft.tokens_BN != last_B1)
        found_B1 = refused_BN.any(-1, keepdim=True)
        node_B1 = refused_BN.long().argmax(-1, keepdim=True).where(found_B1, PAD)
        row_B = torch.where(found_B1, node_B1, end_B1).squeeze(1) + 1
        requests_B = torch.arange(len(row_B), device=row_B.device)
        drawn_B1 = noise.draw(target_BMV[requests_B, row_B], kept_B1.squeeze(1) + 1)[:, None]
        self.tally.count += int(found_B1.sum())  # sync: a fault that never acts must not count as overlooked
        nodes_BC = verdict.nodes_BC.scatter(1, kept_B1, node_B1)
        return Verdict.of_path(draft.tokens_BN, nodes_BC, drawn_B1.where(found_B1, last_B1).squeeze(1))


@final
@dataclass(frozen=True, slots=True)
class ResidualFromTarget:
    """A verifier that draws the token behind a refusal from p, not from what is left of p: the classical shortcut."""

    inner: Verifier

    @property
    def exact(self) -> bool:
        """It is not."""
        return False

    @property
    def seeded(self) -> bool:
        """As `inner`."""
        return self.inner.seeded

    @property
    def accepts(self) -> frozenset[Siblings]:
        """As `inner`."""
        return self.inner.accepts

    @property
    def trees(self) -> bool:
        """As `inner`."""
        return self.inner.trees

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """The path of `inner`, and another last token."""
        verdict = self.inner.verify(draft, target_BMV, noise)
        requests_B = torch.arange(len(verdict.tokens_BC), device=verdict.tokens_BC.device)
        p_BV = target_BMV[requests_B, _end(verdict).squeeze(1) + 1]
        last_B = noise.draw(p_BV, verdict.accepted_B, "planted fault")
        return Verdict(verdict.tokens_BC.scatter(1, verdict.accepted_B[:, None], last_B[:, None]), verdict.nodes_BC)


@final
@dataclass(frozen=True, slots=True)
class Astray:
    """A drafter of ids that have nothing to do with the text, so that something is refused nearly always."""

    vocab: int

    @property
    def taps(self) -> Taps:
        """It reads nothing."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> None:
        """Nothing to remember."""

    def draft(self, state: None, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """A chain of hashed ids."""
        depth_BN = torch.arange(max(1, shape.depth), device=noise.seed_B.device).expand(len(noise.seed_B), -1)
        return Draft((noise.uniform(depth_BN, "astray") * self.vocab).long().clamp_max(self.vocab - 1))

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""


@final
@dataclass(frozen=True, slots=True)
class Always:
    """A drafter of one token, always the same. siblings: what it is called; the law of a drawn guess is all that token,
    over `vocab` ids."""

    token: int
    siblings: Siblings = "fixed"
    vocab: int = 0

    @property
    def taps(self) -> Taps:
        """It reads nothing."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> None:
        """Nothing to remember."""

    def draft(self, state: None, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """One guess."""
        tokens_B1 = torch.full_like(noise.seed_B, self.token)[:, None]
        if self.siblings == "fixed":
            return Draft(tokens_B1)
        law_B1V = torch.nn.functional.one_hot(tokens_B1, self.vocab).float()
        return Draft(tokens_B1, None, law_B1V, self.siblings)

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""


@final
@dataclass(frozen=True, slots=True)
class Crossed:
    """A decoder that gives each request the next one's state, once, as soon as two are in a batch."""

    inner: AnyDecoder
    tally: Tally = field(default_factory=Tally)

    def start(self, prompt_BT: Tensor, noise: Noise) -> Any:
        """As `inner`."""
        return self.inner.start(prompt_BT, noise)

    def step(self, state: Any) -> tuple[Any, Step]:
        """As `inner`, once on mixed up states; of a decoder whose state holds no `noise`, never."""
        seed_B = state.noise.seed_B if hasattr(state, "noise") else torch.empty(0)
        if len(seed_B) > 1 and not self.tally.count:
            self.tally.count += 1
            state = select_rows(state, torch.arange(len(seed_B), device=seed_B.device).roll(1))
        return self.inner.step(state)


@final
@dataclass(frozen=True, slots=True)
class OneTooFew:
    """A warp that forbids the least likely token that `inner` leaves, wherever it leaves several."""

    inner: Warp

    def __call__(self, logits_XV: Tensor) -> Tensor:
        """Its logits, with one more at -inf; of tokens that tie for the last place all go."""
        warped_XV = self.inner(logits_XV)
        least_X1 = warped_XV.masked_fill(warped_XV == -torch.inf, torch.inf).amin(-1, keepdim=True)
        return warped_XV.masked_fill(
            (warped_XV == least_X1) & (warped_XV < warped_XV.amax(-1, keepdim=True)), -torch.inf
        )


@final
@dataclass(frozen=True, slots=True)
class Leaning:
    """A warp that adds half a nat to the likeliest token: it is drawn too often, in a flat law and in a steep one."""

    inner: Warp

    def __call__(self, logits_XV: Tensor) -> Tensor:
        """Its logits, the first of the largest higher."""
        warped_XV = self.inner(logits_XV)
        best_X1 = warped_XV.argmax(-1, keepdim=True)
        return warped_XV.scatter_add(-1, best_X1, torch.full_like(best_X1, 1, dtype=warped_XV.dtype) / 2)


def with_verifier(
    decoder: Speculative[Any, Any, Any], verifier: Any, drafter: Any = None
) -> Speculative[Any, Any, Any]:
    """The decoder with a planted part, or two."""
    return replace(decoder, verifier=verifier, drafter=decoder.drafter if drafter is None else drafter)


def _end(verdict: Verdict) -> Tensor:
    """end_B1: the last accepted node of each request; PAD, the root, where none was."""
    before_B1 = verdict.accepted_B[:, None] - 1
    return verdict.nodes_BC.gather(1, before_B1.clamp_min(0)).where(before_B1 >= 0, PAD)

"""PEARL: the draft model writes on while the target verifies what it wrote before.

Before a step some drafted tokens may be pending: not verified yet. At the same time the target scores the text and the
pending tokens, and the draft model writes a block behind them. What the target has rows for are the pending tokens and
the first of the block. Where all of those stand, the rest of the block is pending (the paper's post-verify); where one
is refused, the target's own token follows and nothing is pending, so that the next step verifies one token only
(pre-verify). There is no bonus token: behind an accepted block the target has no row.

Exact as the verifier is. A batch may hold requests in both situations; the draft model then computes pending rows
again.

Source: Liu et al. 2024, arXiv:2408.11850.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, Literal, TypeVar, final

import torch
from torch import Tensor

from decant.errors import BadInput, IncompatibleParts
from decant.noise import TARGET, Noise
from decant.protocols import Constraint, LanguageModel, Verifier, Warp
from decant.types import PAD, Draft, Step, Verdict

T = TypeVar("T")  # the target's context
S = TypeVar("S")  # the draft model's context
A = TypeVar("A")
B = TypeVar("B")


def sequential(one: Callable[[], A], two: Callable[[], B]) -> tuple[A, B]:
    """One after the other: what `threads` must equal."""
    return one(), two()


def threads(one: Callable[[], A], two: Callable[[], B]) -> tuple[A, B]:
    """`one` on a second thread while `two` runs here; torch lets go of the interpreter inside its kernels.

    Never returns, nor raises, while `one` still runs.
    """
    inference = torch.is_inference_mode_enabled()  # each thread has its own

    def there() -> A:
        with torch.inference_mode(inference):
            return one()

    other = _second_thread().submit(there)
    try:
        result = two()
    finally:
        other.exception()
    return other.result(), result


@cache
def _second_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "draft")


EXECUTORS: Final = {"threads": threads, "sequential": sequential}


@final
@dataclass(frozen=True, slots=True, eq=False)
class PEARLState(Generic[T, S]):
    """What is remembered between steps.

    pending_BP: drafted tokens that nobody verified, `block - 1` of a request or none (PAD).
    laws_BPV:   from which they were drawn; P is 0 where guesses are coupled.
    """

    large: T
    small: S
    constraint: Any
    noise: Noise
    pending_BP: Tensor
    laws_BPV: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Written:
    """tokens_BW: pending, then a block, right-padded; laws_BWV: of each; W is 0 where guesses are coupled."""

    tokens_BW: Tensor
    laws_BWV: Tensor


@final
@dataclass(frozen=True, slots=True)
class PEARL(Generic[T, S]):
    """Draft and verify at once.

    block:    tokens that the draft model writes in a step; best about the time of a target pass over that of a draft
        pass, so that both end together.
    executor: `threads` overlap; `sequential` is the same text without overlap, and without its gain.

    The verifier says how tokens are drafted: with the target's own noise for a seeded one, else drawn, with their laws.
    """

    target: LanguageModel[T]
    small: LanguageModel[S]
    verifier: Verifier
    warp: Warp
    constraint: Constraint[Any]
    block: int = 4
    executor: Literal["threads", "sequential"] = "threads"

    def __post_init__(self) -> None:
        if self.block < 1:
            raise BadInput(f"pearl writes blocks of at least 1 token, got block {self.block}")
        if self._siblings not in self.verifier.accepts:
            raise IncompatibleParts(
                f"{type(self.verifier).__name__} cannot judge {self._siblings} draws, which pearl drafts; it accepts "
                f"{', '.join(sorted(self.verifier.accepts))}"
            )

    def start(self, prompt_BT: Tensor, noise: Noise) -> PEARLState[T, S]:
        """Both models read the prompt; nothing is pending."""
        nobody_BP = prompt_BT.new_full((len(prompt_BT), self.block - 1), PAD)
        return PEARLState(
            large=self.target.start(prompt_BT)[0],
            small=self.small.start(prompt_BT)[0],
            constraint=self.constraint.start(prompt_BT),
            noise=noise,
            pending_BP=nobody_BP,
            laws_BPV=self._no_laws(nobody_BP),
        )

    def step(self, state: PEARLState[T, S]) -> tuple[PEARLState[T, S], Step]:
        """One token of each request without pending ones, else between one and `block`."""
        waits_B = (state.pending_BP != PAD).sum(-1)
        width = int(waits_B.amax()) if self.block > 1 else 0  # sync: how many rows does the target score?
        pending = Draft(state.pending_BP[:, :width])
        written, scores = EXECUTORS[self.executor](
            lambda: self._write(state, waits_B, width), lambda: self.target.score(state.large, pending)
        )
        logits_BMV = self.constraint.adjust(state.constraint, pending, scores.logits_BMV.float())
        checks_B = waits_B + 1
        verdict = self._verify(written, checks_B, self.warp(logits_BMV).softmax(-1), state.noise)

        tokens_BC = verdict.tokens_BC
        slots_C = torch.arange(tokens_BC.shape[1], device=tokens_BC.device)
        positions_BC = (state.noise.root_B[:, None] + slots_C).where(tokens_BC != PAD, PAD)
        pending_BP, laws_BPV = self._left(written, checks_B, verdict.accepted_B == checks_B)
        return PEARLState(
            large=self.target.commit(state.large, verdict),
            small=self.small.commit(state.small, verdict),
            constraint=self.constraint.observe(state.constraint, verdict, scores),
            noise=state.noise.advance(verdict.committed_B),
            pending_BP=pending_BP,
            laws_BPV=laws_BPV,
        ), Step(tokens_BC, positions_BC, verdict.nodes_BC != PAD)

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk with the target, which is the dear one; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Both models'."""
        return self.target.cache_bytes(tokens) + self.small.cache_bytes(tokens)

    @property
    def _siblings(self) -> Literal["fixed", "independent"]:
        return "fixed" if self.verifier.seeded else "independent"

    def _no_laws(self, tokens_BX: Tensor) -> Tensor:
        """Room for the laws of these tokens; none where nobody asks for them."""
        batch, width = tokens_BX.shape
        rows = 0 if self.verifier.seeded else width
        return torch.zeros(batch, rows, self.target.vocab, device=tokens_BX.device)

    def _write(self, state: PEARLState[T, S], waits_B: Tensor, width: int) -> _Written:
        """A block behind each request's pending tokens, of which the longest are `width`."""
        batch, longest = state.pending_BP.shape[0], 2 * self.block - 1
        tokens_BW = state.pending_BP.new_full((batch, longest), PAD)
        tokens_BW[:, : self.block - 1] = state.pending_BP
        laws_BWV = self._no_laws(tokens_BW)
        laws_BWV[:, : state.laws_BPV.shape[1]] = state.laws_BPV
        requests_B = torch.arange(batch, device=tokens_BW.device)
        for more in range(self.block):
            at_B = waits_B + more
            logits_BMV = self.small.score(state.small, Draft(tokens_BW[:, : width + more])).logits_BMV
            law_B1V = self.warp(logits_BMV[requests_B, at_B].float()).softmax(-1)[:, None]
            stream = TARGET if self.verifier.seeded else "draft"
            tokens_BW = tokens_BW.scatter(1, at_B[:, None], state.noise.draw(law_B1V, at_B[:, None], stream))
            if not self.verifier.seeded:
                laws_BWV[requests_B, at_B] = law_B1V[:, 0]
        return _Written(tokens_BW, laws_BWV)

    def _verify(self, written: _Written, checks_B: Tensor, target_BMV: Tensor, noise: Noise) -> Verdict:
        """What stands of the first `checks` tokens of each request; a refused one is replaced."""
        rows = target_BMV.shape[1]
        checked_N = torch.arange(rows, device=checks_B.device)
        tokens_BN = written.tokens_BW[:, :rows].where(checked_N < checks_B[:, None], PAD)
        laws_BNV = None if self.verifier.seeded else written.laws_BWV[:, :rows]
        # A verifier wants a row behind the last token, for a bonus. There is none: what it draws there is dropped.
        target_BMV = torch.cat([target_BMV, target_BMV[:, -1:]], 1)
        verdict = self.verifier.verify(Draft(tokens_BN, None, laws_BNV, self._siblings), target_BMV, noise)
        slots_C = torch.arange(verdict.tokens_BC.shape[1], device=checks_B.device)
        return Verdict(verdict.tokens_BC.where(slots_C < checks_B[:, None], PAD), verdict.nodes_BC)

    def _left(self, written: _Written, checks_B: Tensor, stands_B: Tensor) -> tuple[Tensor, Tensor]:
        """pending_BP and laws_BPV for the next step: the rest of the block where all that was checked stands."""
        at_BP = checks_B[:, None] + torch.arange(self.block - 1, device=checks_B.device)
        pending_BP = written.tokens_BW.gather(1, at_BP).where(stands_B[:, None], PAD)
        if self.verifier.seeded:
            return pending_BP, written.laws_BWV
        return pending_BP, written.laws_BWV[torch.arange(len(at_BP), device=at_BP.device)[:, None], at_BP]

"""Adaptive weighted rejection sampling: tokens of the law restricted to what is allowed, few of them asked about.

Candidates come in the order in which the law draws them without replacement, and the first that is allowed is the
token: the very token that a mask would have given. How many were refused estimates the allowed mass without bias.
Restricting every token is not conditioning the text: the product of these masses says by how much, and `smc` mends it.

Source: Lipkin et al. 2025, arXiv:2504.05410.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, final

import torch
from torch import Tensor

from decant.errors import BadInput, IncompatibleParts
from decant.noise import Noise
from decant.numerics import take
from decant.protocols import Constraint, LanguageModel, State, Warp
from decant.types import PAD, Draft, Scores, Step, Verdict

C = TypeVar("C")  # the target's context


class Checker(Protocol[State]):
    """Says of one token at a time whether it may come next; an end token is one, allowed where the text is whole."""

    def start(self, prompt_BT: Tensor) -> State: ...

    def allowed(self, state: State, tokens_B: Tensor) -> Tensor:
        """bool_B: may this token follow? PAD asks nothing, and what is answered there does not count. Pure."""
        ...

    def observe(self, state: State, tokens_B: Tensor) -> State:
        """One more token of each request; one that was refused only where everything was."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """What `ByConstraint` remembers: the constraint's state, and which tokens it allows now."""

    constraint: Any
    allowed_BV: Tensor


@final
@dataclass(frozen=True, slots=True)
class ByConstraint:
    """A constraint as a checker: what `adjust` sets to -inf is forbidden. It masks the vocabulary once a token, so that
    asking about few tokens saves nothing. Raises IncompatibleParts for one that looks at logits or changes them."""

    constraint: Constraint[Any]
    vocab: int

    def start(self, prompt_BT: Tensor) -> Mask:
        """After a prompt."""
        state = self.constraint.start(prompt_BT)
        flat_B1V = prompt_BT.new_zeros((len(prompt_BT), 1, self.vocab), dtype=torch.float32)
        steep_B1V = flat_B1V - torch.linspace(1, 20, self.vocab, device=prompt_BT.device)
        mask_B1V, other_B1V = (self._adjusted(state, logits_B1V) for logits_B1V in (flat_B1V, steep_B1V))
        kept_B1V = mask_B1V > -torch.inf
        if not torch.equal(other_B1V, steep_B1V.masked_fill(~kept_B1V, -torch.inf)):
            raise IncompatibleParts(
                f"{type(self.constraint).__name__} does more than to forbid tokens, so that it cannot be asked about "
                f"one alone; leave it out, or decode with plain"
            )
        return Mask(state, kept_B1V[:, 0])

    def allowed(self, state: Mask, tokens_B: Tensor) -> Tensor:
        """Looks it up."""
        return state.allowed_BV.gather(1, tokens_B.clamp_min(0)[:, None]).squeeze(1)

    def observe(self, state: Mask, tokens_B: Tensor) -> Mask:
        """The mask behind one more token."""
        flat_B1V = torch.zeros_like(state.allowed_BV, dtype=torch.float32)[:, None]
        verdict = Verdict(tokens_B[:, None], torch.full_like(tokens_B[:, None], PAD))
        after = self.constraint.observe(state.constraint, verdict, Scores(flat_B1V))
        return Mask(after, self._adjusted(after, flat_B1V)[:, 0] > -torch.inf)

    def _adjusted(self, state: Any, logits_B1V: Tensor) -> Tensor:
        return self.constraint.adjust(state, Draft.nothing(len(logits_B1V), logits_B1V.device), logits_B1V)


@final
@dataclass(frozen=True, slots=True, eq=False)
class AWRSState(Generic[C]):
    """What is remembered between steps.

    checking: the checker's state.
    logw_B:   log of the product of the estimated masses, float64. The mean of its exp over seeds is the mass of all
        allowed texts of this length; -inf: at some token nothing was allowed.
    """

    context: C
    checking: Any
    noise: Noise
    logw_B: Tensor


@final
@dataclass(frozen=True, slots=True)
class AWRS(Generic[C]):
    """One token a step, drawn from the warped law restricted to what the checker allows.

    estimator: "recursive" asks about one token behind the first that is allowed; "geometric" draws until `accepts`
        draws were allowed, which is better where one token has most of the mass, or with many accepts.
    accepts:   of the geometric estimator, at least 2.
    Where the law holds nothing that is allowed (a warp may have cut it) the likeliest allowed token comes at weight
    zero; where nothing at all is allowed, the first candidate.
    """

    target: LanguageModel[C]
    warp: Warp
    checker: Checker[Any]
    estimator: Literal["recursive", "geometric"] = "recursive"
    accepts: int = 2

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.estimator not in ("recursive", "geometric"):
            raise BadInput(f"the estimator of awrs is recursive or geometric, got {self.estimator!r}")
        if self.accepts < 2:
            raise BadInput(f"awrs needs 2 accepts or more for an unbiased weight, got {self.accepts}; 2 is usual")

    def start(self, prompt_BT: Tensor, noise: Noise) -> AWRSState[C]:
        """Prefill; prompt_BT is right-padded with PAD."""
        logw_B = torch.zeros(len(prompt_BT), dtype=torch.float64, device=prompt_BT.device)
        return AWRSState(self.target.start(prompt_BT)[0], self.checker.start(prompt_BT), noise, logw_B)

    def step(self, state: AWRSState[C]) -> tuple[AWRSState[C], Step]:
        """One token of every request."""
        draft = Draft.nothing(len(state.logw_B), state.logw_B.device)
        logits_BV = self.target.score(state.context, draft).logits_BMV[:, 0].float()
        law_BV = self.warp(logits_BV).softmax(-1)
        draw = self._recursive if self.estimator == "recursive" else self._geometric
        tokens_B, weight_B = draw(state.checking, law_BV, state.noise)
        if bool((weight_B == 0).any()):  # sync: has somebody nothing to say?
            outside_BV = logits_BV.masked_fill(law_BV > 0, -torch.inf)
            order_BV = outside_BV.argsort(-1, descending=True)
            most_B = (outside_BV > -torch.inf).sum(-1).where(weight_B == 0, 0)
            at_B = self._first(state.checking, order_BV, most_B)
            tokens_B = torch.where(at_B == PAD, tokens_B, take(order_BV, at_B))
        verdict = Verdict(tokens_B[:, None], torch.full_like(tokens_B[:, None], PAD))
        after = AWRSState(
            context=self.target.commit(state.context, verdict),
            checking=self.checker.observe(state.checking, tokens_B),
            noise=state.noise.advance(verdict.committed_B),
            logw_B=state.logw_B + weight_B.log(),
        )
        return after, Step(verdict.tokens_BC, state.noise.root_B[:, None], verdict.nodes_BC != PAD)

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The target's."""
        return self.target.cache_bytes(tokens)

    def _first(self, checking: Any, order_BV: Tensor, most_B: Tensor) -> Tensor:
        """at_B: where the first allowed one of the first `most` tokens of each row stands; PAD where there is none."""
        at_B = torch.full_like(most_B, PAD)
        for at in range(int(most_B.amax())):
            asks_B = (at_B == PAD) & (at < most_B)
            if not asks_B.any():  # sync: does anybody still look?
                break
            fine_B = self.checker.allowed(checking, order_BV[:, at].where(asks_B, PAD))
            at_B = at_B.masked_fill(asks_B & fine_B, at)
        return at_B

    def _recursive(self, checking: Any, law_BV: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """tokens_B and weight_B: the mass that was not refused, if the candidate behind the token is allowed too, and
        else the token's own: the product over all refusals, telescoped."""
        race_BV = noise.gumbel(law_BV[:, None], torch.zeros_like(noise.root_B)[:, None])[:, 0]
        order_BV = race_BV.argsort(-1, descending=True)
        mass_BV = law_BV.double().gather(1, order_BV)
        many_B = (mass_BV > 0).sum(-1)
        at_B = self._first(checking, order_BV, many_B)
        some_B, at_B = at_B != PAD, at_B.clamp_min(0)
        second_B = torch.where(some_B & (at_B + 1 < many_B), at_B + 1, PAD)
        fine_B = self.checker.allowed(checking, take(order_BV, second_B).where(second_B != PAD, PAD))
        own_B = take(mass_BV, at_B)
        # Summed from the end, so that little that is left is exact.
        left_B = take(mass_BV.flip(-1).cumsum(-1).flip(-1), at_B)
        weight_B = torch.where(fine_B & (second_B != PAD), left_B, own_B)
        return take(order_BV, at_B), weight_B.where(some_B, 0.0)

    def _geometric(self, checking: Any, law_BV: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """tokens_B and weight_B: (accepts - 1) / (draws - 1), the unbiased estimate from draws until so many were
        allowed. Draws that would have hit what was refused before are counted, not made."""
        here_B1 = torch.zeros_like(noise.root_B)[:, None]
        open_BV = law_BV.double()
        fine_BV = torch.zeros_like(law_BV, dtype=torch.bool)
        found_B = torch.zeros_like(noise.root_B)
        draws_B = torch.zeros_like(open_BV[:, 0])
        first_B = next_B = noise.draw(law_BV[:, None], here_B1)[:, 0]
        lane = 0
        while True:
            left_B = open_BV.sum(-1)
            runs_B = (found_B < self.accepts) & (left_B > 0)
            if not runs_B.any():  # sync: does anybody still draw?
                break
            if lane:
                reach_BV = open_BV.cumsum(-1)
                reach_B1 = noise.uniform(here_B1, "awrs", lane) * reach_BV[:, -1:]
                next_B = torch.searchsorted(reach_BV, reach_B1, right=True)[:, 0].clamp_max(law_BV.shape[-1] - 1)
            wait_B = noise.uniform(here_B1, "awrs", lane + 1)[:, 0].log() / torch.log1p(-left_B.clamp_max(1))
            draws_B = draws_B + (wait_B.floor() + 1).where(runs_B, 0)
            next_B1 = next_B[:, None]
            known_B = fine_BV.gather(1, next_B1)[:, 0]
            fine_B = runs_B & (known_B | self.checker.allowed(checking, next_B.where(runs_B & ~known_B, PAD)))
            first_B = torch.where(fine_B & (found_B == 0), next_B, first_B)
            found_B = found_B + fine_B
            fine_BV = fine_BV.scatter(1, next_B1, (known_B | fine_B)[:, None])
            kept_B1 = open_BV.gather(1, next_B1).where((fine_B | ~runs_B)[:, None], 0.0)
            open_BV = open_BV.scatter(1, next_B1, kept_B1)
            lane += 2
        weight_B = (self.accepts - 1) / (draws_B - 1).clamp_min(1)
        return first_B, weight_B.where(found_B > 0, 0.0)

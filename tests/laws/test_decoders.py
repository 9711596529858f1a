"""Every composition that says that nothing is lost loses nothing."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.bild import BiLD
from decant.decoders.ead import EAD
from decant.decoders.pearl import PEARL
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.drafters.early_exit import EarlyExit
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.sorted_exits import SortedExits
from decant.drafters.token_recycling import TokenRecycling
from decant.noise import TARGET, Noise
from decant.numerics import append, normalise
from decant.policies.additive import Additive
from decant.policies.confidence import Confidence
from decant.policies.dynamic_exit import DynamicExit
from decant.policies.fixed import Fixed
from decant.samplers.chain import chain
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.exits import MarkovExits
from decant.testing.laws import check_decoder, check_law
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, Taps, Verdict
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection
from decant.verifiers.tree_rejection import TreeRejection

LM = MarkovLM.random(vocab=4, seed=3)
SMALL = LM.blurred(seed=4)
PERVERSE = MarkovLM(-LM.logits_UVV)
EXITS = MarkovExits.beneath(LM, layers=4)
DRAFTERS = {
    "prompt-lookup": PromptLookup(),
    "token-recycling": TokenRecycling(top=3, nodes=9),
    "draft-model": DraftModel(SMALL),
    "draft-model, drawn": DraftModel(SMALL, coupled=False),
    "the target itself": DraftModel(LM),
    "a perverse one": DraftModel(PERVERSE),
    "early-exit": EarlyExit(EXITS, 2),
    "early-exit, drawn": EarlyExit(EXITS, 2, coupled=False),
    "sorted-exits, drawn": SortedExits(EXITS, "1-2-4", tau=0.6, coupled=False),
}
VERIFIERS = [Coupled(), Rejection(), TreeRejection()]
POLICIES = [
    Fixed(depth=1),
    Fixed(depth=4),
    Fixed(depth=3, width=2, budget=7),
    Additive(),
    Confidence(6, 0.6),
    Fixed(depth=0),
    DynamicExit(EXITS, most=4),
]
WARPS = {"T=1": temperature(1.0), "T=0.7, top 3": chain(temperature(0.7), top_k(3))}


def composed(drafter, verifier, policy, warp, target=LM) -> Speculative:
    return Speculative(target, drafter, verifier, policy, warp, Unconstrained())


def fits(drafter, verifier, policy) -> bool:
    """Whether such drafts are accepted by such a verifier."""
    grows = isinstance(drafter, DraftModel | EarlyExit | SortedExits)
    branches = isinstance(drafter, TokenRecycling) or (grows and policy == POLICIES[2])
    return verifier.trees or not branches


# Every drafter with every verifier on chains and trees; every policy with the drafter that it tells most.
COMPOSITIONS = [
    pytest.param(drafter, verifier, policy, id=f"{name}, {verifier!r}, {policy!r}")
    for name, drafter in DRAFTERS.items()
    for verifier in VERIFIERS
    for policy in (POLICIES if name in {"draft-model, drawn", "early-exit, drawn"} else POLICIES[1:3])
    if fits(drafter, verifier, policy)
]
SEEDED = [parameter for parameter in COMPOSITIONS if parameter.values[1] == Coupled()]


@pytest.mark.parametrize(("drafter", "verifier", "policy"), COMPOSITIONS)
def test_greedy_decoding_loses_nothing(drafter, verifier, policy) -> None:
    plain = Autoregressive(LM, greedy(), Unconstrained())
    check_decoder(composed(drafter, verifier, policy, greedy()), plain, max_tokens=10)


@pytest.mark.parametrize(("drafter", "verifier", "policy"), SEEDED)
def test_the_same_seed_gives_the_same_text_whatever_the_drafter(drafter, verifier, policy) -> None:
    warp = WARPS["T=0.7, top 3"]
    plain = Autoregressive(LM, warp, Unconstrained())
    check_decoder(composed(drafter, verifier, policy, warp), plain, max_tokens=10)


FREE = Unconstrained()
LOOPS = [  # those of their own: PEARL always, the others where their knobs leave nothing to the small model
    ("pearl", lambda warp: PEARL(LM, SMALL, Coupled(), warp, FREE, 3)),
    ("pearl, one after the other", lambda warp: PEARL(LM, PERVERSE, Coupled(), warp, FREE, 4, "sequential")),
    ("bild", lambda warp: BiLD(LM, SMALL, warp, FREE, 0.5, rollback=0.0)),
    ("ead", lambda warp: EAD(LM, LM, warp, FREE, 1.2, window=2, dwell=1)),
]


@pytest.mark.parametrize("warp", [greedy(), WARPS["T=0.7, top 3"]], ids=["greedy", "T=0.7, top 3"])
@pytest.mark.parametrize(("name", "loop"), LOOPS, ids=[name for name, _ in LOOPS])
def test_a_loop_of_its_own_loses_nothing(name: str, loop, warp) -> None:
    check_decoder(loop(warp), Autoregressive(LM, warp, FREE), max_tokens=10)


@pytest.mark.parametrize("executor", ["threads", "sequential"])
def test_overlapping_halves_follow_the_target(executor) -> None:
    check_law(PEARL(LM, SMALL, Rejection(), WARPS["T=1"], FREE, 3, executor), LM, WARPS["T=1"])


def test_plain_decoding_follows_the_target() -> None:
    check_law(Autoregressive(LM, WARPS["T=1"], Unconstrained()), LM, WARPS["T=1"])


LAW_CASES = [
    ("prompt-lookup", Rejection(), Fixed(depth=2), "T=1"),
    ("draft-model, drawn", Rejection(), Fixed(depth=2), "T=0.7, top 3"),
    ("draft-model, drawn", Rejection(), Confidence(4, 0.6), "T=1"),
    ("draft-model, drawn", TreeRejection(), Confidence(4, 0.6), "T=1"),
    ("draft-model, drawn", TreeRejection(), Fixed(depth=2, width=3, budget=9), "T=1"),
    ("draft-model, drawn", TreeRejection(), Fixed(depth=2, width=2, budget=5), "T=0.7, top 3"),
    ("draft-model", Rejection(), Fixed(depth=2), "T=1"),
    ("draft-model", TreeRejection(), Fixed(depth=2, width=2), "T=1"),
    ("a perverse one", TreeRejection(), Fixed(depth=2, width=2), "T=1"),
    ("token-recycling", TreeRejection(), Fixed(depth=2), "T=1"),
    ("draft-model, drawn", Coupled(), Fixed(depth=2, width=2), "T=1"),
    ("early-exit, drawn", Rejection(), DynamicExit(EXITS, most=4), "T=1"),
    ("early-exit, drawn", TreeRejection(), Fixed(depth=2, width=2), "T=1"),
    ("sorted-exits, drawn", Rejection(), Fixed(depth=2), "T=0.7, top 3"),
]


@pytest.mark.parametrize(("drafter", "verifier", "policy", "warp"), LAW_CASES)
def test_sampled_decoding_follows_the_target(drafter: str, verifier, policy, warp: str) -> None:
    check_law(composed(DRAFTERS[drafter], verifier, policy, WARPS[warp]), LM, WARPS[warp])


@pytest.mark.parametrize(
    ("verifier", "coupled", "policy"),
    [
        (Coupled(), True, Fixed(depth=4)),
        (Coupled(), True, Fixed(depth=3, width=2)),
        (Rejection(), False, Fixed(depth=4)),
        (TreeRejection(), False, Fixed(depth=3, width=2)),
    ],
)
def test_a_perfect_draft_is_always_accepted(verifier, coupled: bool, policy) -> None:
    decoder = composed(DraftModel(LM, coupled=coupled), verifier, policy, temperature(1.0))
    state = decoder.start(torch.tensor([[0, 1, 2]]).expand(200, -1), Noise.of(list(range(200))))
    for _ in range(5):
        state, step = decoder.step(state)
        assert ((step.tokens_BC != PAD).sum(-1) == policy.depth + 1).all()


@dataclass(frozen=True)
class DropsUnlikely:
    """Card 0.8, trap 2: draw a guess, look at it, throw it away because it was unlikely."""

    inner: DraftModel = field(default_factory=lambda: DraftModel(SMALL, coupled=False))

    taps = Taps()

    def start(self, prompt_BT, prefill):
        return self.inner.start(prompt_BT, prefill)

    def draft(self, state, shape, warp, noise, context):
        draft = self.inner.draft(state, shape, warp, noise, context)
        q_BN = draft.laws_BMV.gather(-1, draft.tokens_BN[..., None]).squeeze(-1)
        return replace(draft, tokens_BN=draft.tokens_BN.where((q_BN > 0.2).cumprod(1).bool(), PAD))

    def observe(self, state, draft, verdict, scores):
        return self.inner.observe(state, draft, verdict, scores)


@dataclass(frozen=True)
class TopKAsDraws:
    """Card 0.8, trap 1: the likeliest children, handed over as if they had been drawn."""

    inner: DraftModel = field(default_factory=lambda: DraftModel(SMALL))

    taps = Taps()

    def start(self, prompt_BT, prefill):
        return self.inner.start(prompt_BT, prefill)

    def draft(self, state, shape, warp, noise, context):
        empty_BN = noise.seed_B.new_empty(len(noise.seed_B), 0)
        law_B1V = warp(SMALL.score(state, Draft(empty_BN)).logits_BMV).softmax(-1)
        tokens_BN = law_B1V[:, 0].topk(2, -1).indices
        laws_BMV = torch.cat([law_B1V, torch.zeros_like(law_B1V)], 1)
        return Draft(tokens_BN, torch.full_like(tokens_BN, PAD), laws_BMV, "without_replacement")

    def observe(self, state, draft, verdict, scores):
        return self.inner.observe(state, draft, verdict, scores)


@dataclass(frozen=True)
class BorrowsTheTargetsNoise:
    """Rejection with residuals drawn from the very numbers that a coupled drafter saw."""

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    accepts = Rejection.accepts
    trees: ClassVar[bool] = False

    def verify(self, draft, target_BMV, noise):
        rows_B = torch.arange(len(draft.tokens_BN))
        verdict = Rejection().verify(draft, target_BMV, noise)
        accepted_B = verdict.accepted_B
        p_BV = target_BMV[rows_B, accepted_B]
        guess_B1 = torch.nn.functional.pad(draft.tokens_BN, (0, 1), value=PAD)[rows_B, accepted_B][:, None]
        left_BV = p_BV.scatter(1, guess_B1.clamp_min(0), 0.0).where(guess_B1 != PAD, p_BV)
        last_B = noise.draw(normalise(left_BV, p_BV), accepted_B, TARGET)
        return Verdict.of_chain(draft.tokens_BN, accepted_B, last_B)


@pytest.mark.parametrize(
    ("drafter", "verifier"),
    [
        (DropsUnlikely(), Rejection()),
        (TopKAsDraws(), TreeRejection()),
        (DRAFTERS["draft-model"], BorrowsTheTargetsNoise()),
    ],
    ids=["drops unlikely draws", "top-k children as draws", "numbers used twice"],
)
def test_a_planted_bias_is_caught(drafter, verifier) -> None:
    with pytest.raises(AssertionError, match="not the law that was promised"):
        check_law(composed(drafter, verifier, Fixed(depth=2), temperature(1.0)), LM, temperature(1.0))


@dataclass(frozen=True, eq=False)
class StaleCache:
    """A target whose cache keeps a refused token, once in a while: what it scores is not what it said."""

    inner: MarkovLM = LM
    shift: bool = False

    vocab = LM.vocab
    trees = True

    def start(self, prompt_BT, taps=None):
        return self.inner.start(prompt_BT) if taps is None else self.inner.start(prompt_BT, taps)

    def score(self, context, draft):
        scores = self.inner.score(context, draft)
        return replace(scores, logits_BMV=scores.logits_BMV.roll(1, 1)) if self.shift else scores

    def commit(self, context, verdict):
        if self.shift or verdict.tokens_BC.shape[1] == 1:
            return self.inner.commit(context, verdict)
        refused_BC = verdict.tokens_BC[:, :1].where((verdict.committed_B == 2)[:, None], PAD)
        return self.inner.commit(context, Verdict(append(verdict.tokens_BC, refused_BC), verdict.nodes_BC))

    def tokens(self, context):
        return self.inner.tokens(context)


@pytest.mark.parametrize("shift", [False, True], ids=["a stale row", "rows off by one"])
def test_a_broken_target_is_caught(shift: bool) -> None:
    decoder = composed(DRAFTERS["draft-model"], Coupled(), Fixed(depth=3), greedy(), StaleCache(shift=shift))
    with pytest.raises(AssertionError, match="differs from plain decoding"):
        check_decoder(decoder, Autoregressive(LM, greedy(), Unconstrained()))


@dataclass(frozen=True)
class Runaway:
    """A decoder that steps on, and forgets whose turn it is, in one way."""

    mistake: str
    inner: Speculative = composed(DRAFTERS["draft-model"], Coupled(), Fixed(3), WARPS["T=1"])  # noqa: RUF009  (frozen)

    def start(self, prompt_BT, noise):
        if self.mistake == "one seed for all":
            noise = replace(noise, seed_B=noise.seed_B[:1].expand_as(noise.seed_B))
        return self.inner.start(prompt_BT, noise)

    def step(self, state):
        off_B = state.noise.root_B * (self.mistake == "noise stands still")
        after, step = self.inner.step(replace(state, noise=state.noise.advance(-off_B)))
        step = replace(step, positions_BC=step.positions_BC + off_B[:, None])  # else no request would ever end
        after = replace(after, noise=after.noise.advance(off_B))
        if self.mistake == "the same draft twice":
            after = replace(after, drafting=state.drafting, context=state.context)
        return after, step


@pytest.mark.parametrize("mistake", ["one seed for all", "noise stands still", "the same draft twice"])
def test_a_broken_loop_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError, match="differs from plain decoding"):
        check_decoder(Runaway(mistake), Autoregressive(LM, WARPS["T=1"], Unconstrained()))

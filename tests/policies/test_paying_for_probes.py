"""What rides along is paid for: cost-aware leaves probes out where guessing does not pay. Rows are counted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import generate, right_pad
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.hidden_transfer import HiddenTransfer
from decant.drafters.jacobi import Jacobi
from decant.drafters.lookahead import Lookahead
from decant.drafters.parallel_prompt import ParallelPrompt
from decant.noise import Noise
from decant.policies.cost_aware import CostAware, Estimate
from decant.policies.fixed import Fixed
from decant.protocols import Rides
from decant.samplers.greedy import greedy
from decant.testing.markov import MarkovLM
from decant.types import PAD, CostCurve, Draft, DraftShape, Scores, Verdict
from decant.verifiers.coupled import Coupled
from tests.drafters.foresight import foreseeing

PROMPT = torch.tensor([[0, 1, 2, 0, 1]])
RISING = CostCurve((1, 2, 4, 8, 16, 64), (1.0, 1.05, 1.1, 1.3, 1.65, 4.0))
WRONG, RIGHT = foreseeing(vocab=60, late=1), foreseeing(vocab=60)
STUCK = MarkovLM(torch.eye(60)[7].mul(50).expand(61, 60, -1))  # whatever was said, 7 follows
BAD = {
    "ppd": (WRONG, ParallelPrompt(WRONG.riders)),
    "hidden-transfer": (WRONG, HiddenTransfer(WRONG.riders)),
    "lookahead": (WRONG.lm, Lookahead()),
    "jacobi": (WRONG.lm, Jacobi()),
}
GOOD = {
    "ppd": (RIGHT, ParallelPrompt(RIGHT.riders)),
    "hidden-transfer": (RIGHT, HiddenTransfer(RIGHT.riders)),
    "lookahead": (STUCK, Lookahead(window=2, ngram=4)),
    "jacobi": (STUCK, Jacobi()),
}


def riding(drafter: Any) -> Any:
    return drafter.riding if isinstance(drafter, Rides) else None


def decoder(target: Any, drafter: Any, policy: CostAware) -> Speculative[Any, Any, Any]:
    return Speculative(target, drafter, Coupled(), policy, greedy(), Unconstrained())


def passes(target: Any, drafter: Any, count: int) -> Iterator[tuple[int, int]]:
    """(rows, tokens) of each pass."""
    loop = decoder(target, drafter, CostAware(target_costs=RISING, riding=riding(drafter)))
    state = loop.start(PROMPT, Noise.of([3]))
    for _ in range(count):
        shape = loop.policy.shape(state.pacing)
        draft = drafter.draft(state.drafting, shape, loop.warp, state.noise, state.context)
        state, step = loop.step(state)
        yield 1 + draft.tokens_BN.shape[1], int((step.tokens_BC != PAD).sum())


@pytest.mark.parametrize("method", BAD)
def test_passes_become_plain_decodings_where_no_guess_is_right(method: str) -> None:
    rows, tokens = zip(*passes(*BAD[method], 300), strict=True)
    wide = [at for at, count in enumerate(rows) if count > 1]
    assert 0 < len(wide) <= 24
    assert 0 < len([at for at in wide if at >= 100]) <= 6, "it is tried again, and seldom"
    spent = sum(map(RISING.seconds, rows)) / sum(tokens)
    assert spent < 1.03
    assert sum(map(RISING.seconds, rows[:48])) / sum(tokens[:48]) < 1.05, "nor does learning that cost more"


@pytest.mark.parametrize("method", GOOD)
def test_whoever_guesses_well_goes_on(method: str) -> None:
    rows, tokens = zip(*passes(*GOOD[method], 100), strict=True)
    begin = next(at for at, count in enumerate(rows) if count > 1)
    assert begin <= 35
    assert all(count > 1 for count in rows[begin:])
    assert sum(tokens[begin:]) / sum(map(RISING.seconds, rows[begin:])) > 1.5


@pytest.mark.parametrize("method", BAD)
@pytest.mark.parametrize("several", [False, True])
def test_the_text_is_plain_decodings(method: str, several: bool) -> None:
    target, drafter = BAD[method]
    prompts = [[0, 1, 2], [5, 6, 7, 8], [9]][: 3 if several else 1]
    seeds, stopping = list(range(len(prompts))), [Stopping(max_tokens=120)] * len(prompts)
    policy = CostAware(target_costs=RISING, retry=3, lost=1.0, riding=riding(drafter))
    plain, drafted = (
        [output.tokens for output in generate(loop, right_pad(prompts), Noise.of(seeds), stopping).outputs]
        for loop in (Autoregressive(target, greedy(), Unconstrained()), decoder(target, drafter, policy))
    )
    assert drafted == plain


NOTHING = Verdict(torch.tensor([[0]]), torch.tensor([[PAD]]))
ABSENT = Draft(torch.full((1, 6), PAD))  # what a policy sees of six probes


def seen(policy: CostAware, state: Estimate, depth: int) -> Estimate:
    """After a round in which probes rode alone, or none."""
    draft = ABSENT if depth else Draft.nothing(1)
    return policy.observe(state, draft, NOTHING, Scores(torch.zeros(1, draft.tokens_BN.shape[1] + 1, 2)))


def six(guesses: int, depth: int) -> int:
    return 6


def test_a_round_of_probes_alone_is_free_and_the_next_is_a_refusal() -> None:
    policy = CostAware(target_costs=RISING, riding=six, lost=1.0)
    state = seen(policy, policy.start(1), 0)
    first = seen(policy, state, 1)
    second = seen(policy, first, 1)
    assert first.rate_B.item() == state.rate_B.item() == pytest.approx(0.7)
    assert second.rate_B.item() < 0.7
    assert seen(policy, first, 0).rate_B.item() == first.rate_B.item(), "what costs nothing proves nothing"
    assert seen(CostAware(target_costs=RISING), first, 1).rate_B.item() == first.rate_B.item(), "nobody rides there"


def test_rounds_of_probes_alone_are_earned_first() -> None:
    policy = CostAware(target_costs=RISING, riding=six, retry=4)
    state, asked = policy.start(1), []
    for _ in range(400):
        asked.append(policy.shape(state).depth)
        state = seen(policy, state, asked[-1])
    alone = (RISING.seconds(7) - 1) / policy.lost
    assert next(at for at, depth in enumerate(asked) if depth) == pytest.approx(alone, abs=1)
    turns = [at for at in range(1, len(asked)) if asked[at] and not asked[at - 1]]
    dearer = (RISING.seconds(9) - 1) / policy.lost
    assert all(asked[at + 1] and not asked[at + 2] for at in turns[1:-1]), "a retry is two rounds"
    assert turns[2] - turns[1] >= alone + dearer


def test_probes_are_priced_by_depth() -> None:
    """Behind each node rides one probe a place: a second guess costs more rows than the first."""
    policy = CostAware(target_costs=RISING, riding=lambda guesses, depth: (guesses + 1) * depth, lost=1.0)
    state = Estimate(torch.tensor([4.0]), torch.tensor([10.0]), *torch.zeros(3, 1))
    assert CostAware(target_costs=RISING).shape(state).depth > policy.shape(state).depth == 1
    assert policy.shape(replace(state, kept_B=torch.tensor([0.5]))).depth == 0


@pytest.mark.parametrize("method", BAD)
def test_as_many_ride_as_was_said(method: str) -> None:
    target, drafter = BAD[method]
    loop = Speculative(target, drafter, Coupled(), Fixed(depth=2), greedy(), Unconstrained())
    state = loop.start(PROMPT, Noise.of([3]))
    for _ in range(6):
        draft = drafter.draft(state.drafting, DraftShape(2), greedy(), state.noise, state.context)
        probes = 0 if draft.probe_BN is None else int((draft.probe_BN & (draft.tokens_BN != PAD)).sum())
        guesses = int((draft.guesses.tokens_BN != PAD).sum())
        assert probes == (drafter.riding(guesses, 2) if isinstance(drafter, Rides) else 0)
        state, _ = loop.step(state)

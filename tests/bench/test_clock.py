"""A clock changes nothing but the ledger."""

import pytest
import torch

from decant.bench.clock import timed
from decant.bench.ledger import Ledger
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.ead import EAD
from decant.decoders.pearl import PEARL
from decant.decoders.speculative import Speculative
from decant.decoders.superposed import Superposed
from decant.decoders.workload import Workload
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.noise import Noise
from decant.numerics import append
from decant.policies.additive import Additive
from decant.policies.fixed import Fixed
from decant.protocols import Learner
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled

LM = MarkovLM.random(vocab=11, seed=0)
WORK = Workload([[1, 2, 3], [4], [5, 6, 5, 6]], max_tokens=20, batch=2, seed=3, ends=frozenset({7}))
DRAFTERS = {
    "model": DraftModel(LM.blurred(seed=1)),
    "lookup": PromptLookup(),
    "recycling": TokenRecycling(top=3, nodes=6),
}


class Mixtures:
    """A model for `Superposed` to feed: whatever it gets, the same logits follow."""

    vocab = 12

    def start(self, prompt_BT: torch.Tensor) -> torch.Tensor:
        return prompt_BT

    def root(self, context: torch.Tensor) -> torch.Tensor:
        return torch.arange(12.0).expand(len(context), -1)

    def mixed(
        self, context: torch.Tensor, tokens_BK: torch.Tensor, weights_BK: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return context, self.root(context)

    def commit(self, context: torch.Tensor, tokens_BC: torch.Tensor) -> torch.Tensor:
        return append(context, tokens_BC)

    def tokens(self, context: torch.Tensor) -> torch.Tensor:
        return context


def decoder(drafter: str) -> Speculative:
    return Speculative(LM, DRAFTERS[drafter], Coupled(), Additive(initial=3), temperature(0.8), Unconstrained())


def texts(decoder: object) -> list[list[int]]:
    return [output.tokens for _, outputs in WORK.decode(decoder) for output in outputs]


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_a_clock_changes_no_token(drafter: str) -> None:
    ledger = Ledger(torch.device("cpu"))
    assert texts(timed(decoder(drafter), ledger)) == texts(decoder(drafter))
    assert ledger.draft > 0
    assert ledger.target > 0
    assert ledger.prefill > 0
    assert len(ledger.rounds) == ledger.calls > 0
    assert ledger.asked == ledger.turns, "a step is one call"
    assert sum(len(one.tokens_BN) for one in ledger.rounds) == ledger.turns
    assert len(ledger.first) == len(WORK.groups())
    assert all(seconds > 0 for seconds in ledger.first)


@pytest.mark.parametrize("executor", ["sequential", "threads"])
def test_a_second_model_is_charged_to_the_draft(executor: str) -> None:
    pearl = PEARL(LM, LM.blurred(seed=1), Coupled(), temperature(0.8), Unconstrained(), 3, executor)
    ledger = Ledger(torch.device("cpu"))
    assert texts(timed(pearl, ledger)) == texts(pearl)
    assert ledger.draft > 0
    assert ledger.target > 0
    steps = ledger.calls
    assert 0 < steps <= ledger.turns, "one call of the target a step; the small model's are not counted"


def test_a_small_model_alone_is_no_target_call() -> None:
    ledger = Ledger(torch.device("cpu"))
    texts(timed(EAD(LM, LM.blurred(seed=1), temperature(0.8), Unconstrained(), threshold=99.0), ledger))
    assert ledger.calls == 0
    assert ledger.draft > 0


def test_a_mixture_is_a_target_call() -> None:
    ledger = Ledger(torch.device("cpu"))
    decoder = Superposed(Mixtures(), length=4)
    state = timed(decoder, ledger).start(torch.tensor([[1, 2], [3, 4]]), Noise.of([0, 1]))
    assert ledger.calls == ledger.asked == 0, "a prefill is none"
    _, step = timed(decoder, ledger).step(state)
    assert ledger.calls == step.tokens_BC.shape[1] == 4
    assert (ledger.asked, ledger.turns) == (8, 2)
    assert ledger.target > 0 == ledger.draft


def test_plain_decoding_spends_a_call_on_each_token() -> None:
    ledger = Ledger(torch.device("cpu"))
    plain = Autoregressive(LM, temperature(0.8), Unconstrained())
    said = texts(timed(plain, ledger))
    assert ledger.turns == sum(map(len, said))
    assert ledger.calls < ledger.turns, "two requests share a call"
    assert ledger.draft == 0


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_only_a_learner_looks_like_one(drafter: str) -> None:
    clocked = timed(decoder(drafter), Ledger(torch.device("cpu"))).inner.drafter
    assert isinstance(clocked, Learner) == isinstance(DRAFTERS[drafter], Learner)
    assert clocked.taps == DRAFTERS[drafter].taps


def test_a_learner_on_a_clock_still_learns() -> None:
    clocked = timed(
        Speculative(LM, TokenRecycling(), Coupled(), Fixed(4), temperature(0.8), Unconstrained()),
        Ledger(torch.device("cpu")),
    )
    [group] = Workload([[1, 2, 3]], max_tokens=30).groups()
    turn = group.decode(clocked)
    assert clocked.inner.drafter.timed.inner.learnt is None
    warm = clocked.warmed(turn.state)
    assert warm.inner.drafter.timed.inner.learnt is not None
    assert warm.ledger is clocked.ledger
    before = clocked.ledger.calls
    group.decode(warm)
    assert clocked.ledger.calls - before < before, "what was learnt saves target calls on the same prompt"


def test_prefill_is_charged_to_nobody_else() -> None:
    ledger = Ledger(torch.device("cpu"))
    state = timed(decoder("model"), ledger).start(WORK.groups()[0].prompt_BT, Noise.of([0, 1]))
    assert ledger.draft == ledger.target == 0 < ledger.prefill
    timed(decoder("model"), ledger).step(state)
    assert ledger.target > 0

"""Alone and in company: what is right holds, what leaks does not."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import Method
from decant.decoders.speculative import Speculative
from decant.decoders.workload import Workload
from decant.drafters.draft_model import DraftModel
from decant.policies.fixed import Fixed
from decant.protocols import Warp
from decant.prove import company
from decant.prove.faults import Crossed, Tally
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.types import Step
from decant.verifiers.coupled import Coupled

LM = MarkovLM.random(vocab=19, seed=0)
WORK = Workload([[1, 2, 3], [4], [5, 6, 5, 6], [9, 9], [1]], max_tokens=12, batch=3, seed=3)
CHECK = {"name", "holds", "prompts", "statistic", "p_value", "power", "planted_fault_caught", "first_divergence"}


def check(decoder: Any, warp: Warp, work: Workload = WORK) -> dict[str, Any]:
    plain = Autoregressive(LM, warp, Unconstrained())
    return company.check(plain, Method("it", decoder(plain), "tokens"), work, lambda text, tokens: None)


def drafted(plain: Autoregressive) -> Speculative:
    return Speculative(LM, DraftModel(LM.blurred(1)), Coupled(), Fixed(3), plain.warp, Unconstrained())


@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("decoder", [lambda plain: plain, drafted], ids=["plain", "drafted"])
def test_requests_that_do_not_see_each_other_hold(decoder: Any, warp: Warp) -> None:
    found = check(decoder, warp)
    assert set(found) >= CHECK
    assert found["holds"]
    assert found["planted_fault_caught"]
    assert found["company"] == {
        "all at once": {"differ": 0, "of": 5}, "one by one, in another order": {"differ": 0, "of": 5}
    }  # fmt: skip


@dataclass
class Leaking:
    """The first token of a request in company is its neighbour's."""

    inner: Autoregressive
    leaked: list[int] = field(default_factory=list)

    def start(self, prompt_BT: torch.Tensor, noise: Any) -> Any:
        return self.inner.start(prompt_BT, noise)

    def step(self, state: Any) -> tuple[Any, Step]:
        batch = len(state.noise.seed_B)
        state, step = self.inner.step(state)
        if batch == 3:
            self.leaked.append(batch)
            tokens_BC = step.tokens_BC.roll(1, 0)
            return state, Step(tokens_BC, step.positions_BC, step.drafted_BC)
        return state, step


def test_what_leaks_from_a_neighbour_does_not_hold() -> None:
    found = check(Leaking, greedy())
    assert not found["holds"]
    assert found["first_divergence"]["cause"] == "unexplained"
    assert found["company"]["one by one, in another order"]["differ"] > 0


def test_one_request_has_no_company_and_equal_texts_can_be_exchanged() -> None:
    alone = check(drafted, greedy(), Workload([[1, 2, 3]], max_tokens=6))
    assert alone["holds"]
    assert alone["planted_fault_caught"] is None
    same = check(drafted, greedy(), Workload([[1, 2, 3]] * 3, max_tokens=6))
    assert same["planted_fault_caught"] is None


def test_the_fault_acts_once() -> None:
    plain, tally = Autoregressive(LM, greedy(), Unconstrained()), Tally()
    crossed = Crossed(plain, tally)
    work = Workload([[1, 2, 3], [4]], max_tokens=5, batch=2)
    right = [output.tokens for _, outputs in work.decode(plain) for output in outputs]
    wrong = [output.tokens for _, outputs in work.decode(crossed) for output in outputs]
    assert tally.count == 1
    assert wrong == right[::-1]

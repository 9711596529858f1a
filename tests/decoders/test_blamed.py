"""A constraint that raises for one request of a batch: it alone falls, and the others say what they say alone."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from decant.constraints.frequency_penalty import FrequencyPenalty
from decant.constraints.several import Several
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.awrs import AWRS, ByConstraint
from decant.decoders.beam import Beam
from decant.decoders.blamed import AtFault, Blamed, marks_of
from decant.decoders.continuous import Continuous, Fallen, Request
from decant.decoders.smc import SMC
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.errors import BadInput
from decant.models.load import load
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.samplers.temperature import temperature
from decant.testing.laws import check_constraint
from decant.testing.markov import MarkovLM
from decant.types import Draft
from decant.verifiers.coupled import Coupled
from tests.models.families import build

DOOMED = 7  # a prompt that begins with it
LIVES = 5  # tokens that are said until then


@dataclass(frozen=True)
class Dying:
    """Nothing is forbidden; a doomed request's time comes behind LIVES tokens, in one of the questions, or in company
    alone. doomed: what its prompt begins with."""

    at: str
    doomed: int = DOOMED
    kind: type[Exception] = BadInput

    WORDS: ClassVar = "the rules end here"

    def start(self, prompt_BT):
        left_B = torch.where(prompt_BT[:, 0] == self.doomed, LIVES, 10**6)
        self._die("start", (left_B == LIVES) & (self.at == "start"))
        return left_B

    def adjust(self, state, draft, logits_BMV):
        self._die("adjust", state <= 0)
        return logits_BMV

    def observe(self, state, verdict, scores):
        left_B = state - verdict.committed_B
        self._die("observe", left_B <= 0)
        return left_B

    def forced(self, state, depth):
        self._die("forced", state <= 0)
        return torch.empty(0, 0, dtype=torch.int64)

    def _die(self, asked, dead_B):
        if self.at == asked and dead_B.any():
            raise self.kind(self.WORDS)
        if self.at == "company" and asked == "adjust" and len(dead_B) > 1:
            raise self.kind(self.WORDS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blamed")
    build("llama").save_pretrained(folder)
    return load(str(folder), dtype="float32", exact="on").model


def requests() -> list[Request]:
    prompts = [[1, 2, 3], [DOOMED, 2], [4], [5, 6, 5, 6], [DOOMED, 1, 1]]
    return [Request(prompt, seed, Stopping(12)) for seed, prompt in enumerate(prompts)]


def turned(decoder, asked: list[Request], batch: int) -> dict[int, Exception]:
    """By the place of a request, why it fell."""
    crank, fallen = Continuous(decoder, batch=batch), {}
    for request in asked:
        crank.add(request)
    while crank.running or crank.waiting:
        try:
            crank.step()
        except Fallen as fault:
            fallen |= {asked.index(request): error for request, error in fault.errors.items()}
    return fallen


def decoders(model, constraint):
    warp = temperature(1.0)
    yield Autoregressive(model, warp, constraint)
    for drafter in (PromptLookup(), DraftModel(model)):
        yield Speculative(model, drafter, Coupled(), Fixed(3), warp, constraint)


@pytest.mark.parametrize("at", ["start", "forced", "adjust", "observe"])
def test_who_is_at_fault_falls_alone(model, at):
    doomed = Blamed(Several((FrequencyPenalty(0.5), Dying(at))) if at != "forced" else Dying(at))
    spared = FrequencyPenalty(0.5) if at != "forced" else Dying("never")
    for plain, decoder in zip(decoders(model, spared), decoders(model, doomed), strict=True):
        if at == "forced" and isinstance(plain, Autoregressive):
            continue  # which asks for nothing that is forced
        alone = requests()
        for request in alone:
            turned(plain, [request], 1)
        asked = requests()
        fallen = turned(decoder, asked, 4)
        assert sorted(fallen) == [1, 4]
        assert {type(error) for error in fallen.values()} == {BadInput}
        assert {str(error) for error in fallen.values()} == {Dying.WORDS}
        for place in (0, 2, 3):
            assert asked[place].output.tokens == alone[place].output.tokens
        for place in fallen:
            said = asked[place].output.tokens
            assert said == alone[place].output.tokens[: len(said)]
            assert len(said) < 12


def searching(model, constraint):
    ends = frozenset({28})
    yield Beam(model, constraint, width=3, length=6, ends=ends)
    yield SMC(model, temperature(1.0), ByConstraint(constraint, 29), particles=4, length=12, ends=ends)
    yield AWRS(model, temperature(1.0), ByConstraint(constraint, 29))


def test_rows_of_searches_are_their_requests():
    model = MarkovLM.random(vocab=29, seed=0)
    for plain, decoder in zip(
        searching(model, Dying("never")), searching(model, Blamed(Dying("observe"))), strict=True
    ):
        alone, asked = requests(), requests()
        for request in alone:
            turned(plain, [request], 1)
        assert sorted(turned(decoder, asked, 4)) == [1, 4]
        for place in (0, 2, 3):
            assert asked[place].output.tokens == alone[place].output.tokens


def test_what_raises_in_company_alone_is_everybodys():
    decoder = Autoregressive(MarkovLM.random(vocab=29, seed=0), temperature(1.0), Blamed(Dying("company")))
    with pytest.raises(BadInput, match=Dying.WORDS):
        turned(decoder, requests(), 4)


def test_a_decoder_that_hides_its_state_fails_as_a_whole():
    class Hiding:
        def __init__(self, inner):
            self.inner = inner

        def start(self, prompt_BT, noise):
            return [self.inner.start(prompt_BT, noise)]

        def step(self, state):
            after, step = self.inner.step(state[0])
            return [after], step

    decoder = Hiding(Autoregressive(MarkovLM.random(vocab=29, seed=0), temperature(1.0), Blamed(Dying("adjust"))))
    with pytest.raises(AtFault, match=Dying.WORDS):
        turned(decoder, requests()[1:2], 1)


def test_what_does_not_raise_is_the_constraint_itself():
    prompt_BT, blamed = torch.tensor([[1, 2], [3, 4], [5, 6]]), Blamed(FrequencyPenalty(0.5))
    check_constraint(blamed, prompt_BT, Draft(torch.tensor([[1, 1], [2, 3], [4, 4]])), vocab=29)
    state = blamed.start(prompt_BT)
    assert len(marks_of(state)) == 3
    assert blamed.forced(state, 3).shape == (0, 0)
    decoder = Autoregressive(MarkovLM.random(vocab=29, seed=0), temperature(1.0), blamed)
    assert marks_of(decoder.start(prompt_BT, Noise.of([1, 2, 3]))).isdisjoint(marks_of(state))

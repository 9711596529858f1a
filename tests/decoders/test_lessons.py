"""Lessons while requests go on: the text stays, what is learnt arrives, and nobody waits for it."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.continuous import Continuous, Request
from decant.decoders.lessons import KEPT, Lessons
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.online import Online
from decant.policies.fixed import Fixed
from decant.samplers.temperature import temperature
from decant.testing.laws import check_continuous
from decant.testing.laws.continuous import ASKED
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled

LM = MarkovLM.random(vocab=5, seed=0)


@dataclass(frozen=True)
class Fickle:
    """A tutor whose model is another one after every lesson, and in the end the target."""

    age: int = 0

    @property
    def model(self) -> MarkovLM:
        return LM if self.age > 3 else LM.blurred(seed=self.age)

    def taught(self, *lesson: Any) -> "Fickle":
        return Fickle(self.age + 1)


@dataclass
class Held:
    """An executor whose work is done when the test says so."""

    work: list = field(default_factory=list)

    def submit(self, call, *given):
        future: Future = Future()
        self.work.append(lambda: future.set_result(call(*given)))
        return future

    def do(self) -> None:
        self.work.pop(0)()


@dataclass(frozen=True)
class Counting:
    """Stands for a decoder that learns."""

    learnt: tuple[int, ...] = ()

    def warmed(self, state: int) -> "Counting":
        return Counting((*self.learnt, state))


def online() -> Speculative:
    return Speculative(LM, Online(Fickle()), Coupled(), Fixed(depth=3), temperature(0.8), Unconstrained())


def test_nobody_waits_and_nothing_is_learnt_twice() -> None:
    pool = Held()
    lessons, decoder = Lessons(pool), Counting()  # type: ignore[arg-type]
    decoder = lessons.after(decoder, 1)  # type: ignore[arg-type]
    decoder = lessons.after(decoder, 2)
    assert decoder == Counting()
    pool.do()
    decoder = lessons.latest(decoder)
    assert decoder == Counting((1,))
    assert len(pool.work) == 1, "the next lesson begins where one is over"
    pool.do()
    assert lessons.latest(decoder) == Counting((1, 2))
    assert not pool.work


def test_lessons_that_come_too_fast_are_left_out_the_oldest_first() -> None:
    pool = Held()
    lessons, decoder = Lessons(pool), Counting()  # type: ignore[arg-type]
    for state in range(KEPT + 3):
        decoder = lessons.after(decoder, state)  # type: ignore[arg-type]
    while pool.work:
        pool.do()
        decoder = lessons.latest(decoder)
    assert decoder == Counting((0, *range(3, KEPT + 3)))  # type: ignore[comparison-overlap]


def test_a_lesson_that_fails_is_no_secret() -> None:
    class Broken:
        def warmed(self, state: Any) -> "Broken":
            raise ZeroDivisionError

    pool = ThreadPoolExecutor(1)
    lessons, decoder = Lessons(pool), Broken()
    lessons.after(decoder, 0)  # type: ignore[arg-type]
    pool.shutdown()
    with pytest.raises(ZeroDivisionError):
        lessons.latest(decoder)  # type: ignore[arg-type]


def test_a_draft_that_changes_while_others_run_changes_no_text() -> None:
    check_continuous(online())


def test_a_lesson_on_a_thread_changes_no_text_and_is_learnt() -> None:
    plain = Autoregressive(LM, temperature(0.8), Unconstrained())
    with ThreadPoolExecutor(1) as pool:
        found = []
        for crank in (Continuous(plain, batch=3), Continuous(online(), batch=3, pool=pool)):
            requests = [Request(prompt, seed, Stopping(tokens)) for prompt, seed, tokens in ASKED]
            for request in requests:
                crank.add(request)
            while crank.running or crank.waiting:
                crank.step()
            found.append([request.output.tokens for request in requests])
        assert found[0] == found[1]
        learnt = pool.submit(lambda: None)
        learnt.result()  # lessons before it are over
        with torch.inference_mode():
            assert crank._lessons.latest(crank.decoder).drafter.tutor.age > 0  # type: ignore[attr-defined]

"""What is noted of a round, and what a lesson may not touch."""

from dataclasses import dataclass, field

import torch

from decant.drafters.online import Online
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.testing.markov import MarkovLM
from decant.types import PAD, DraftShape
from decant.verifiers.coupled import Coupled

TARGET = MarkovLM.random(vocab=6, seed=0)
PROMPT_BT = torch.tensor([[0, 1, 2], [3, 5, PAD]])


@dataclass(frozen=True)
class Listening:
    model: MarkovLM = field(default_factory=lambda: TARGET.blurred(seed=1))
    heard: list = field(default_factory=list)

    def taught(self, *lesson):
        self.heard.append(lesson)
        return Listening(self.model)


def rounds(drafter: Online, count: int):
    """The state after some rounds, and for each correction its text and what the target thinks behind it."""
    context, prefill = TARGET.start(PROMPT_BT)
    state, noise = drafter.start(PROMPT_BT, prefill), Noise.of([0, 1])
    wanted = [[], []]
    for _ in range(count):
        draft = drafter.draft(state, DraftShape(2), greedy(), noise, context)
        scores = TARGET.score(context, draft)
        verdict = Coupled().verify(draft, greedy()(scores.logits_BMV).softmax(-1), noise)
        context = TARGET.commit(context, verdict)
        state = drafter.observe(state, draft, verdict, scores)
        noise = noise.advance(verdict.committed_B)
        for request, text_T in enumerate(TARGET.tokens(context)):
            *_, before, last, _ = text_T[text_T != PAD].tolist()
            length = int((text_T != PAD).sum()) - 1
            wanted[request].append((length, TARGET.logits_UVV[before, last].softmax(-1)))
    return state, wanted


def test_a_lesson_is_the_targets_law_behind_what_it_kept() -> None:
    state, wanted = rounds(Online(Listening(), top=3), 4)
    for request, rows in enumerate(wanted):
        for at, (length, law_V) in enumerate(rows):
            assert int(state.lessons.at_BP[request, at]) == length
            probs_K, ids_K = law_V.topk(3)
            assert torch.equal(state.lessons.ids_BPK[request, at], ids_K)
            torch.testing.assert_close(state.lessons.probs_BPK[request, at], probs_K)


def test_only_the_last_lessons_of_a_request_are_kept() -> None:
    everything, _ = rounds(Online(Listening(), lessons=9), 5)
    some, _ = rounds(Online(Listening(), lessons=2), 5)
    assert torch.equal(some.lessons.at_BP, everything.lessons.at_BP[:, -2:])


def test_the_tutor_hears_the_text_and_the_lessons_and_replaces_the_model_of_the_next_request_alone() -> None:
    tutor = Listening()
    drafter = Online(tutor)
    state, _ = rounds(drafter, 3)
    after = drafter.warmed(state)
    ((tokens_BT, at_BP, _, _, seconds),) = tutor.heard
    assert torch.equal(tokens_BT, tutor.model.tokens(state.context))
    assert torch.equal(at_BP, state.lessons.at_BP)
    assert seconds == drafter.seconds
    assert after.tutor is not tutor
    assert drafter.tutor is tutor


def test_lessons_of_requests_that_join_are_padded() -> None:
    long, _ = rounds(Online(Listening()), 3)
    short, _ = rounds(Online(Listening()), 1)
    both = long.join(short)
    assert both.lessons.at_BP.shape == (4, 3)
    assert both.lessons.at_BP[2:, 1:].eq(PAD).all()
    assert torch.equal(both.select(torch.tensor([0])).lessons.at_BP, long.lessons.at_BP[:1])

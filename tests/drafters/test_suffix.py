from collections import Counter
from dataclasses import replace

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.generate import generate
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.suffix import Memory, Suffix
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.protocols import Learner, Stored
from decant.samplers.greedy import greedy
from decant.testing.laws.paths import paths
from decant.testing.markov import MarkovLM
from decant.types import PAD, DraftShape, Scores, Verdict, join_rows, select_rows
from decant.verifiers.coupled import Coupled

LM = MarkovLM.random(vocab=10, seed=0)
NOISE = Noise.of([3])


def started(drafter: Suffix, *texts: list[int]):
    width = max(map(len, texts))
    prompt_BT = torch.tensor([text + [PAD] * (width - len(text)) for text in texts])
    return drafter.start(prompt_BT, LM.start(prompt_BT)[1])


def said(drafter: Suffix, state, shape=DraftShape(16)):  # noqa: B008  (frozen)
    return paths(drafter.draft(state, shape, greedy(), Noise.of([0] * len(state.each.of)), None))


def after(drafter: Suffix, state, *rows: list[int]):
    tokens_BC = torch.tensor(rows)
    nothing = torch.empty(len(rows), 0, dtype=torch.int64)
    return drafter.observe(state, None, Verdict(tokens_BC, nothing), Scores(torch.zeros(len(rows), 1, 9)))


@pytest.mark.parametrize("seed", range(6))
def test_a_tree_counts_what_a_search_of_the_text_counts(seed: int) -> None:
    text = torch.randint(3, (60,), generator=torch.Generator().manual_seed(seed)).tolist()
    drafter = Suffix(longest=2, factor=1.0, nodes=50, floor=0.0, hits=1000)
    (one,) = started(drafter, text).each.of
    trie = drafter._guessed(one.own, one.own.tail(one.end, 2), DraftShape(2))
    behind = [text[at + 2 : at + 4] for at in range(len(text) - 2) if text[at : at + 2] == text[-2:]]
    counts = Counter(tuple(row[:end]) for row in behind for end in range(1, len(row) + 1))
    got = dict(zip(trie.paths(), trie.worth, strict=True))
    assert len(got) == min(2, len(counts)), "a match of 2 guesses 2 nodes"
    assert got == {path: pytest.approx(counts[path] / len(behind)) for path in got}
    assert sorted(got.values(), reverse=True) == pytest.approx(
        sorted((count / len(behind) for count in counts.values()), reverse=True)[:2]
    )


@pytest.mark.parametrize("length", [2, 3, 6])
def test_a_longer_match_guesses_further(length: int) -> None:
    words = [5, 1, 7, 2, 8, 3, 6, 4, 0, 5, 8, 1, 1, 2, 6, 6]
    drafter = Suffix(factor=1.0)
    text = [*words, 9, *words[6 - length : 6]]
    (guessed,) = said(drafter, started(drafter, text))
    assert guessed[-1] == tuple(words[6 : 6 + length])


def test_the_match_that_promises_most_decides() -> None:
    """Twice (1, 2) was followed by 3; once, in the longest match, by 4: a certain guess of three beats two halves."""
    drafter = Suffix(factor=1.0, floor=0.0)
    text = [1, 2, 3, 0, 1, 2, 3, 8, 7, 1, 2, 4, 5, 6, 0, 7, 1, 2]
    (guessed,) = said(drafter, started(drafter, text))
    assert guessed == [(4,), (4, 5), (4, 5, 6)]


def test_unlikely_paths_are_left_out() -> None:
    text = [1, 2, 3] * 8 + [1, 2, 4, 1, 2]
    rare = {floor: said(Suffix(floor=floor), started(Suffix(), text), DraftShape(1))[0] for floor in (0.0, 0.2)}
    assert rare == {0.0: [(3,), (4,)], 0.2: [(3,)]}


def test_nothing_is_guessed_without_a_match() -> None:
    assert said(Suffix(), started(Suffix(), [1, 2, 3, 4], [5], [1, 1])) == [[], [], []]


def test_outputs_serve_other_requests_and_prompts_do_not() -> None:
    drafter = Suffix()
    state = started(drafter, [1, 2], [6, 7])
    state = after(drafter, state, [3, 4, 5], [8, 1, 2])
    assert said(drafter, state)[1] == [(3,), (3, 4), (3, 4, 5)], "1, 2 is how the other's prompt ended"
    quiet = started(drafter, [1, 2, 3, 4, 5], [1, 2])
    assert said(drafter, quiet)[1] == []


def test_what_is_said_later_does_not_change_a_memory() -> None:
    first, end = Memory().told([1, 2])
    second, later = first.told([3, 1, 2], end)
    third, _ = second.told([9], later)
    fork, branch = first.told([7, 1, 2], end)
    assert first.matches([2, 1], 9) == [], "the end itself is followed by nothing"
    assert second.matches([2, 1], 9) == [(2, 1)]
    assert [fork.rows([place], 2).tolist() for _, place in fork.matches([2, 1], 9)] == [[[7, 1]]]
    assert [place for _, place in third.matches([2, 1], 9)] == [4, 1]
    assert fork.tail(branch, 9) == [2, 1, 7, 2, 1]
    assert second.tail(later, 9) == [2, 1, 3, 2, 1]
    assert third.rows([4, 1], 3).tolist() == [[9, PAD, PAD], [3, 1, 2]]


def test_interleaved_texts_stay_apart() -> None:
    memory, one = Memory().told([1, 2])
    memory, two = memory.told([5, 6])
    memory, one = memory.told([3], one)
    memory, two = memory.told([7], two)
    assert memory.tail(one, 9) == [3, 2, 1]
    assert memory.tail(two, 9) == [7, 6, 5]
    assert memory.rows([0], 4).tolist() == [[2, 3, PAD, PAD]]


def test_only_the_latest_outputs_are_remembered() -> None:
    drafter = Suffix(room=8)
    state = started(drafter, [1, 2])
    for token in range(40):
        state = after(drafter, state, [token % 5, token % 7])
        assert state.all.now <= 17
        (one,) = state.each.of
        assert state.all.tail(one.place, 3) == one.own.tail(one.end, 3)
    assert state.all.now >= 8


def test_requests_that_join_bring_what_they_wrote_once() -> None:
    drafter = Suffix()
    here, there = started(drafter, [1, 2]), started(drafter, [5, 6])
    here, there = after(drafter, here, [3, 4]), after(drafter, there, [7, 8])
    both = join_rows(here, there)
    assert both.all.now == here.all.now + there.all.now
    both = after(drafter, both, [0, 0], [5, 6])
    assert [both.all.tail(one.place, 3) for one in both.each.of] == [[0, 0, 4], [6, 5, 8]]
    assert said(drafter, both)[1] == [(7,), (7, 8), (7, 8, 5), (7, 8, 5, 6)]
    apart = [select_rows(both, torch.tensor([row])) for row in (0, 1)]
    assert join_rows(*apart).all.now == both.all.now


def test_a_second_request_starts_from_what_the_first_wrote() -> None:
    assert isinstance(Suffix(), Learner)
    decoder = Speculative(LM, Suffix(), Coupled(), Fixed(depth=6), greedy(), Unconstrained())
    prompt_BT, stopping = torch.tensor([[0, 1]]), [Stopping(30)]
    first = generate(decoder, prompt_BT, NOISE, stopping)
    second = generate(decoder.warmed(first.state), prompt_BT, NOISE, stopping)
    assert second.outputs[0].tokens == first.outputs[0].tokens
    assert second.steps < first.steps < 30


def test_what_is_stored_comes_back() -> None:
    drafter = Suffix()
    assert isinstance(drafter, Stored)
    state = after(drafter, started(drafter, [1, 2], [6, 7]), [3, 4, 5], [8, 1, 2])
    back = drafter.restored(drafter.stored(state, 1 << 20))
    assert back.learnt is not None
    assert said(back, started(back, [0, 3, 4]))[0] == [(5,)]
    few = drafter.stored(state, 3 * 8)
    assert few["tokens"].tolist() == [8, 1, 2]
    assert few["before"].tolist() == [PAD, 0, 1]
    for wrong in ({"tokens": few["tokens"]}, {**few, "before": torch.tensor([5, 0, 1])}):
        with pytest.raises(BadInput, match="these are not stored outputs of suffix; start with an empty store"):
            drafter.restored(wrong)
    assert replace(drafter, learnt=None).restored({}).learnt is not None


def test_messages() -> None:
    with pytest.raises(BadInput, match=r"suffix needs longest >= 2, .* got longest 1, factor 2, nodes 16, hits 64"):
        Suffix(longest=1)

from collections import Counter

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.generate import generate
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.aded import FOLD, HEAVIEST, RECENT, STEP, SUCCESSORS, Aded, AdedState, Trigrams, _Search
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.protocols import Learner, Stored
from decant.samplers.greedy import greedy
from decant.testing.laws.paths import paths
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Scores, Verdict
from decant.verifiers.coupled import Coupled

LM = MarkovLM.random(vocab=9, seed=0)
NOISE = Noise.of([3])
PHRASE = [4, 7, 1, 8, 2]


def state_of(trigrams: Trigrams, first: int, second: int) -> AdedState:
    return AdedState(torch.tensor([[PAD] * (RECENT - 2) + [first, second]]), trigrams)


def test_a_phrase_that_was_often_said_is_the_most_visited_path() -> None:
    prompt_BT = torch.tensor([PHRASE * 10 + [4, 3, 0, 7, 4, 7]])
    drafter = Aded()
    state = drafter.start(prompt_BT, LM.start(prompt_BT)[1])
    (said,) = paths(drafter.draft(state, DraftShape(4), greedy(), NOISE, None))
    assert said[:2] == [(1,), (1, 8)]
    assert (1, 8, 2, 4) in said


def test_the_tree_keeps_its_bounds() -> None:
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(4, (400,), generator=generator).tolist()
    table = Trigrams().taught([text], 1000)
    for nodes in (5, 64):
        draft = Aded(nodes=nodes, length=3).draft(state_of(table, 1, 2), DraftShape(9), greedy(), NOISE, None)
        assert 3 < draft.tokens_BN.shape[1] <= nodes
        (said,) = paths(draft)
        assert max(map(len, said)) <= 4, "a path, and one token behind it"
        assert len(set(said)) == len(said)


def walked(table: Trigrams, iterations: int = 300) -> dict[tuple[int, ...], int]:
    search = _Search(table, 2).walked(iterations, (0, 1), iter([0.5] * 2 * iterations))
    return {search._path(node): search.visits[node] for node in range(1, len(search.pairs))}


def test_a_path_is_worth_its_own_trigrams() -> None:
    """The planted bug is the released one: with rewards under the token before, equal first steps are walked equally
    often whatever follows them. (1, 3) is followed by what is heavy, (1, 2) by what is light."""
    light = Trigrams({(0, 1): ((2, 0.05), (3, 0.05)), (1, 2): ((5, 0.04),), (1, 3): ((5, 3.0),)})
    constant = Trigrams({(0, 1): ((2, 0.05), (3, 0.05)), (1, 2): ((5, 1.0),), (1, 3): ((5, 1.0),)})
    visits, equal = walked(light), walked(constant)
    assert visits[(3,)] > 1.2 * visits[(2,)]
    assert abs(equal[(3,)] - equal[(2,)]) <= 1


def test_every_walk_is_counted() -> None:
    visits = walked(Trigrams({(0, 1): ((2, 1.0), (3, 0.5)), (1, 2): ((5, 1.0), (6, 0.2))}), 100)
    assert visits[(2,)] + visits[(3,)] == 99, "the first walk ends at the root"
    assert visits[(2,)] > visits[(3,)] > 0
    assert visits[(2, 5)] + visits[(2, 6)] == visits[(2,)] - 1


def test_roll_outs_go_by_weight() -> None:
    table = Trigrams({(0, 1): ((2, 3.0), (3, 1.0))})
    chances = [(at + 0.5) / 100 for at in range(100)]
    gained = [_Search(table, 1).walked(0, (0, 1), iter([]))._rolled_out(0, iter([chance])) for chance in chances]
    assert Counter(gained) == {3.0: 75, 1.0: 25}


def test_weights_grow_in_steps_up_to_a_bound() -> None:
    table = Trigrams()
    for times in range(1, 90):
        before, table = table, table.taught([[1, 2, 3]], 10)
        assert table.after((1, 2))[0][1] == pytest.approx(min(STEP * times, HEAVIEST))
        assert before.after((1, 2)) != table.after((1, 2)) or times * STEP > HEAVIEST, "the old table is as it was"


def test_the_lightest_makes_room() -> None:
    table = Trigrams().taught([[1, 2, token] for token in range(SUCCESSORS)] * 2, 10)
    row = table.taught([[1, 2, 99]], 10).after((1, 2))
    assert len(row) == SUCCESSORS
    assert row[-1] == (99, STEP)


def test_the_pairs_touched_last_stay() -> None:
    texts = [[token, token + 1, 0] for token in range(FOLD)]
    table = Trigrams().taught(texts, 100)
    assert not table.new
    assert len(table.old) == 100
    assert table.after((FOLD - 1, FOLD))
    assert not table.after((0, 1))
    again = table.taught([[FOLD - 90, FOLD - 89, 7], [1, 2, 3]], 100).folded(2)
    assert set(again.old) == {(FOLD - 90, FOLD - 89), (1, 2)}


def test_newcomers_add_to_the_table() -> None:
    old = Trigrams({(1, 2): ((3, 1.0),)})
    mine, theirs = Trigrams(old.old).taught([[1, 2, 3]], 9), Trigrams(old.old).taught([[1, 2, 4], [5, 6, 7]], 9)
    joined = mine.join(theirs)
    assert joined.after((1, 2)) == ((3, 1.04), (4, 0.04))
    assert joined.after((5, 6)) == ((7, 0.04),)
    assert mine.join(mine).new == mine.new
    assert mine.join(Trigrams({(8, 8): ((1, 1.0),)})).after((8, 8)) == ((1, 1.0),)


def test_a_step_teaches_the_last_tokens() -> None:
    drafter = Aded()
    state = state_of(Trigrams(), 1, 2)
    verdict = Verdict.of_chain(torch.tensor([[3, 4]]), torch.tensor([1]), torch.tensor([5]))
    after = drafter.observe(state, Draft(torch.tensor([[3, 4]])), verdict, Scores(torch.zeros(1, 3, 9)))
    assert after.recent_BR[0, -4:].tolist() == [1, 2, 3, 5]
    assert set(after.trigrams.new) == {(1, 2), (2, 3)}
    assert not state.trigrams.new


def test_a_second_request_starts_from_what_the_first_taught() -> None:
    assert isinstance(Aded(), Learner)
    decoder = Speculative(LM, Aded(iterations=40), Coupled(), Fixed(depth=4), greedy(), Unconstrained())
    prompt_BT, stopping = torch.tensor([[0, 1]]), [Stopping(40)]
    first = generate(decoder, prompt_BT, NOISE, stopping)
    second = generate(decoder.warmed(first.state), prompt_BT, NOISE, stopping)
    assert second.outputs[0].tokens == first.outputs[0].tokens
    assert second.steps < first.steps < 40


def test_what_is_stored_comes_back() -> None:
    drafter = Aded()
    assert isinstance(drafter, Stored)
    state = state_of(Trigrams().taught([PHRASE * 3, [1, 2, 3], [1, 2, 4]], 100), 1, 2)
    back = drafter.restored(drafter.stored(state, 1 << 20)).learnt
    assert back is not None
    assert {pair: [c for c, _ in row] for pair, row in back.old.items()} == {
        pair: [c for c, _ in row] for pair, row in state.trigrams.new.items()
    }
    assert back.after((4, 7))[0][1] == pytest.approx(3 * STEP)
    few = drafter.stored(state, 2 * (8 + 8 * SUCCESSORS))
    assert few["pairs"].tolist() == [list(pair) for pair in list(state.trigrams.new)[-2:]]
    assert sum(part.nbytes for part in few.values()) <= 2 * (8 + 8 * SUCCESSORS)
    assert drafter.restored(drafter.stored(state, 0)).learnt is not None
    for wrong in ({}, {**few, "weights": few["weights"][:1]}):
        with pytest.raises(BadInput, match="these are not stored trigrams of aded; start with an empty store"):
            drafter.restored(wrong)


def test_messages() -> None:
    with pytest.raises(
        BadInput, match="aded needs iterations, length, prefixes, nodes and pairs >= 1, got iterations 0"
    ):
        Aded(iterations=0)

from dataclasses import dataclass

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import generate
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.draft_model import DraftModel
from decant.drafters.eagle import Eagle
from decant.drafters.fused import Fused
from decant.drafters.jacobi import Jacobi
from decant.drafters.medusa import Medusa
from decant.drafters.suffix import Suffix
from decant.drafters.token_recycling import TokenRecycling
from decant.drafting.tries import Trie, laid_out
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.protocols import Foresees, Learner
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws.paths import paths
from decant.testing.markov import MarkovLM
from decant.types import DraftShape, Taps, Verdict
from decant.verifiers.coupled import Coupled
from tests.drafters.heads import toy
from tests.drafters.tiny import llama

LM = MarkovLM.random(vocab=12, seed=0)
SMALL = LM.blurred(seed=1)
PROMPT = torch.tensor([[3, 1, 4, 3, 1], [2, 7, 1, 2, 7]])
NOISE = Noise.of([5, 6])


@dataclass(frozen=True)
class Says:
    """A retriever of these paths, whatever the text."""

    said: tuple[tuple[int, ...], ...]
    taps = Taps()

    def start(self, prompt_BT, prefill):
        return prompt_BT

    def draft(self, state, shape, warp, noise, context):
        trie = Trie.of_paths((path, float(-rank)) for rank, path in enumerate(self.said)).cut(shape, 99)
        return laid_out([trie] * len(state), state.device)

    def observe(self, state, draft, verdict, scores):
        return state


def drafted(drafter, shape=DraftShape(3), warp=greedy()):  # noqa: B008  (frozen)
    context, prefill = LM.start(PROMPT, drafter.taps)
    return drafter.draft(drafter.start(PROMPT, prefill), shape, warp, NOISE, context)


def own_paths(shape=DraftShape(3), warp=greedy()):  # noqa: B008  (frozen)
    return paths(drafted(DraftModel(SMALL), shape, warp))


def test_found_paths_join_the_tree_once() -> None:
    mine = own_paths()
    first, second, third = mine[0][-1]
    found = ((first, second, 11), (first, 10), (9, 8), (first, second, third))
    draft = drafted(Fused(Says(found), DraftModel(SMALL), top=0))
    for request, row in enumerate(paths(draft)):
        assert row[:3] == mine[request], "the drafter's nodes come first, as it numbers them"
        assert len(set(row)) == len(row), "no sibling twice"
        assert set(row) == {path[:end] for path in (*found, *mine[request]) for end in range(1, len(path) + 1)}
    assert draft.siblings == "fixed"
    assert draft.laws_BMV is None


def test_branches_that_the_drafter_does_not_expect_are_pruned() -> None:
    context, _ = SMALL.start(PROMPT)
    drafter = DraftModel(SMALL)
    logits_BV = drafter.foreseen(context, DraftShape(3))
    best = logits_BV.argsort(-1, descending=True)[:, :4].tolist()
    found = tuple((token, 0) for token in range(12))
    for request, row in enumerate(paths(drafted(Fused(Says(found), drafter, top=4, nodes=99)))):
        assert {path[0] for path in row} == set(best[request])
    assert {path[0] for path in paths(drafted(Fused(Says(found), drafter, top=0, nodes=99)))[0]} == set(range(12))


def test_a_drafter_that_cannot_say_prunes_nothing() -> None:
    assert isinstance(DraftModel(SMALL), Foresees)
    assert not isinstance(Jacobi(), Foresees)
    assert (11, 10) in paths(drafted(Fused(Says(((11, 10),)), Jacobi(), top=1)))[0]


def test_nothing_found_is_the_drafter_alone() -> None:
    for shape in (DraftShape(3), DraftShape(2, width=2)):
        assert paths(drafted(Fused(Says(()), DraftModel(SMALL)), shape)) == own_paths(shape)


@pytest.mark.parametrize("budget", [0, 1, 2, 5, 8])
def test_the_first_found_are_kept_within_the_bounds(budget: int) -> None:
    said = {path[0] for row in own_paths() for path in row}
    one, two, *_ = (token for token in range(12) if token not in said)
    found = ((one, 10, 9), (two, 7, 6))
    draft = drafted(Fused(Says(found), DraftModel(SMALL), top=0, nodes=4), DraftShape(3, budget=budget))
    assert draft.tokens_BN.shape[1] <= budget
    wide = paths(drafted(Fused(Says(found), DraftModel(SMALL), top=0, nodes=4)))[0]
    assert wide[3:] == [(one,), (one, 10), (one, 10, 9), (two,)]


def decoder(target, drafter, policy, warp) -> Speculative:
    return Speculative(target, drafter, Coupled(), policy, warp, Unconstrained())


@pytest.mark.parametrize("warp", [greedy(), temperature(0.8)], ids=["greedy", "T=0.8"])
@pytest.mark.parametrize("policy", [Fixed(depth=4), Fixed(depth=3, width=2)], ids=repr)
def test_a_perfect_draft_stays_perfect(policy, warp) -> None:
    """The drafter has a cache of its own: nodes numbered wrongly, or kept where it never scored them, would spoil what
    it guesses next. The retriever offers the same first tokens and others."""
    model = llama()
    found = tuple((token, (token + 1) % 61) for token in range(61))
    loop = decoder(model, Fused(Says(found), DraftModel(model), top=3, nodes=8), policy, warp)
    plain = generate(Autoregressive(model, warp, Unconstrained()), PROMPT, NOISE, [Stopping(40)] * 2)
    last = generate(loop, PROMPT, NOISE, [Stopping(40)] * 2)
    assert [o.tokens for o in last.outputs] == [o.tokens for o in plain.outputs]
    assert last.steps == 40 // (policy.depth + 1)


@pytest.mark.parametrize("policy", [Fixed(depth=4), Fixed(depth=4, width=2, budget=12)], ids=repr)
def test_what_was_accepted_beside_the_drafter_is_news_to_it(policy) -> None:
    """A drafter that is mostly wrong, and a retriever that is mostly right: the drafter must still follow the text."""
    model, warp = llama(), greedy()
    plain = generate(Autoregressive(model, warp, Unconstrained()), PROMPT[:1], Noise.of([5]), [Stopping(40)])
    want = plain.outputs[0].tokens
    suffix = Suffix()
    taught = suffix.restored({"tokens": torch.tensor(want), "before": torch.arange(len(want)) - 1})
    for other in (DraftModel(llama(seed=1)), Jacobi(), TokenRecycling()):
        last = generate(
            decoder(model, Fused(taught, other, top=0), policy, warp), PROMPT[:1], Noise.of([5]), [Stopping(40)]
        )
        assert last.outputs[0].tokens == want
        assert last.steps < 20


@pytest.mark.parametrize("drafter", [Eagle(toy("eagle", 12)), Medusa(toy("medusa", 12))], ids=["eagle", "medusa"])
def test_a_head_reads_the_targets_states_of_what_was_accepted_beside_it(drafter) -> None:
    """It is where it would be had it read the whole text afresh."""
    prompt_BT, noise = PROMPT[:1], Noise.of([5])
    context, prefill = LM.start(prompt_BT, drafter.taps)
    mine = drafter.draft(drafter.start(prompt_BT, prefill), DraftShape(2), greedy(), noise, context)
    fused = Fused(Says((((int(mine.tokens_BN[0, 0]) + 1) % 12, 4, 6),)), drafter, top=0)
    state = fused.start(prompt_BT, prefill)
    draft = fused.draft(state, DraftShape(3), greedy(), noise, context)
    own = draft.tokens_BN.shape[1] - 3
    verdict = Verdict.of_path(draft.tokens_BN, torch.tensor([[own, own + 1, own + 2]]), torch.tensor([7]))
    after = fused.observe(state, draft, verdict, LM.score(context, draft)).drawn
    text_BT = torch.cat([prompt_BT, verdict.tokens_BC], dim=1)
    fresh = drafter.start(text_BT, LM.start(text_BT, drafter.taps)[1])
    for one, two in [(after, fresh)] if torch.is_tensor(fresh) else [(after.last_BD, fresh.last_BD)]:
        torch.testing.assert_close(one, two)


def test_what_either_learns_is_kept() -> None:
    drafter = Fused(Suffix(), TokenRecycling())
    assert isinstance(drafter, Learner)
    assert drafter.taps == Taps(top=8)
    _, prefill = LM.start(PROMPT, drafter.taps)
    state = drafter.start(PROMPT, prefill)
    warm = drafter.warmed(state)
    assert warm.retriever.learnt is state.found.all
    assert warm.drafter.learnt is state.drawn.followers
    assert Fused(Says(()), Jacobi()).warmed(state) == Fused(Says(()), Jacobi())
    assert Fused(Suffix(), DraftModel(LM)).cache_bytes([3, 4]) == LM.cache_bytes([3, 4])
    kept = drafter.stored(state, 1 << 20)
    assert kept.keys() == Suffix().stored(state.found, 1 << 20).keys()
    back = drafter.restored(kept)
    assert isinstance(back.retriever, Suffix)
    assert back.retriever.learnt is not None
    assert Fused(Says(()), Jacobi()).stored(state, 1 << 20) == {}
    assert Fused(Says(()), Jacobi()).restored({}) == Fused(Says(()), Jacobi())
    with pytest.raises(BadInput, match="these are not stored outputs of suffix"):
        drafter.restored({"tokens": torch.tensor([3])})


def test_messages() -> None:
    with pytest.raises(BadInput, match="fused needs top >= 0 and nodes >= 1, got top -1, nodes 16"):
        Fused(Suffix(), Jacobi(), top=-1)

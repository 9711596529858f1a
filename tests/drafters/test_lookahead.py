from dataclasses import replace

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.generate import generate
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.lookahead import Lookahead
from decant.drafting.each import Each
from decant.errors import BadInput
from decant.noise import TARGET, Noise
from decant.numerics import depths
from decant.policies.fixed import Fixed
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Verdict
from decant.verifiers.coupled import Coupled
from tests.drafters.tiny import llama

VOCAB = 12
CYCLE = MarkovLM(torch.eye(VOCAB).roll(1, 1).mul(50).expand(VOCAB + 1, -1, -1))  # a is followed by a + 1
LM = MarkovLM.random(vocab=VOCAB, seed=0)
PROMPT = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
NOISE = Noise.of([7])


def decoder(target, drafter, warp=greedy(), policy=Fixed(depth=8)) -> Speculative:  # noqa: B008  (frozen)
    return Speculative(target, drafter, Coupled(), policy, warp, Unconstrained())


def rounds(target, drafter, count: int, warp=greedy()):  # noqa: B008  (frozen)
    """(state before, draft, tokens committed) of some steps."""
    loop = decoder(target, drafter, warp)
    state = loop.start(PROMPT, NOISE)
    for _ in range(count):
        draft = drafter.draft(state.drafting, DraftShape(8), warp, state.noise, state.context)
        before = state
        state, step = loop.step(state)
        yield before, draft, step.tokens_BC[step.tokens_BC != PAD].tolist()


@pytest.mark.parametrize(("window", "ngram"), [(1, 3), (2, 3), (5, 4), (4, 6)])
def test_the_window_is_a_tree_whose_depths_are_its_positions(window: int, ngram: int) -> None:
    drafter = Lookahead(window, ngram)
    *_, (_, draft, _) = rounds(LM, drafter, 3)
    want = [column + row for row in range(ngram - 1) for column in range(window)][1:]
    assert depths(draft.parents_BN)[0, : drafter.probes].tolist() == want
    assert draft.probe_BN[0].tolist() == [node < drafter.probes for node in range(draft.tokens_BN.shape[1])]
    assert (draft.guesses.tokens_BN[:, : drafter.probes] == PAD).all()


def test_the_order_of_guesses_does_not_change_the_windows_logits() -> None:
    drafter, model = Lookahead(3, 4), llama()
    context, prefill = model.start(PROMPT)
    pool = {6: ((1, 2, 3), (4, 5, 6), (1, 7, 8))}
    state = replace(drafter.start(PROMPT, prefill), pools=Each((pool,)))
    other = replace(state, pools=Each(({6: pool[6][::-1]},)))
    window = slice(0, drafter.probes + 1)
    drafts = [drafter.draft(one, DraftShape(8), greedy(), NOISE, context) for one in (state, other)]
    assert not torch.equal(drafts[0].tokens_BN, drafts[1].tokens_BN)
    logits = [model.score(context, draft).logits_BMV[:, window] for draft in drafts]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    # The planted bug: a window that hangs from a guess.
    seen = torch.cat([drafts[0].tokens_BN[:, drafter.probes :], drafts[0].tokens_BN[:, : drafter.probes]], 1)
    wrong = model.score(context, Draft(seen)).logits_BMV[:, -drafter.probes - 1 :]
    assert not torch.allclose(wrong, logits[0], rtol=1e-2, atol=1e-2)


def test_what_is_refined_is_what_the_target_says_next() -> None:
    """A target of one cycle: each pass makes one more row of the window its own, and then every n-gram is one that it
    would say. Only the first token of column 0 is the text's, whatever the window had expected there."""
    drafter = Lookahead(window=4, ngram=4, guesses=3)
    for number, (before, _, _) in enumerate(rounds(CYCLE, drafter, 12)):
        (pool,) = before.drafting.pools.of
        assert bool(pool) == (number >= drafter.ngram), "an n-gram counts once all its rows are the target's"
        for grams in pool.values():
            for gram in grams:
                assert list(gram) == [(gram[0] + i) % VOCAB for i in range(3)]
    told = [(first, gram) for first, grams in pool.items() for gram in grams]
    assert sum(gram[0] == (first + 1) % VOCAB for first, gram in told) > len(told) / 2


def test_guesses_and_the_bonus_are_kept() -> None:
    committed = [len(said) for _, _, said in rounds(CYCLE, Lookahead(window=4, ngram=4), 30)]
    assert max(committed) == 4, "an n-gram of 4 accepts 3 tokens, and the target adds its own"
    assert sum(committed[-8:]) > 20


def test_a_pool_never_holds_more_than_it_may() -> None:
    for guesses in (1, 2):
        sizes = []
        for before, draft, _ in rounds(LM, Lookahead(5, 3, guesses), 40, temperature(1.5)):
            (pool,) = before.drafting.pools.of
            sizes += [len(grams) for grams in pool.values()]
            assert all(len(set(grams)) == len(grams) for grams in pool.values())
            assert draft.tokens_BN.shape[1] <= 9 + 2 * guesses
        assert max(sizes) == guesses


def test_requests_have_pools_of_their_own() -> None:
    loop = decoder(LM, Lookahead(3, 3))
    both = loop.start(PROMPT.expand(2, -1), Noise.of([1, 2]))
    for _ in range(6):
        both, _ = loop.step(both)
    pools = both.drafting.pools.of
    assert pools[0] is not pools[1]


def test_a_budget_without_room_leaves_the_window_out() -> None:
    drafter = Lookahead(3, 3)
    *_, (state, _, _) = rounds(CYCLE, drafter, 12)
    small = drafter.draft(state.drafting, DraftShape(8, budget=drafter.probes - 1), greedy(), state.noise, None)
    assert small.probe_BN is None
    assert 2 <= small.tokens_BN.shape[1] < drafter.probes, "the guesses stay"
    exact = drafter.draft(state.drafting, DraftShape(8, budget=drafter.probes), greedy(), state.noise, None)
    assert exact.tokens_BN.shape[1] == drafter.probes
    assert drafter.draft(state.drafting, DraftShape(0), greedy(), state.noise, None).tokens_BN.shape[1] == 0
    last = generate(decoder(LM, drafter, policy=Fixed(depth=4, budget=3)), PROMPT, NOISE, [Stopping(12)])
    want = generate(decoder(LM, drafter, policy=Fixed(depth=0)), PROMPT, NOISE, [Stopping(12)])
    assert last.outputs[0].tokens == want.outputs[0].tokens


@pytest.mark.parametrize("knobs", [{"window": 0}, {"ngram": 2}, {"guesses": 0}])
def test_messages(knobs: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=r"lookahead needs window >= 1, ngram >= 3 and guesses >= 1, got window \d"):
        Lookahead(**knobs)


def test_the_window_holds_the_targets_own_draws() -> None:
    """A memoryless target at a temperature: whatever stands in front, a node is what the target will draw there."""
    warp, drafter, vocab = temperature(1.5), Lookahead(12, 4), 60
    forgetful = MarkovLM(torch.randn(vocab, generator=torch.Generator().manual_seed(1)).expand(vocab + 1, vocab, -1))
    probs_11V = warp(forgetful.logits_UVV[:1, :1]).softmax(-1)
    ages, lengths, checked = [0] * 12, set(), 0  # rounds that each column has stood where it belongs
    for before, draft, said in rounds(forgetful, drafter, 20, warp):
        depth_BN = depths(draft.parents_BN)[:, : drafter.probes] - 1
        want_BN = before.noise.draw(probs_11V.expand(1, drafter.probes, -1), depth_BN, TARGET)
        right_N = (draft.tokens_BN[:, : drafter.probes] == want_BN)[0].tolist()
        settled = [node for node in range(drafter.probes) if ages[(node + 1) % 12] >= drafter.ngram - 1]
        assert all(right_N[node] for node in settled)
        checked += len(settled)
        lengths.add(len(said))
        behind = len(said) - 1
        ages = [ages[column + behind] + 1 if column + behind < 12 else 0 for column in range(12)]
    assert checked > 100
    assert lengths == {1, 4}, "an n-gram that was found is right to its end, and the target adds a token"


@pytest.mark.parametrize("committed", [1, 2, 3, 6])
def test_the_window_moves_on_by_what_was_committed(committed: int) -> None:
    drafter = Lookahead(window=4, ngram=4)
    context, prefill = LM.start(PROMPT)
    state = drafter.start(PROMPT, prefill)
    draft = drafter.draft(state, DraftShape(8), greedy(), NOISE, context)
    scores = LM.score(context, draft)
    tokens_BC = torch.arange(committed)[None]
    after = drafter.observe(state, draft, Verdict(tokens_BC, torch.full_like(tokens_BC, PAD)), scores)
    columns = [(column + committed - 1) % 4 for column in range(4)]
    shown = torch.cat([PROMPT[:, -1:], draft.tokens_BN[:, : drafter.probes]], 1).view(3, 4)
    assert torch.equal(after.window_BLW[0], shown[:, columns])
    assert after.depth_BW.tolist() == [[column + 2 - committed for column in columns]]
    assert torch.equal(after.logits_BWV[0], scores.logits_BMV[0, 8:12][columns])
    assert after.root_B.tolist() == [committed - 1]

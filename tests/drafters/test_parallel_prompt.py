"""Prompt tokens: which token each of them is about, where they go, and that the text stays the target's."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.parallel_prompt import DEEPER, ParallelPrompt, sparse
from decant.drafting.riding import Foresight, heard, ridden
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.policies.template import Template
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder, check_law
from decant.types import PAD, Draft, DraftShape, Verdict
from decant.verifiers.coupled import Coupled
from decant.verifiers.tree_rejection import TreeRejection
from tests.drafters.foresight import Foreseeing, foreseeing

NOISE = Noise.of([3])
PROMPT = torch.tensor([[0, 1, 2]])


def speculative(target: Foreseeing, drafter: ParallelPrompt, policy=None, verifier=None, warp=None) -> Speculative:
    return Speculative(
        target, drafter, verifier or Coupled(), policy or Fixed(3), warp or greedy(), Unconstrained()
    )  # fmt: skip


def committed(decoder: Speculative, steps: int = 8) -> list[int]:
    state, counts = decoder.start(PROMPT, NOISE), []
    for _ in range(steps):
        state, step = decoder.step(state)
        counts.append(int((step.tokens_BC != PAD).sum()))
    return counts


@pytest.mark.parametrize("copies", [1, 3])
def test_a_target_that_foresees_rightly_fills_every_round(copies):
    target = replace(foreseeing(copies=copies), apart=4.0)
    assert committed(speculative(target, ParallelPrompt(target.riders))) == [1] + [4] * 7


@pytest.mark.parametrize("late", [-1, 1])
def test_guesses_about_the_place_beside_do_not(late):
    target = foreseeing(vocab=12, late=late)
    assert sum(committed(speculative(target, ParallelPrompt(target.riders)))) < 20


def test_only_prompts_behind_the_last_accepted_node_are_heard():
    """Node 0 has two prompts, the root one, node 1 none."""
    riders = foreseeing(depth=2, copies=2).riders
    hung = torch.tensor([[[True, False], [True, True], [False, False]]]).expand(3, -1, -1)
    draft = ridden(Draft(torch.tensor([[1, 2]] * 3)), hung, riders, None)
    rows = {name: row for row, name in enumerate(["root", "0", "1", "r/a1", "r/b1", "0/a1", "0/a2", "0/b1", "0/b2"])}
    assert draft.tokens_BN[0].tolist() == [1, 2, 5, 7, 5, 6, 7, 8]
    assert draft.parents_BN[0].tolist() == [PAD, 0, PAD, PAD, 0, 4, 0, 6]
    logits = torch.arange(9.0)[None, :, None].expand(3, -1, 5)
    verdict = Verdict(
        torch.tensor([[4, PAD, PAD], [1, 4, PAD], [1, 2, 4]]), torch.tensor([[PAD] * 3, [0, PAD, PAD], [0, 1, PAD]])
    )
    after = heard(draft, verdict, logits, riders)
    assert after.known_B.tolist() == [1, 2, 0]
    assert after.logits_BKV[0, 0, 0] == (rows["r/a1"] + rows["r/b1"]) / 2
    assert after.logits_BKV[1, :, 0].tolist() == [(5 + 7) / 2, (6 + 8) / 2]


def test_the_first_draft_holds_prompts_alone_and_the_next_a_tree():
    target = foreseeing(depth=2)
    drafter = ParallelPrompt(target.riders, prompts=4)
    context, prefill = target.start(PROMPT)
    state = drafter.start(PROMPT, prefill)
    first = drafter.draft(state, DraftShape(2, 2), greedy(), NOISE, context)
    assert first.tokens_BN.tolist() == [[5, 6]]
    assert first.probe_BN.all()
    logits = torch.tensor([[[0.0, 2.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 3.0, 0.0]]])
    draft = drafter.draft(Foresight(logits, torch.tensor([2])), DraftShape(2, 2), greedy(), NOISE, context)
    assert draft.guesses.tokens_BN.tolist() == [[1, 2, 3, 0, 3, 0, PAD, PAD, PAD, PAD]]
    # The root, then the two likeliest leaves.
    assert draft.tokens_BN[0, 6:].tolist() == [5, 5, 6, 5]
    assert draft.parents_BN[0, 6:].tolist() == [PAD, 2, 8 - 1, 4]
    chain = drafter.draft(Foresight(logits, torch.tensor([1])), DraftShape(2), greedy(), NOISE, context)
    assert chain.guesses.tokens_BN[0, :1].tolist() == [1]
    assert (chain.guesses.tokens_BN[0, 1:] == PAD).all(), "no deeper than what is known"


def test_a_budget_counts_prompts():
    target = foreseeing()
    state = Foresight(torch.zeros(1, 3, 5), torch.tensor([3]))
    for budget in range(8):
        draft = ParallelPrompt(target.riders).draft(state, DraftShape(3, 2, budget), greedy(), NOISE, None)
        assert draft.tokens_BN.shape[1] <= budget
        assert int(draft.probe_BN.sum()) >= min(3, budget), "the prompts behind one node come before any guess"


def test_prompts_go_where_they_are_worth_most():
    """Against all ways of placing them."""
    parents = torch.tensor([[PAD, PAD, 0, 0, 2]])
    draft, chance = Draft(torch.tensor([[1, 2, 1, 2, 3]]), parents), torch.tensor([[0.6, 0.3, 0.5, 0.2, 0.9]])
    ends = torch.tensor([0.1, 0.6 * 0.3, 0.3, 0.6 * 0.5 * 0.1, 0.6 * 0.2, 0.6 * 0.5 * 0.9])
    for most in range(1, 12):
        hung = sparse(draft, chance, 3, most)[0]
        counts = hung.sum(-1)
        assert (hung == (torch.arange(3) < counts[:, None])).all(), "places of a row are taken from the first on"

        def worth(counts) -> float:
            return sum(float(ends[row]) * sum(DEEPER**k for k in range(int(n))) for row, n in enumerate(counts))

        ways = (way for way in product(range(4), repeat=6) if sum(way) == most)
        assert worth(counts) == pytest.approx(max(map(worth, ways)))


def test_absent_nodes_get_none():
    draft = Draft(torch.tensor([[1, PAD]]))
    assert sparse(draft, torch.tensor([[0.5, 0.0]]), 2, 6)[0].tolist() == [[True] * 2, [True] * 2, [False] * 2]


@pytest.mark.parametrize("warp", [greedy(), temperature(0.8)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("policy", [Fixed(2), Template("3-2-1")], ids=repr)
def test_the_text_is_plain_decoding_s(policy, warp):
    target = foreseeing(copies=2, vocab=6)
    plain = Autoregressive(target.lm, warp, Unconstrained())
    check_decoder(speculative(target, ParallelPrompt(target.riders, prompts=7), policy, warp=warp), plain)


def test_the_law_is_the_target_s_with_guesses_of_its_own():
    target = foreseeing(vocab=4, depth=2)
    drafter = ParallelPrompt(target.riders, coupled=False)
    decoder = speculative(target, drafter, Fixed(2, 2), TreeRejection(), temperature(1.0))
    check_law(decoder, target.lm, temperature(1.0), draws=8_000)


def test_without_prompts_there_is_nothing():
    with pytest.raises(BadInput, match="prompts must be at least 1, not 0"):
        ParallelPrompt(foreseeing().riders, prompts=0)

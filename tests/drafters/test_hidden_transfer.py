"""Pseudo states: all of them behind every node, heard where the round ended, and the text stays the target's."""

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.hidden_transfer import HiddenTransfer
from decant.drafting.riding import Foresight
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.policies.template import Template
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder, check_law
from decant.types import PAD, DraftShape
from decant.verifiers.coupled import Coupled
from decant.verifiers.tree_rejection import TreeRejection
from tests.drafters.foresight import Foreseeing, foreseeing

NOISE = Noise.of([3])


def speculative(target: Foreseeing, policy, verifier, warp) -> Speculative:
    drafter = HiddenTransfer(target.riders, coupled=isinstance(verifier, Coupled))
    return Speculative(target, drafter, verifier, policy, warp, Unconstrained())


@pytest.mark.parametrize(("late", "full"), [(0, True), (-1, False), (1, False)])
def test_only_a_target_that_foresees_rightly_fills_every_round(late, full):
    decoder = speculative(foreseeing(vocab=12, late=late), Fixed(3), Coupled(), greedy())
    state, counts = decoder.start(torch.tensor([[0, 1, 2]]), NOISE), []
    for _ in range(8):
        state, step = decoder.step(state)
        counts.append(int((step.tokens_BC != PAD).sum()))
    assert (counts == [1] + [4] * 7) == full


def test_every_node_that_is_there_has_all_pseudo_states():
    state = Foresight(torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 1]))
    drafter, noise = HiddenTransfer(foreseeing().riders), Noise.of([3, 4])
    draft = drafter.draft(state, DraftShape(3, 2), greedy(), noise, None)
    assert (draft.guesses.tokens_BN[:, :6] != PAD).sum(-1).tolist() == [6, 2], "no deeper than what is known"
    assert (draft.probe_BN & (draft.tokens_BN != PAD)).sum(-1).tolist() == [7 * 3, 3 * 3]
    shallow = drafter.draft(state, DraftShape(2, 2), greedy(), noise, None)
    assert int(shallow.probe_BN[0].sum()) == 7 * 2, "a draft of two levels needs two of them"
    small = drafter.draft(state, DraftShape(3, 2, budget=8), greedy(), noise, None)
    assert small.tokens_BN.shape[1] == 8
    assert small.guesses.tokens_BN.ne(PAD).sum(-1).tolist() == [5, 2]


@pytest.mark.parametrize("warp", [greedy(), temperature(0.8)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("policy", [Fixed(2), Template("3-2-1")], ids=repr)
def test_the_text_is_plain_decoding_s(policy, warp):
    target = foreseeing(vocab=6)
    plain = Autoregressive(target.lm, warp, Unconstrained())
    check_decoder(speculative(target, policy, Coupled(), warp), plain)


def test_the_law_is_the_target_s_with_guesses_of_its_own():
    target, warp = foreseeing(vocab=4, depth=2), temperature(1.0)
    check_law(speculative(target, Fixed(2, 2), TreeRejection(), warp), target.lm, warp, draws=8_000)

"""Trees of every policy on models with a cache: what is numbered wrongly shows in the draft model's next guess."""

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.noise import Noise
from decant.policies.chains import Chains
from decant.policies.dynamic_tree import DynamicTree
from decant.policies.dyspec import DySpec
from decant.policies.sequoia import Sequoia
from decant.policies.stochastic_beam import StochasticBeam
from decant.policies.template import Template
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder
from decant.types import PAD, select_rows
from decant.verifiers.coupled import Coupled
from decant.verifiers.k_seq import KSeq
from decant.verifiers.tree_rejection import TreeRejection
from tests.drafters.tiny import llama

DEPTH = 3
POLICIES = {
    "dynamic-tree": DynamicTree(DEPTH, 3, 12),
    "dyspec": DySpec(16, 0.0, DEPTH),
    "stochastic-beam": StochasticBeam(3, DEPTH),
    "template": Template("3-2-1"),
    "sequoia": Sequoia(12, DEPTH, 3),
    "chains": Chains(3, DEPTH),
}
PROMPT_BT = torch.tensor([[5, 9, 31, 7], [8, 2, PAD, PAD], [40, 41, 42, PAD]])


@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "drawn"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_perfect_draft_is_accepted_to_the_end_of_its_best_path(policy: str, coupled: bool) -> None:
    """At temperature zero the target's own model guesses the target's text, round after round; requests that leave
    change nothing."""
    model = llama()
    verifier = Coupled() if coupled else KSeq() if policy == "chains" else TreeRejection()
    decoder = Speculative(model, DraftModel(model, coupled), verifier, POLICIES[policy], greedy(), Unconstrained())
    state = decoder.start(PROMPT_BT, Noise.of([1, 2, 3]))
    # A law without chance makes every tree of draws the greedy chain; chosen trees may end before their depth.
    whole = policy in {"template", "chains"} or (not coupled and policy != "sequoia")
    for turn in range(6):
        state, step = decoder.step(state)
        committed_B = (step.tokens_BC != PAD).sum(-1)
        assert (committed_B == DEPTH + 1).all() if whole else (committed_B >= 2).all()
        if turn == 2:
            state = select_rows(state, torch.tensor([2, 0]))


@pytest.mark.parametrize("warp", [greedy(), temperature(0.8)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("policy", POLICIES)
def test_coupled_text_is_plain_text(policy: str, warp) -> None:
    target = llama()
    decoder = Speculative(target, DraftModel(llama(1)), Coupled(), POLICIES[policy], warp, Unconstrained())
    prompts = [row_T[row_T != PAD].tolist() for row_T in PROMPT_BT]
    check_decoder(decoder, Autoregressive(target, warp, Unconstrained()), prompts=prompts, max_tokens=16)

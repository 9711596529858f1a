"""Drafters with trained heads: nothing is lost, whatever the head says, and what it reads is the target's."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import linear

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import generate, right_pad
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.eagle import Eagle
from decant.drafters.medusa import Medusa
from decant.models.build import LlamaSpec, save_folder
from decant.models.build import untrained as untrained_llama
from decant.models.heads.folder import ready, untrained
from decant.models.heads.spec import HeadSpec
from decant.models.load import load
from decant.noise import Noise
from decant.policies.dynamic_tree import DynamicTree
from decant.policies.fixed import Fixed
from decant.policies.template import Template
from decant.protocols import Policy
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder, check_law
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection
from decant.verifiers.tree_rejection import TreeRejection
from tests.drafters.heads import toy

TARGET = MarkovLM.random(vocab=5, seed=0)
HEADS = {
    "medusa": Medusa(toy("medusa")),
    "eagle": Eagle(toy("eagle")),
    "eagle, few ids": Eagle(toy("eagle", ids=(0, 2, 3))),
    "eagle3": Eagle(toy("eagle3")),
    "eagle3, few ids": Eagle(toy("eagle3", ids=(1, 4))),
    "glide": Eagle(toy("glide")),
    "glide, few ids": Eagle(toy("glide", ids=(0, 2, 3))),
    "fspad": Eagle(toy("fspad")),
    "falcon": Eagle(toy("falcon")),
    "falcon, few ids": Eagle(toy("falcon", ids=(0, 2, 3))),
    "chimera": Eagle(toy("chimera")),
    "chimera, few ids": Eagle(toy("chimera", ids=(1, 4))),
}
KINDS = [
    ("medusa", Medusa), ("eagle", Eagle), ("eagle3", Eagle), ("glide", Eagle), ("fspad", Eagle), ("falcon", Eagle),
    ("chimera", Eagle),
]  # fmt: skip
POLICIES = {
    "chain": Fixed(3),
    "template": Template("3-2-1"),
    "dynamic": DynamicTree(depth=3, width=3, budget=8),
}
WARPS = {"greedy": greedy(), "sampled": temperature(0.8)}


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("head", HEADS)
def test_nothing_is_lost(head: str, policy: str, warp: str) -> None:
    """Also where the target's likeliest id cannot be guessed at all."""
    decoder = Speculative(TARGET, HEADS[head], Coupled(), POLICIES[policy], WARPS[warp], Unconstrained())
    check_decoder(decoder, Autoregressive(TARGET, WARPS[warp], Unconstrained()), max_tokens=10)


@pytest.mark.parametrize("head", ["eagle", "eagle3, few ids", "glide", "fspad", "falcon", "chimera"])
def test_draws_follow_the_target_under_rejection(head: str) -> None:
    drafter = replace(HEADS[head], coupled=False)
    warp = WARPS["sampled"]
    check_law(Speculative(TARGET, drafter, Rejection(), Fixed(2), warp, Unconstrained()), TARGET, warp)


@pytest.mark.parametrize("head", ["glide, few ids", "fspad", "falcon, few ids", "chimera"])
def test_drawn_trees_follow_the_target(head: str) -> None:
    drafter = replace(HEADS[head], coupled=False)
    warp = WARPS["sampled"]
    check_law(Speculative(TARGET, drafter, TreeRejection(), Template("2-2-1"), warp, Unconstrained()), TARGET, warp)


def lossless(target, drafter, policy: Policy, prompts, tokens: int = 24) -> None:
    warp, stopping = greedy(), [Stopping(tokens)] * len(prompts)
    prompt_BT, noise = right_pad(prompts), Noise.of([0] * len(prompts))
    plain = generate(Autoregressive(target, warp, Unconstrained()), prompt_BT, noise, stopping)
    decoder = Speculative(target, drafter, Coupled(), policy, warp, Unconstrained())
    drafted = generate(decoder, prompt_BT, noise, stopping)
    assert [one.tokens for one in drafted.outputs] == [one.tokens for one in plain.outputs]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("target")
    save_folder(untrained_llama(LlamaSpec(60, 64, 6, 4, 2, 48, head_dim=16), seed=3), folder)
    return load(str(folder), dtype="float32", exact="off").model


def head_of(kind: str, target, ids=None):
    config = target.network.config
    taps = (2, 4, -1) if kind in {"eagle3", "glide"} else (-1,)
    knobs = {"width": 24, "layers": 2} if kind == "glide" else {}
    spec = HeadSpec.beside(kind, "toy", config, taps=taps, draft_vocab=0 if ids is None else len(ids), knobs=knobs)
    net = untrained(spec, ids, seed=1)
    if kind == "glide":
        torch.nn.init.eye_(net.glimpse.weight)  # nothing, at first
    return ready(net, target.network)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("kind", "drafter"), KINDS)
def test_a_llama_says_what_it_says_alone(kind, drafter, policy, target) -> None:
    """T1, requests of different lengths together."""
    lossless(target, drafter(head_of(kind, target)), POLICIES[policy], [[1, 2, 3, 4], [5], list(range(9, 30))])


@pytest.mark.parametrize(("kind", "drafter"), KINDS)
def test_after_any_round_the_head_has_read_the_targets_own_states(kind, drafter, target) -> None:
    """The memory is that of a head that reads the whole text afresh, not of what was made up while drafting."""
    part = drafter(head_of(kind, target))
    prompt_BT = torch.tensor([[1, 2, 3, 4, 5]])
    context, prefill = target.start(prompt_BT, part.taps)
    state, noise = part.start(prompt_BT, prefill), Noise.of([0])
    for accepted in (2, 0, 3):
        draft = part.draft(state, DraftShape(3), greedy(), noise, context)
        scores = target.score(context, draft)
        last_B = torch.tensor([7])
        verdict = Verdict.of_chain(draft.tokens_BN, torch.tensor([accepted]), last_B)
        context, state = target.commit(context, verdict), part.observe(state, draft, verdict, scores)
        text_BT = target.tokens(context)
        _, whole = target.start(text_BT, part.taps)
        fresh = part.start(text_BT, whole)
        pairs = [(state, fresh)]
        if kind != "medusa":
            one, two = (getattr(memory, "text", memory) for memory in (state, fresh))
            assert int(one.length_B) == text_BT.shape[1] - (kind != "glide")
            pairs = [(one.key_BKTW, two.key_BKTW), (one.last_BD, two.last_BD)]
        for one, two in pairs:
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_a_head_that_knows_the_target_is_always_right() -> None:
    """Medusa's first head, told what follows what follows: its guesses all stand; one place off, they fall."""
    cycle = torch.full((6, 5, 5), -9.0)
    cycle[:, torch.arange(5), (torch.arange(5) + 1) % 5] = 9.0
    target = MarkovLM(cycle)
    for ahead, right in ((2, True), (1, False)):
        head = toy("medusa")
        for block in head.net.heads:
            block[0].linear.weight.zero_()
        # A state is the one-hot of its token: a roll of the identity names a token further.
        out = torch.eye(5).roll(ahead, 0) * 9
        head.net.bind(type(head.net.ends)(head.net.ends.table_VD, lambda hidden, out=out: linear(hidden, out)))
        drafter = Medusa(head)
        prompt_BT = torch.tensor([[0, 1, 2]])
        context, prefill = target.start(prompt_BT, drafter.taps)
        draft = drafter.draft(
            drafter.start(prompt_BT, rolled(prefill)), DraftShape(1), greedy(), Noise.of([0]), context
        )
        assert (int(draft.tokens_BN) == 3) == right


def rolled(scores: Scores) -> Scores:
    """The toy's last layer, -1, is rolled back by one; undo that."""
    assert scores.hidden_BMD is not None
    return replace(scores, hidden_BMD=scores.hidden_BMD.roll(1, -1))


def test_medusa_drafts_no_deeper_than_it_has_heads() -> None:
    drafter = HEADS["medusa"]
    state = drafter.start(torch.tensor([[1, 2, PAD]]), Scores(torch.zeros(1, 0, 5), torch.ones(1, 2, 5), layers=(-1,)))
    draft = drafter.draft(state, DraftShape(9), greedy(), Noise.of([0]), None)
    assert draft.tokens_BN.shape == (1, 3)
    assert isinstance(draft, Draft)
    assert drafter.taps == Taps(layers=(-1,))

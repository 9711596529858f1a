import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.generate import generate
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.token_recycling import Followers, RecyclingState, TokenRecycling
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.protocols import Learner
from decant.samplers.greedy import greedy
from decant.testing.laws.paths import paths
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Scores, Verdict
from decant.verifiers.coupled import Coupled

LM = MarkovLM.random(vocab=12, seed=0)
NOISE = Noise.of([0])


def test_its_own_tree_holds_the_likeliest_paths() -> None:
    """A table that knows everything shows the tree whole: every follower of the root is worth a guess."""
    ids_VK = torch.arange(9).repeat(9, 1)
    state = RecyclingState(torch.tensor([0]), Followers(ids_VK[:, :8]))

    def tree(nodes: int, depth: int = 6) -> list[tuple[int, ...]]:
        return paths(TokenRecycling(top=8, nodes=nodes).draft(state, DraftShape(depth), greedy(), NOISE, None))[0]

    assert len(tree(80)) == 80
    assert tree(80)[:8] == [(rank,) for rank in range(8)]
    assert max(map(len, tree(80))) == 6
    assert set(tree(10)) < set(tree(31)) < set(tree(60))
    assert (0, 0, 0, 0) in tree(31)
    assert tree(80, depth=1) == [(rank,) for rank in range(8)]
    assert tree(80, depth=0) == []


def test_a_template_counts_instead_of_its_own_tree() -> None:
    state = RecyclingState(torch.tensor([0]), Followers(torch.arange(9).repeat(9, 1)[:, :3]))
    template = ((2,), (0,), (2, 1), (5,), (0, 0), (2, 1, 0), (0, 3))
    drafter = TokenRecycling(top=3, nodes=1)

    def tree(depth: int, budget: int | None = None) -> list[tuple[int, ...]]:
        shape = DraftShape(depth, budget=budget, template=template)
        return paths(drafter.draft(state, shape, greedy(), NOISE, None))[0]

    assert tree(3) == [(0,), (2,), (0, 0), (2, 1), (2, 1, 0)], "ranks that the table lacks are absent"
    assert tree(2) == [(0,), (2,), (0, 0), (2, 1)]
    assert tree(3, budget=3) == [(0,), (2,), (2, 1)], "the order of a template is the order of worth"


def state_of(rows: dict[int, list[int]], root: int, vocab: int = 6, top: int = 2) -> RecyclingState:
    ids_VK = torch.full((vocab, top), PAD)
    for token, ids in rows.items():
        ids_VK[token, : len(ids)] = torch.tensor(ids)
    return RecyclingState(torch.tensor([root]), Followers(ids_VK))


def test_the_tree_follows_the_table() -> None:
    state = state_of({0: [1, 2], 1: [3], 2: [0, 4]}, root=0)
    draft = TokenRecycling(top=2, nodes=14).draft(state, DraftShape(2), greedy(), NOISE, None)
    assert paths(draft) == [[(1,), (2,), (1, 3), (2, 0), (2, 4)]]
    assert draft.tokens_BN.shape == (1, 5), "absent nodes are left out"


def test_an_unknown_root_guesses_nothing() -> None:
    draft = TokenRecycling(top=2).draft(state_of({1: [2]}, root=0), DraftShape(4), greedy(), NOISE, None)
    assert draft.tokens_BN.shape == (1, 0)


def test_a_node_absent_here_and_present_there_is_padding() -> None:
    state = state_of({0: [1, 2], 3: [4]}, root=0)
    both = RecyclingState(torch.tensor([0, 3]), state.followers)
    draft = TokenRecycling(top=2).draft(both, DraftShape(1), greedy(), Noise.of([0, 0]), None)
    assert draft.tokens_BN.tolist() == [[1, 2], [4, PAD]]


def test_the_prompt_teaches() -> None:
    """Each token's row is the target's best ids at its last occurrence, best first; the root was not read."""
    drafter = TokenRecycling(top=3)
    prompt_BT = torch.tensor([[5, 6, 5, 7], [8, 9, PAD, PAD]])
    _, prefill = LM.start(prompt_BT, drafter.taps)
    ids_VK = drafter.start(prompt_BT, prefill).followers.ids_VK
    assert torch.equal(ids_VK[6], LM.logits_UVV[5, 6].topk(3).indices)
    assert torch.equal(ids_VK[5], LM.logits_UVV[6, 5].topk(3).indices)
    assert torch.equal(ids_VK[8], LM.logits_UVV[LM.vocab, 8].topk(3).indices)
    assert (ids_VK[[0, 7, 9]] == PAD).all()


def test_every_scored_row_teaches_and_the_last_occurrence_counts() -> None:
    drafter = TokenRecycling(top=2)
    state = state_of({}, root=0)
    draft = Draft(torch.tensor([[1, 2, 1, PAD]]), torch.tensor([[PAD, PAD, 1, 0]]))
    logits_BMV = torch.randn(1, 5, 6, generator=torch.Generator().manual_seed(0))
    verdict = Verdict.of_path(draft.tokens_BN, torch.tensor([[1, PAD]]), torch.tensor([4]))
    after = drafter.observe(state, draft, verdict, Scores(logits_BMV))
    best_MK = logits_BMV[0].topk(2).indices
    assert torch.equal(after.followers.ids_VK[[0, 2, 1]], best_MK[[0, 2, 3]])
    assert (after.followers.ids_VK[3:] == PAD).all(), "an absent node teaches nothing"
    assert after.root_B.tolist() == [4]
    assert (state.followers.ids_VK == PAD).all(), "the old state keeps the old table"


def test_newcomers_add_to_the_table() -> None:
    here, there = state_of({0: [1], 1: [2]}, 0).followers, state_of({1: [3], 4: [5]}, 0).followers
    assert here.join(there).ids_VK[:, 0].tolist() == [1, 3, PAD, PAD, 5, PAD]


def test_a_second_request_starts_from_what_the_first_taught() -> None:
    assert isinstance(TokenRecycling(), Learner)
    one_token = MarkovLM(LM.logits_UVV[:1].expand_as(LM.logits_UVV))  # a token alone says what follows it
    decoder = Speculative(one_token, TokenRecycling(), Coupled(), Fixed(depth=4), greedy(), Unconstrained())
    prompt_BT, stopping = torch.tensor([[0, 1]]), [Stopping(40)]
    first = generate(decoder, prompt_BT, NOISE, stopping)
    second = generate(decoder.warmed(first.state), prompt_BT, NOISE, stopping)
    assert second.outputs[0].tokens == first.outputs[0].tokens
    assert second.steps < first.steps < 40


@pytest.mark.parametrize("knobs", [{"top": 0}, {"nodes": 0}])
def test_messages(knobs: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=r"token-recycling needs top >= 1 and nodes >= 1, got top \d+, nodes \d+"):
        TokenRecycling(**knobs)

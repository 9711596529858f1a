import pytest
import torch

from decant.drafters.draft_model import DraftModel
from decant.errors import IncompatibleParts
from decant.noise import TARGET, Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Scores, Verdict

LM = MarkovLM.random(vocab=6, seed=0)
PROMPT_BT = torch.tensor([[0, 1, 2], [3, PAD, PAD]])
NOISE = Noise.of([1, 2])


def draft(shape: DraftShape, warp=None, coupled: bool = True, model: MarkovLM = LM) -> Draft:
    drafter = DraftModel(model, coupled)
    state = drafter.start(PROMPT_BT, Scores(torch.zeros(2, 0, 6)))
    return drafter.draft(state, shape, warp or temperature(1.0), NOISE, None)


def test_a_chain_is_fixed_when_coupled_and_drawn_when_not() -> None:
    assert draft(DraftShape(3)).siblings == "fixed"
    assert draft(DraftShape(3)).laws_BMV is None
    drawn = draft(DraftShape(3), coupled=False)
    assert drawn.siblings == "independent"
    assert drawn.laws_BMV is not None
    assert drawn.laws_BMV.shape == (2, 3, 6)


def test_a_greedy_chain_is_what_the_model_says() -> None:
    text = [0, 1, 2]
    for token in draft(DraftShape(4), greedy()).tokens_BN[0].tolist():
        assert token == int(LM.logits_UVV[text[-2], text[-1]].argmax())
        text.append(token)


def test_a_tree_is_breadth_first_and_cut_at_the_budget() -> None:
    tree = draft(DraftShape(3, width=2, budget=9))
    assert tree.parents_BN is not None
    assert tree.parents_BN[0].tolist() == [PAD, PAD, 0, 0, 1, 1, 2, 2, 3]
    assert (tree.tokens_BN != PAD).all()


def test_a_tree_of_draws_has_laws_for_its_parents() -> None:
    tree = draft(DraftShape(2, width=2), coupled=False)
    assert tree.siblings == "without_replacement"
    assert tree.laws_BMV is not None
    torch.testing.assert_close(tree.laws_BMV[0].sum(-1), torch.tensor([1.0, 1.0, 1.0] + 4 * [0.0]))


def test_draws_without_replacement_run_out_with_the_law() -> None:
    tree = draft(DraftShape(1, width=4), top_k(2), coupled=False)
    assert (tree.tokens_BN != PAD).tolist() == [[True, True, False, False]] * 2


def test_fixed_branches_are_the_likeliest_where_the_warp_leaves_too_few() -> None:
    """At temperature zero a tree of draws would be a chain; coupled guesses may be any, so the runners-up fill up."""
    tree = draft(DraftShape(1, width=3), greedy())
    assert torch.equal(tree.tokens_BN[0], LM.logits_UVV[1, 2].topk(3).indices)


def test_fill_ups_come_after_what_the_warp_allows() -> None:
    tree = draft(DraftShape(1, width=4), top_k(2))
    best = LM.logits_UVV[1, 2].topk(4).indices.tolist()
    assert set(tree.tokens_BN[0, :2].tolist()) == set(best[:2])
    assert tree.tokens_BN[0, 2:].tolist() == best[2:]


@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "sampled"])
def test_stopping_looks_at_the_law_and_keeps_the_node(warp) -> None:
    """The guess from the first unsure law is kept, whatever it is, and nothing follows it; even under a greedy warp,
    under which every law is certain."""
    tokens_BN = draft(DraftShape(6, stop_below=0.6), warp).tokens_BN
    for prompt_T, tokens in zip(PROMPT_BT, tokens_BN.tolist(), strict=True):
        text = [LM.vocab, *prompt_T[prompt_T != PAD].tolist()]
        sure = True
        for token in tokens:
            assert (token != PAD) == sure
            if sure:
                sure = bool(LM.logits_UVV[text[-2], text[-1]].softmax(-1).max() >= 0.6)
                text.append(token)


def test_nobody_sure_ends_the_draft() -> None:
    flat = MarkovLM(torch.zeros_like(LM.logits_UVV))
    assert draft(DraftShape(6, stop_below=0.5), model=flat).tokens_BN.shape == (2, 1)


def test_a_branch_stops_alone() -> None:
    tree = draft(DraftShape(3, width=2, stop_below=0.6))
    assert tree.parents_BN is not None
    real_BN = tree.tokens_BN != PAD
    for request in range(2):
        for node, parent in enumerate(tree.parents_BN[request].tolist()):
            if real_BN[request, node] and parent != PAD:
                before = tree.parents_BN[request, parent]
                row = int(before) + 1
                state = DraftModel(LM).start(PROMPT_BT, Scores(torch.zeros(2, 0, 6)))
                law_V = LM.score(state, tree).logits_BMV[request, row].softmax(-1)
                assert law_V.max() >= 0.6, "a node with children was drawn from a law that was sure"


def test_the_model_keeps_what_was_committed() -> None:
    drafter = DraftModel(LM)
    state = drafter.start(PROMPT_BT, Scores(torch.zeros(2, 0, 6)))
    guess = drafter.draft(state, DraftShape(2), greedy(), NOISE, None)
    verdict = Verdict.of_chain(guess.tokens_BN, torch.tensor([2, 0]), torch.tensor([4, 5]))
    state = drafter.observe(state, guess, verdict, Scores(torch.zeros(2, 3, 6)))
    texts = [[0, 1, 2, *guess.tokens_BN[0].tolist(), 4], [3, 5, PAD, PAD, PAD, PAD]]
    assert LM.tokens(state).tolist() == texts


def test_a_model_without_trees_is_refused_by_name() -> None:
    with pytest.raises(IncompatibleParts, match="branches, but this MarkovLM draft model cannot score a tree"):
        draft(DraftShape(2, width=2), model=MarkovLM(LM.logits_UVV, trees=False))


def test_the_target_stream_is_what_couples() -> None:
    """DraftModel over the target itself, coupled: its guesses are the target's own draws."""
    warp = temperature(1.0)
    context, _ = LM.start(torch.tensor([[0, 1], [2, 3]]))
    guessed = DraftModel(LM).draft(context, DraftShape(4), warp, NOISE, context)
    probs_BMV = warp(LM.score(context, guessed).logits_BMV).softmax(-1)
    assert torch.equal(NOISE.draw(probs_BMV[:, :4], torch.arange(4).expand(2, -1), TARGET), guessed.tokens_BN)

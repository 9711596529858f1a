import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.stochastic_beam import StochasticBeam, truncated
from decant.samplers.chain import chain
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.chi_square import assert_distributed_as
from decant.testing.laws import check_decoder, check_drafter, check_law
from decant.testing.laws.paths import joint_law, paths
from decant.testing.markov import MarkovLM
from decant.types import Draft, Scores
from decant.verifiers.coupled import Coupled
from decant.verifiers.tree_rejection import TreeRejection

LM = MarkovLM.random(vocab=4, seed=3)
SMALL = LM.blurred(seed=4)
WARP = temperature(1.0)


def drafted(policy: StochasticBeam, draws: int, warp=WARP, coupled: bool = False) -> Draft:
    drafter = DraftModel(SMALL, coupled)
    state = drafter.start(torch.tensor([[0, 1]]).expand(draws, -1), Scores(torch.zeros(draws, 0, 4)))
    noise = Noise(torch.arange(draws), torch.zeros(draws, dtype=torch.int64))
    return drafter.draft(state, policy.shape(None), warp, noise, None)


def test_the_largest_child_has_its_parents_lead_and_the_order_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    lead_XW = torch.randn(50, 6, generator=generator, dtype=torch.float64).mul(9).sort(-1, descending=True).values
    lead_XW[:10, 4:] = -torch.inf
    most_X = torch.randn(50, generator=generator, dtype=torch.float64).mul(9)
    found_XW = truncated(lead_XW, most_X)
    torch.testing.assert_close(found_XW[:, 0], most_X)
    assert (found_XW.diff(dim=-1).nan_to_num(0) <= 0).all()
    assert (found_XW[:10, 4:] == -torch.inf).all(), "what cannot be drawn has no lead"
    most_X1, largest_X1 = most_X[:, None], lead_XW[:, :1]
    plain_XW = -((-most_X1).exp() - (-largest_X1).exp() + (-lead_XW).exp()).log()
    tame_XW = (most_X1.abs() < 5) & (lead_XW.abs() < 5) & (largest_X1.abs() < 5)
    torch.testing.assert_close(found_XW[tame_XW], plain_XW[tame_XW], rtol=1e-6, atol=1e-6)


def test_every_level_holds_the_width_and_siblings_differ() -> None:
    for said in paths(drafted(StochasticBeam(3, 3), 50)):
        assert [sum(len(path) == depth for path in said) for depth in (1, 2, 3)] == [3, 3, 3]
        assert len(set(said)) == 9


def test_the_first_path_is_a_draw_of_the_drafter() -> None:
    """The best lead of the last level belongs to a path drawn from the drafter's own law; the second best, to one drawn
    from what is left."""
    draws = 20_000
    last = [[path for path in said if len(path) == 2] for said in paths(drafted(StochasticBeam(3, 2), draws))]
    law_P = joint_law(SMALL, WARP, torch.tensor([[0, 1]]), 2)
    best_R, second_R = (torch.tensor([path[at][0] * 4 + path[at][1] for path in last]) for at in (0, 1))
    assert_distributed_as(best_R, law_P, "the best path")
    first = int(best_R.mode().values)
    left_P = law_P.clone()
    left_P[first] = 0.0
    assert_distributed_as(second_R[best_R == first], left_P, "the second path")


def test_without_truncation_the_paths_are_no_draws(monkeypatch) -> None:
    monkeypatch.setattr("decant.policies.stochastic_beam.truncated", lambda lead_XW, most_X: lead_XW)
    with pytest.raises(AssertionError, match="not the law that was promised"):
        test_the_first_path_is_a_draw_of_the_drafter()


@pytest.mark.parametrize("policy", [StochasticBeam(2, 2), StochasticBeam(3, 3), StochasticBeam(6, 2)], ids=repr)
@pytest.mark.parametrize("warp", [WARP, chain(temperature(0.7), top_k(3))], ids=["T=1", "T=0.7, top 3"])
def test_draws_follow_their_law_and_the_text_the_target(policy, warp) -> None:
    drafter = DraftModel(SMALL, coupled=False)
    check_drafter(drafter, LM, warp, policy.shape(None))
    check_law(Speculative(LM, drafter, TreeRejection(), policy, warp, Unconstrained()), LM, warp)


@pytest.mark.parametrize("warp", [greedy(), temperature(0.7)], ids=["greedy", "sampled"])
def test_coupled_text_is_plain_text(warp) -> None:
    decoder = Speculative(LM, DraftModel(SMALL), Coupled(), StochasticBeam(3, 3), warp, Unconstrained())
    check_decoder(decoder, Autoregressive(LM, warp, Unconstrained()), max_tokens=12)


def test_coupled_beams_are_the_likeliest_paths() -> None:
    """At temperature zero: a plain beam search of the drafter's own law."""
    beams: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for _ in range(3):
        new = []
        for logp, path in beams:
            before, last = [0, 1, *path][-2:]
            law_V = SMALL.logits_UVV[before, last].log_softmax(-1).tolist()
            new += [(logp + law_V[token], (*path, token)) for token in range(4)]
        beams = sorted(new, reverse=True)[:2]
    said = paths(drafted(StochasticBeam(2, 3), 1, greedy(), coupled=True))[0]
    assert [path for path in said if len(path) == 3] == [path for _, path in beams]


@pytest.mark.parametrize("knobs", [{"width": 0}, {"depth": -1}])
def test_messages(knobs: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=r"stochastic-beam needs width >= 1 and depth >= 0, got .* plain"):
        StochasticBeam(**knobs)

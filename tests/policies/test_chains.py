import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.drafting.growth import Level
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.chains import Chains
from decant.samplers.temperature import temperature
from decant.testing.chi_square import assert_distributed_as
from decant.testing.laws import check_law
from decant.testing.laws.paths import paths
from decant.testing.markov import MarkovLM
from decant.types import Draft, Scores
from decant.verifiers.k_seq import KSeq

LM = MarkovLM.random(vocab=4, seed=3)
SMALL = LM.blurred(seed=4)
WARP = temperature(1.0)


def drafted(chains: int, depth: int, draws: int) -> Draft:
    drafter, policy = DraftModel(SMALL, coupled=False), Chains(chains, depth)
    state = drafter.start(torch.tensor([[0, 1]]).expand(draws, -1), Scores(torch.zeros(draws, 0, 4)))
    noise = Noise(torch.arange(draws), torch.zeros(draws, dtype=torch.int64))
    return drafter.draft(state, policy.shape(None), WARP, noise, None)


def check_independent(draft: Draft) -> None:
    """Where two chains begin alike, what they say next are two draws of one law."""
    one_R, two_R, next_one_R, next_two_R = draft.tokens_BN[:, :4].T
    assert draft.laws_BMV is not None
    for token in range(4):
        alike_R = (one_R == token) & (two_R == token)
        if alike_R.sum() >= 500:
            law_V = draft.laws_BMV[alike_R][0, 1].double()
            pair_R = next_one_R[alike_R] * 4 + next_two_R[alike_R]
            assert_distributed_as(pair_R, (law_V[:, None] * law_V).flatten(), f"what follows {token} twice")


def test_chains_share_nothing_but_the_root() -> None:
    draft = drafted(3, 2, 1)
    assert draft.siblings == "independent"
    assert [len(path) for path in paths(draft)[0]] == [1, 1, 1, 2, 2, 2]
    assert draft.parents_BN is not None
    assert draft.parents_BN.tolist() == [[-1, -1, -1, 0, 1, 2]]


def test_chains_that_begin_alike_go_on_independently() -> None:
    check_independent(drafted(2, 2, 20_000))


def test_chains_that_share_their_numbers_are_caught(monkeypatch) -> None:
    """Two chains that begin alike would be one, and k-seq would count it twice."""
    monkeypatch.setattr(
        Level, "_drawn_again", lambda level, stream: level.noise.draw(level.law_BLV, level.depth_BL, stream)
    )
    with pytest.raises(AssertionError, match="not the law that was promised"):
        check_independent(drafted(2, 2, 20_000))
    decoder = Speculative(LM, DraftModel(SMALL, coupled=False), KSeq(), Chains(3, 2), WARP, Unconstrained())
    with pytest.raises(AssertionError, match="not the law that was promised"):
        check_law(decoder, LM, WARP)


@pytest.mark.parametrize("policy", [Chains(3, 2), Chains(1, 3), Chains(2, 1)], ids=repr)
def test_spectr_follows_the_target(policy) -> None:
    check_law(Speculative(LM, DraftModel(SMALL, coupled=False), KSeq(), policy, WARP, Unconstrained()), LM, WARP)


@pytest.mark.parametrize("knobs", [{"chains": 0}, {"depth": -1}])
def test_messages(knobs: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=r"chains needs chains >= 1 and depth >= 0, got .*take the method plain"):
        Chains(**knobs)

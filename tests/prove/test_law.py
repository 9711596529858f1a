"""The law of two tokens, and draws from it."""

import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.prove.law import EXPECTED, binned, draw_pairs, law_after
from decant.samplers.chain import chain
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.chi_square import chi_square, p_value
from decant.testing.markov import MarkovLM

LM = MarkovLM.random(vocab=14, seed=0)
PLAIN = Autoregressive(LM, chain(temperature(0.9), top_k(10)), Unconstrained())
SAMPLES = 3000


def exact_pairs() -> torch.Tensor:
    """pair_VV by summing over everything, after the text 1, 2."""
    first_V = PLAIN.warp(LM.logits_UVV[1, 2]).softmax(-1)
    return first_V[:, None] * PLAIN.warp(LM.logits_UVV[2]).softmax(-1)


def test_bins_hold_the_exact_law() -> None:
    law = law_after(PLAIN, [1, 2], SAMPLES, "cpu")
    everything_R2 = torch.cartesian_prod(torch.arange(14), torch.arange(14))
    held_S = torch.zeros_like(law.probs_S)
    for pair_2, probability in zip(everything_R2, exact_pairs().flatten().tolist(), strict=True):
        held_S += law.count(pair_2[None]) * probability
    assert torch.allclose(held_S, law.probs_S, atol=1e-6)
    assert law.bins > 20
    assert law.probs_S[-1] == 0
    assert (law.probs_S[:-2] * SAMPLES >= EXPECTED * 0.999).all()


def test_what_cannot_be_said_has_a_bin_of_its_own() -> None:
    law = law_after(PLAIN, [1, 2], SAMPLES, "cpu")
    pairs_VV = exact_pairs()
    never_first = int(pairs_VV.sum(-1).argmin())
    best = int(pairs_VV.sum(-1).argmax())
    never_second = int(pairs_VV[best].argmin())
    assert pairs_VV[never_first].sum() == pairs_VV[best, never_second] == 0
    counts_S = law.count(torch.tensor([[never_first, 0], [best, never_second]]))
    assert counts_S[-1] == 2


def test_a_certain_law_has_one_bin() -> None:
    sure_V = torch.nn.functional.one_hot(torch.tensor(1), 3).double()
    law = binned(sure_V, torch.tensor([1]), sure_V[None], SAMPLES)
    assert law.bins == 1


def test_draws_follow_the_law_and_their_seeds() -> None:
    law = law_after(PLAIN, [1, 2], SAMPLES, "cpu")
    pairs_R2 = torch.cat(list(draw_pairs(PLAIN, [1, 2], SAMPLES, 7, "cpu")))
    assert pairs_R2.shape == (SAMPLES, 2)
    assert p_value(*chi_square(law.count(pairs_R2), law.probs_S)) > 1e-4
    again_R2 = torch.cat(list(draw_pairs(PLAIN, [1, 2], 50, 7, "cpu")))
    assert torch.equal(again_R2, pairs_R2[:50])
    other_R2 = torch.cat(list(draw_pairs(PLAIN, [1, 2], 50, 8, "cpu")))
    assert not torch.equal(again_R2, other_R2)

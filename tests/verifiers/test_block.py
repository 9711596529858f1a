"""Block verification against exact enumeration, and against rejection. The law is in tests/laws."""

from itertools import product

import pytest
import torch

from decant.noise import Noise
from decant.testing.laws import check_verifier
from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import PAD, Draft
from decant.verifiers.block import Block
from decant.verifiers.rejection import Rejection

DRAWS = 40_000
ROOT = torch.tensor([[0, 1]])
NOISE = Noise(torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.int64))


def laws_along(model: MarkovLM, path: tuple[int, ...]) -> list[float]:
    """The probability of each token of the path."""
    logits_MV = model.score(MarkovContext(ROOT), Draft(torch.tensor([path]))).logits_BMV[0].double()
    return [float(logits_MV[row].softmax(-1)[token]) for row, token in enumerate(path)]


def expected_lengths(target: MarkovLM, drafter: MarkovLM, depth: int) -> tuple[float, float]:
    """Accepted guesses by block verification and by rejection, summed over every chain that can be drafted."""
    block = rejection = 0.0
    for length in range(1, depth + 1):
        for path in product(range(target.vocab), repeat=length):
            drawn = joint = alone = 1.0
            for p, q in zip(laws_along(target, path), laws_along(drafter, path), strict=True):
                drawn, joint, alone = drawn * q, min(1.0, joint * p / q), alone * min(1.0, p / q)
            block, rejection = block + drawn * joint, rejection + drawn * alone
    return block, rejection


def drafted(drafter: MarkovLM, depth: int) -> Draft:
    generator, tokens_BN, laws = torch.Generator().manual_seed(7), torch.empty(DRAWS, 0, dtype=torch.int64), []
    for _ in range(depth):
        context = MarkovContext(ROOT.expand(DRAWS, -1))
        laws.append(drafter.score(context, Draft(tokens_BN)).logits_BMV[:, -1].softmax(-1))
        tokens_BN = torch.cat([tokens_BN, torch.multinomial(laws[-1], 1, generator=generator)], 1)
    return Draft(tokens_BN, None, torch.stack(laws, 1), "independent")


def measured(verifier, target: MarkovLM, draft: Draft) -> tuple[float, float]:
    """Accepted guesses on average, and four standard errors of it."""
    context = MarkovContext(ROOT.expand(DRAWS, -1))
    target_BMV = target.score(context, draft).logits_BMV.softmax(-1)
    accepted_B = verifier.verify(draft, target_BMV, NOISE).accepted_B.double()
    return float(accepted_B.mean()), 4 * float(accepted_B.std()) / DRAWS**0.5


def constant(*probs: float) -> MarkovLM:
    return MarkovLM(torch.tensor(probs).log().expand(len(probs) + 1, len(probs), -1))


def test_the_paper_s_example() -> None:
    """Two tokens, laws (1/3, 2/3) and (2/3, 1/3), two guesses: 11/9 accepted tokens instead of 10/9."""
    target, drafter = constant(1 / 3, 2 / 3), constant(2 / 3, 1 / 3)
    assert expected_lengths(target, drafter, 2) == pytest.approx((11 / 9, 10 / 9))
    found, error = measured(Block(), target, drafted(drafter, 2))
    assert found == pytest.approx(11 / 9, abs=error)
    assert error < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_it_accepts_what_enumeration_says_and_never_less_than_rejection(seed: int) -> None:
    target = MarkovLM.random(3, seed, spread=1.0)
    drafter = target.blurred(seed + 10)
    block, rejection = expected_lengths(target, drafter, 3)
    assert block >= rejection
    draft = drafted(drafter, 3)
    for verifier, expected in ((Block(), block), (Rejection(), rejection)):
        found, error = measured(verifier, target, draft)
        assert found == pytest.approx(expected, abs=error)


def test_one_guess_is_accepted_as_often_as_by_rejection() -> None:
    target = MarkovLM.random(4, 0)
    assert expected_lengths(target, target.blurred(1), 1)[0] == pytest.approx(
        expected_lengths(target, target.blurred(1), 1)[1]
    )


def test_fixed_guesses_stand_as_often_as_the_target_says_them() -> None:
    target = MarkovLM.random(3, 1)
    found, error = measured(Block(), target, Draft(torch.tensor([[2, 1]]).expand(DRAWS, -1)))
    first, second = laws_along(target, (2, 1))
    assert found == pytest.approx(first + first * second, abs=error)


def test_the_target_s_own_guesses_all_stand() -> None:
    target = MarkovLM.random(4, 2)
    assert measured(Block(), target, drafted(target, 3))[0] > 2.999


def test_a_token_that_its_law_cannot_draw_ends_the_chain() -> None:
    certain = torch.tensor([1.0, 0.0, 0.0]).expand(DRAWS, 2, -1)
    draft = Draft(torch.ones(DRAWS, 2, dtype=torch.int64), laws_BMV=certain, siblings="independent")
    assert measured(Block(), MarkovLM.random(3, 0), draft)[0] == 0


def test_an_absent_guess_ends_the_chain() -> None:
    draft = Draft(torch.tensor([[0, PAD, 0]]).expand(DRAWS, -1))
    target = constant(1.0, 0.0)
    assert measured(Block(), target, draft)[0] == 1


@pytest.mark.parametrize("mistake", ["w is not capped", "w of rejection"])
def test_the_law_sees_the_classic_mistakes(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def joint(self, p_BN, q_BN):
        ratio_BN = (p_BN / q_BN).where(q_BN > 0, 0)
        each_BN = ratio_BN if mistake == "w is not capped" else ratio_BN.clamp_max(1)
        product_BN = torch.cat([torch.ones_like(p_BN), each_BN], 1)[:, p_BN.shape[1] - 1 :].cumprod(-1)
        return product_BN if p_BN.shape[1] else p_BN.new_ones(len(p_BN), 1)

    monkeypatch.setattr(Block, "_joint", joint)
    with pytest.raises(AssertionError, match="not the law that was promised"):
        check_verifier(Block(), seed=1)  # a pair of models that shows it in 20,000 draws

"""Planted faults are wrong in the way they say, and in no other."""

import torch

from decant.noise import Noise
from decant.prove.faults import Always, Astray, OneTooMany, ResidualFromTarget, Tally
from decant.samplers.greedy import greedy
from decant.testing.chi_square import chi_square, p_value
from decant.types import PAD, Draft, DraftShape, Verdict
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection

WISHED = DraftShape(3)


def certain(*tokens: int) -> torch.Tensor:
    """target_BMV of one request that says `tokens`, whatever the draft."""
    return torch.nn.functional.one_hot(torch.tensor([tokens]), 6).float()


def verify(verifier: object, draft: Draft, target_BMV: torch.Tensor) -> Verdict:
    return verifier.verify(draft, target_BMV, Noise.of([0] * len(draft.tokens_BN)))


def test_one_guess_too_many_is_kept() -> None:
    draft, tally = Draft(torch.tensor([[1, 2, 3]])), Tally()
    right = verify(Coupled(), draft, certain(1, 5, 4, 0))
    wrong = verify(OneTooMany(Coupled(), tally), draft, certain(1, 5, 4, 0))
    assert right.tokens_BC[0].tolist() == [1, 5]
    assert wrong.tokens_BC[0, :3].tolist() == [1, 2, 4]
    assert wrong.nodes_BC[0, :2].tolist() == [0, 1]
    assert wrong.accepted_B.tolist() == [2]
    assert tally.count == 1


def test_one_too_many_in_a_tree_is_a_child_of_the_path() -> None:
    draft = Draft(torch.tensor([[1, 2, 3, 4]]), torch.tensor([[PAD, PAD, 0, 1]]))
    wrong = verify(OneTooMany(Coupled()), draft, certain(2, 0, 5, 0, 3))
    # 2 is node 1; the target then says 5, which is no child of it; node 3, the refused child, is kept.
    assert wrong.nodes_BC[0, :2].tolist() == [1, 3]
    assert wrong.tokens_BC[0, :3].tolist() == [2, 4, 3]


def test_where_nothing_was_refused_nothing_is_planted() -> None:
    tally = Tally()
    draft = Draft(torch.tensor([[1, 2], [PAD, PAD]]))
    target_BMV = torch.cat([certain(1, 2, 3), certain(4, 0, 0)])
    wrong = verify(OneTooMany(Coupled(), tally), draft, target_BMV)
    right = verify(Coupled(), draft, target_BMV)
    assert tally.count == 0
    assert [[t for t in row if t != PAD] for row in wrong.tokens_BC.tolist()] == [[1, 2, 3], [4]]
    assert wrong.accepted_B.tolist() == right.accepted_B.tolist()
    nothing = verify(OneTooMany(Coupled(), tally), Draft.nothing(1), certain(4))
    assert nothing.tokens_BC.tolist() == [[4]]


def test_the_residual_comes_from_the_target() -> None:
    draws = 20_000
    law_V = torch.tensor([0.5, 0.3, 0.2])
    draft = Draft(torch.zeros(draws, 1, dtype=torch.int64))
    target_BMV = law_V.expand(draws, 2, 3)
    noise = Noise.of(list(range(draws)))
    # The guess 0 is kept with its probability; what is drawn after a refusal should not be 0 again, and is.
    faulty_V = torch.tensor([0.75, 0.15, 0.1])
    right = torch.bincount(Rejection().verify(draft, target_BMV, noise).tokens_BC[:, 0], minlength=3)
    wrong = torch.bincount(
        ResidualFromTarget(Rejection()).verify(draft, target_BMV, noise).tokens_BC[:, 0], minlength=3
    )
    assert p_value(*chi_square(right, law_V)) > 1e-6
    assert p_value(*chi_square(wrong, faulty_V)) > 1e-6
    assert p_value(*chi_square(wrong, law_V)) < 1e-6


def test_faults_look_like_what_they_wrap() -> None:
    for fault in (OneTooMany(Rejection()), ResidualFromTarget(Rejection())):
        assert (fault.accepts, fault.trees, fault.seeded) == (Rejection.accepts, Rejection.trees, Rejection.seeded)
        assert not fault.exact


def test_drafters_that_do_not_read() -> None:
    noise = Noise.of([1, 2])
    tokens_BN = Astray(vocab=50).draft(None, WISHED, greedy(), noise, None).tokens_BN
    assert tokens_BN.shape == (2, 3)
    assert 0 <= int(tokens_BN.min()) <= int(tokens_BN.max()) < 50
    assert len(set(tokens_BN.flatten().tolist())) > 2
    assert torch.equal(tokens_BN, Astray(vocab=50).draft(None, WISHED, greedy(), noise, None).tokens_BN)
    assert Always(7).draft(None, WISHED, greedy(), noise, None).tokens_BN.tolist() == [[7], [7]]
    drawn = Always(7, "independent", 9).draft(None, WISHED, greedy(), noise, None)
    assert (drawn.siblings, drawn.laws_BMV.shape, int(drawn.laws_BMV[1, 0].argmax())) == ("independent", (2, 1, 9), 7)

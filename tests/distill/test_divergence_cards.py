"""What each divergence is by its definition: limits, bounds, special cases, examples by hand."""

import math

import pytest
import torch

from decant.distill.divergences.acceptance import Acceptance
from decant.distill.divergences.adaptive_kl import AdaptiveKL
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.divergences.jensen_shannon import JensenShannon
from decant.distill.divergences.rank import Rank
from decant.distill.divergences.reverse_kl import ReverseKL
from decant.distill.divergences.skew_kl import SkewKL
from decant.distill.divergences.sorted_l1 import SortedL1
from decant.distill.divergences.top_k_kl import TopKKL
from decant.distill.divergences.total_variation import TotalVariation
from decant.distill.objectives.dac_kl import DACKL, clipped_kl
from decant.distill.objectives.pointwise import Pointwise
from decant.errors import BadInput
from tests.distill.known import Known, Told, batch_of, noise, study

VOCAB = 11
CLOSE = torch.testing.assert_close


def pair(rows: int = 30, scale: float = 2.0):
    return tuple(noise(rows, VOCAB, seed=seed, scale=scale).log_softmax(-1) for seed in (0, 1))


def law(*probabilities: float):
    return torch.tensor([probabilities], dtype=torch.float64).log()


def slope(divergence, p, q):
    logits = q.detach().requires_grad_()
    return torch.autograd.grad(divergence(p, logits.log_softmax(-1)).sum(), logits)[0]


def test_hot_distillation_is_a_squared_distance_of_logits() -> None:
    batch = batch_of(9, 8, vocab=VOCAB)
    teacher, student = noise(15, VOCAB), noise(15, VOCAB, seed=1)
    told = study(Known(student), Told(teacher.log_softmax(-1)), batch)
    gap_NV = (teacher - teacher.mean(-1, keepdim=True)) - (student - student.mean(-1, keepdim=True))
    limit_N = gap_NV.square().sum(-1) / (2 * VOCAB)
    CLOSE(Pointwise(ForwardKL(), 1e3)(told), limit_N, rtol=1e-2, atol=0)
    with pytest.raises(AssertionError):  # the square of the temperature is what keeps it there
        CLOSE(Pointwise(ForwardKL(), 1e3)(told) / 1e3, limit_N, rtol=1e-2, atol=0)


def test_slopes_of_the_two_kls() -> None:
    p, q = pair()
    CLOSE(slope(ForwardKL(), p, q), q.exp() - p.exp())
    CLOSE(slope(ReverseKL(), p, q), q.exp() * (q - p - ReverseKL()(p, q)[:, None]))


def test_jensen_shannon_is_symmetric_and_bounded() -> None:
    p, q = pair(scale=20.0)
    CLOSE(JensenShannon()(p, q), JensenShannon()(q, p))
    assert JensenShannon()(p, q).max() <= math.log(2)
    CLOSE(JensenShannon()(law(1, 0), law(0, 1)), torch.tensor([math.log(2)]).double())


@pytest.mark.parametrize(("end", "limit"), [(0.0, ForwardKL()), (1.0, ReverseKL())])
def test_jensen_shannon_tends_to_kl_at_both_ends(end, limit) -> None:
    p, q = pair(scale=1.0)
    near = abs(end - 1e-6)
    CLOSE(JensenShannon(near)(p, q) / 1e-6, limit(p, q), rtol=1e-4, atol=0)
    CLOSE(JensenShannon(near, "beta")(p, q), limit(p, q), rtol=1e-4, atol=0)
    CLOSE(JensenShannon(end)(p, q), limit(p, q))
    assert JensenShannon(near)(p, q).max() < 1e-4 * limit(p, q).max()  # the jump that scale takes away


def test_skew_kl_is_bounded_and_ends_at_kl_and_at_nothing() -> None:
    p, q = pair()
    CLOSE(SkewKL(0.0)(p, q), ForwardKL()(p, q))
    CLOSE(SkewKL(0.0, reverse=True)(p, q), ReverseKL()(p, q))
    for reverse in (False, True):
        assert SkewKL(1.0, reverse)(p, q).abs().max() < 1e-12
        apart = SkewKL(0.1, reverse)(law(1, 0), law(0, 1))
        CLOSE(apart, torch.tensor([math.log(10)]).double())  # the bound is reached
        assert SkewKL(0.1, reverse)(*pair(scale=20.0)).max() <= math.log(10)
    CLOSE(SkewKL(0.1, reverse=True)(p, q), SkewKL(0.1)(q, p))


def test_total_variation_is_what_speculation_refuses() -> None:
    p, q = pair()
    CLOSE(TotalVariation()(p, q), 1 - torch.minimum(p.exp(), q.exp()).sum(-1))
    CLOSE(TotalVariation()(law(1, 0), law(0, 1)), torch.tensor([1.0]).double())


def test_acceptance_is_cross_entropy_for_a_certain_teacher() -> None:
    q = pair()[1]
    label_X = torch.arange(30) % VOCAB
    sure = torch.nn.functional.one_hot(label_X, VOCAB).double().log()
    CLOSE(Acceptance("alpha")(sure, q), -q.gather(-1, label_X[:, None])[:, 0])


def test_acceptance_blends_kl_into_total_variation() -> None:
    p, q = pair()
    CLOSE(Acceptance("rate")(p, q), TotalVariation()(p, q))
    CLOSE(Acceptance("lambda", eta=0.0)(p, q), ForwardKL()(p, q))
    CLOSE(Acceptance("lambda", eta=1e6)(p, q), TotalVariation()(p, q))
    chance_X1 = 1 - TotalVariation()(p, q)[:, None]
    CLOSE(slope(Acceptance("alpha"), p, q), slope(TotalVariation(), p, q) / chance_X1)


def test_a_step_against_acceptance_raises_the_chance() -> None:
    p, q = pair()
    for form in ("alpha", "lambda", "rate"):
        better = (q - 1e-3 * slope(Acceptance(form), p, q)).log_softmax(-1)
        assert (TotalVariation()(p, better) < TotalVariation()(p, q)).all()


def test_adaptive_kl_weighs_by_where_the_gap_is() -> None:
    p, q = law(0.4, 0.3, 0.2, 0.1), law(0.1, 0.4, 0.2, 0.3)
    # Gaps 0.3, 0.1, 0, 0.2. Up to a mass of one half only the first is head; at 0.75 the second is, too.
    for mu, head in ((0.5, 0.3 / 0.6), (0.75, 0.4 / 0.6), (0.0, 0.3 / 0.6), (1.0, 1.0)):
        CLOSE(AdaptiveKL(mu).head(p, q), torch.tensor([head]).double())
        blend = head * ForwardKL()(p, q) + (1 - head) * ReverseKL()(p, q)
        CLOSE(AdaptiveKL(mu)(p, q), blend)
    order = torch.tensor([2, 0, 3, 1])
    CLOSE(AdaptiveKL().head(p[:, order], q[:, order]), AdaptiveKL().head(p, q))


def test_top_k_is_reverse_over_all_and_forward_over_none() -> None:
    p, q = pair()
    CLOSE(TopKKL(VOCAB)(p, q), ReverseKL()(p, q))
    CLOSE(TopKKL(0)(p, q), ForwardKL()(p, q))
    CLOSE(TopKKL(3)(p, q) + TopKKL(3, swapped=True)(p, q), ForwardKL()(p, q) + ReverseKL()(p, q))


def test_sorted_l1_does_not_know_names() -> None:
    p, q = pair()
    rng = torch.Generator().manual_seed(0)
    one, other = (torch.randperm(VOCAB, generator=rng) for _ in range(2))
    CLOSE(SortedL1()(p[:, one], q[:, other]), SortedL1()(p, q))
    CLOSE(SortedL1()(law(0.5, 0.3, 0.2), law(0.2, 0.8)), torch.tensor([0.3 + 0.1 + 0.2]).double())
    assert SortedL1()(law(1, 0), torch.zeros(1, 10**4).double().log_softmax(-1)) <= 2


def test_ranking_is_content_with_the_teachers_order() -> None:
    p = law(0.7, 0.2, 0.1)
    assert Rank(k=3, margin=0.5)(p, p) == 0
    ahead = torch.tensor([math.log(1 / 2), math.log(1 / 7), math.log(2 / 7)])  # of q = p turned round, by p's order
    q = law(0.1, 0.2, 0.7)
    CLOSE(Rank(k=3, margin=0.5)(p, q), (0.5 - ahead).mean()[None].double(), rtol=1e-6, atol=0)
    CLOSE(Rank(k=3, form="logistic")(p, q), (-ahead).exp().log1p().mean()[None].double(), rtol=1e-6, atol=0)


def test_clipping_nothing_is_forward_kl() -> None:
    p, q = pair()
    whole = torch.zeros(30).double(), torch.ones(30).double()
    CLOSE(clipped_kl(p, q, *whole), ForwardKL()(p, q))
    CLOSE(clipped_kl(p.float(), q.float(), *(one.float() for one in whole)), ForwardKL()(p, q).float())


def test_clipping_keeps_whole_tokens_and_parts() -> None:
    p, q = law(0.2, 0.5, 0.3), law(0.5, 0.4, 0.1)
    kept_p, kept_q = law(0.5, 0.15), law(0.4, 0.05)  # up to 0.65: all of the likeliest, half of the next
    found = clipped_kl(p, q, torch.zeros(1).double(), torch.tensor([0.65]).double())
    CLOSE(found, ForwardKL()(kept_p.log_softmax(-1), kept_q.log_softmax(-1)))
    assert clipped_kl(p, q, torch.tensor([0.55]).double(), torch.tensor([0.75]).double()).abs() < 1e-12  # one token


def test_clipping_teaches_nothing_about_a_lonely_token() -> None:
    """Why cross-entropy belongs beside it."""
    p, q = law(0.97, 0.02, 0.01), law(0.2, 0.5, 0.3)
    low_X, high_X = torch.tensor([0.01]).double(), torch.tensor([0.96]).double()
    assert slope(lambda p, q: clipped_kl(p, q, low_X, high_X), p, q).abs().max() < 1e-12


def test_bounds_have_gradients() -> None:
    p, q = pair(5)
    low_X, high_X = torch.full((5,), 0.07).double(), torch.full((5,), 0.93).double()
    low_X.requires_grad_()
    high_X.requires_grad_()
    assert torch.autograd.gradcheck(lambda low, high: clipped_kl(p, q, low, high), (low_X, high_X))


def test_bounds_start_wide_and_never_close() -> None:
    p = pair()[0].float()
    bounds = DACKL(top=4, least=0.4).extra(None, None)
    low_X, high_X = bounds(p)
    assert (high_X - low_X > 0.9).all()
    with torch.no_grad():
        bounds.layers[-1].bias.copy_(torch.tensor([50.0, 0.0, -50.0]))
    low_X, high_X = bounds(p)
    assert (high_X - low_X >= 0.4 - 1e-6).all()
    assert torch.equal(DACKL().extra(None, None).layers[0].weight, DACKL().extra(None, None).layers[0].weight)


WRONG = [
    (lambda: JensenShannon(1.5), "between 0 and 1, not 1.5"),
    (lambda: JensenShannon(0.5, "both"), "none or beta, not 'both'"),
    (lambda: SkewKL(-0.1), "between 0 and 1, not -0.1"),
    (lambda: AdaptiveKL(2.0), "between 0 and 1, not 2.0"),
    (lambda: TopKKL(-1), "0 or more, not -1"),
    (lambda: Acceptance("log"), "alpha, lambda or rate, not 'log'"),
    (lambda: Acceptance(eta=-1.0), "at least 0, got -1.0"),
    (lambda: Rank(1), "at least 2 ids, k is 1"),
    (lambda: Rank(form="both"), "hinge or logistic, not 'both'"),
    (lambda: DACKL(least=0.0), "least above 0"),
    (lambda: Pointwise(ForwardKL(), 0.0), "above 0, got 0.0"),
]


@pytest.mark.parametrize(("made", "words"), WRONG)
def test_impossible_knobs_are_refused(made, words) -> None:
    with pytest.raises(BadInput, match=words):
        made()

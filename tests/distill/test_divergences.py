"""Every divergence obeys the laws that it claims, and each law catches a classical mistake.

That adding a constant to a row of logits changes nothing is the softmax's law: `test_objectives_pointwise`.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from decant.distill import divergences
from decant.distill.divergences.acceptance import Acceptance
from decant.distill.divergences.adaptive_kl import AdaptiveKL
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.divergences.jensen_shannon import JensenShannon
from decant.distill.divergences.rank import Rank
from decant.distill.divergences.reverse_kl import ReverseKL
from decant.distill.divergences.skew_kl import SkewKL
from decant.distill.divergences.soft_cross_entropy import SoftCrossEntropy
from decant.distill.divergences.sorted_l1 import SortedL1
from decant.distill.divergences.top_k_kl import TopKKL
from decant.distill.divergences.total_variation import TotalVariation
from decant.distill.objectives.dac_kl import clipped_kl
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.teachers.live import Thought
from decant.models.student import States
from tests.distill.known import Known, batch_of, noise, study

VOCAB, ROWS = 11, 40


@dataclass(frozen=True)
class Clipped:
    """What the objective DACKL takes between bounds that its network chose."""

    zero, flat, dense = True, True, True

    def __call__(self, p, q):
        return clipped_kl(p, q, torch.full_like(p[:, 0], 0.1), torch.full_like(p[:, 0], 0.9))


DIVERGENCES = [
    ForwardKL(),
    ReverseKL(),
    *(JensenShannon(beta) for beta in (0.0, 0.3, 0.5, 1.0)),
    *(JensenShannon(beta, "beta") for beta in (0.1, 0.9)),
    *(SkewKL(lam, reverse) for lam in (0.0, 0.1) for reverse in (False, True)),
    TotalVariation(),
    *(AdaptiveKL(mu) for mu in (0.0, 0.5, 1.0)),
    *(TopKKL(k, swapped) for k in (0, 3) for swapped in (False, True)),
    *(Acceptance(form) for form in ("alpha", "lambda", "rate")),
    SoftCrossEntropy(),
    SortedL1(),
    Rank(k=4),
    Rank(k=4, form="logistic"),
    Clipped(),
]


def laws(seed: int = 0, scale: float = 2.0):
    return noise(ROWS, VOCAB, seed=seed, scale=scale).log_softmax(-1), noise(ROWS, VOCAB, seed=seed + 1, scale=scale)


def slope(divergence, p, logits):
    logits = logits.detach().requires_grad_()
    nats_X = divergence(p, logits.log_softmax(-1))
    return nats_X.detach(), torch.autograd.grad(nats_X.sum(), logits)[0]


def check_zero(divergence) -> None:
    for scale in (0.0, 2.0, 20.0):
        p = laws(scale=scale)[0]
        assert (divergence(p, p).abs().max() < 1e-9) == divergence.zero, f"{divergence} at p == q"


def check_flat(divergence) -> None:
    logits = laws()[1]
    assert (slope(divergence, logits.log_softmax(-1), logits)[1].abs().max() < 1e-9) == divergence.flat, (
        f"{divergence} has a slope at p == q"
    )


def check_not_negative(divergence) -> None:
    for scale in (0.1, 2.0, 20.0):
        p, logits = laws(scale=scale)
        assert divergence(p, logits.log_softmax(-1)).min() > -1e-9


def held(divergence, p, q):
    """What the weights that have no gradient leave to be differentiated."""
    if isinstance(divergence, AdaptiveKL):
        head_X = divergence.head(p, q)
        return lambda p, q: head_X * ForwardKL()(p, q) + (1 - head_X) * ReverseKL()(p, q)
    if divergence == Acceptance("lambda"):
        share_X = (-3 * (1 - TotalVariation()(p, q))).exp()
        return lambda p, q: share_X * ForwardKL()(p, q) + (1 - share_X) * TotalVariation()(p, q)
    return divergence


def check_gradient(divergence) -> None:
    p, logits = laws()
    values_X, found_XV = slope(divergence, p, logits)
    reference = held(divergence, p, logits.log_softmax(-1))
    torch.testing.assert_close(values_X, reference(p, logits.log_softmax(-1)))
    for column in range(VOCAB):
        step_V = 1e-6 * torch.nn.functional.one_hot(torch.tensor(column), VOCAB)
        up_X, down_X = (reference(p, (logits + sign * step_V).log_softmax(-1)) for sign in (1, -1))
        torch.testing.assert_close(found_XV[:, column], (up_X - down_X) / 2e-6, atol=1e-6, rtol=1e-5)


def extremes():
    """Teacher's and student's logits."""
    sure, never = torch.tensor([1e4, -1e4, 0.0, -1e4]), torch.tensor([0.0, 1.0, -torch.inf, -torch.inf])
    other = torch.tensor([-torch.inf, 1.0, -torch.inf, 2.0])
    one_hot, plain = torch.tensor([0.0, *[-torch.inf] * 3]), torch.arange(4.0)
    rows = (sure, sure.flip(0), never, other, one_hot, one_hot.flip(0), plain)
    return torch.stack([row for row in rows for _ in rows]), torch.stack([row for _ in rows for row in rows])


def check_finite(divergence) -> None:
    for kind in (torch.float32, torch.float64):
        teacher, logits = (one.to(kind) for one in extremes())
        values_X, found_XV = slope(divergence, teacher.log_softmax(-1), logits)
        assert values_X.isfinite().all(), f"{divergence}: {values_X}"
        assert found_XV.isfinite().all(), f"{divergence}: {found_XV}"


def check_permutation(divergence) -> None:
    p, logits = laws()
    order_V = torch.randperm(VOCAB, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        divergence(p, logits.log_softmax(-1)), divergence(p[:, order_V], logits[:, order_V].log_softmax(-1))
    )


def check_pads(divergence) -> None:
    p, logits = laws()
    wide, wide_logits = (torch.nn.functional.pad(one, (0, 3), value=-torch.inf) for one in (p, logits))
    values_X, found_XV = slope(divergence, wide, wide_logits)
    torch.testing.assert_close((values_X, found_XV[:, :VOCAB]), slope(divergence, p, logits))
    assert not found_XV[:, VOCAB:].any()


def check_dense(divergence) -> None:
    """What need not know the whole vocabulary does not see that a token is cut into two alike."""
    p, logits = laws()

    def cut(logp_XV):
        halves = torch.tensor([0.5, 0.5]).log().expand(ROWS, 2).to(logp_XV)
        return logp_XV[:, [*range(VOCAB), 0]].index_add(1, torch.tensor([0, VOCAB]), halves)

    whole, parts = slope(divergence, p, logits), slope(lambda p, q: divergence(cut(p), cut(q)), p, logits)
    same = torch.allclose(whole[1], parts[1]) and (torch.allclose(whole[0], parts[0]) or not divergence.zero)
    assert same or divergence.dense, f"{divergence} sees more than the ratio of the laws"


def check_teacher(divergence, thought=Thought, asked=Pointwise) -> None:
    """No gradient reaches the teacher, whatever it would let through."""
    batch = batch_of(4, 3, vocab=VOCAB)
    hidden_ND = noise(5, 3).float().requires_grad_()
    matrix_DV = noise(3, VOCAB, seed=1).float().requires_grad_()
    signal = thought(States(hidden_ND, lambda hidden: hidden @ matrix_DV, VOCAB))
    logits = noise(5, VOCAB, seed=2).float().requires_grad_()
    asked(divergence)(study(Known(logits), signal, batch)).sum().backward()
    assert logits.grad is not None
    assert hidden_ND.grad is None
    assert matrix_DV.grad is None


CHECKS = [check_zero, check_flat, check_not_negative, check_gradient, check_finite, check_permutation, check_pads]
CHECKS += [check_dense, check_teacher]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("divergence", DIVERGENCES, ids=repr)
def test_law(divergence, check) -> None:
    check(divergence)


def test_every_divergence_is_held_to_the_laws() -> None:
    files = {path.stem for path in Path(divergences.__path__[0]).glob("[a-z]*.py")}
    held_to = {type(one).__module__.rpartition(".")[2] for one in DIVERGENCES if type(one) is not Clipped}
    assert files == held_to


def wrong(function, **claims):
    """A divergence that claims what is not so."""

    class Wrong:
        zero, flat, dense = claims.get("zero", True), claims.get("flat", True), claims.get("dense", False)

        def __call__(self, p, q):
            return function(p, q)

    return Wrong()


def sorted_weights(p, q):
    """The head of the sorted law, laid over gaps that are not sorted."""
    head_XV = p.exp().sort(descending=True).values.cumsum(-1) <= 0.5
    gap_XV = (p.exp() - q.exp()).abs().detach()
    head_X = (gap_XV * head_XV).sum(-1) / gap_XV.sum(-1)
    return head_X * ForwardKL()(p, q) + (1 - head_X) * ReverseKL()(p, q)


def split(p, q):
    """Both directions over two parts, without what keeps a part above zero."""
    part = torch.where(p >= p.topk(3).values[:, -1:], q.exp() * (q - p), p.exp() * (p - q))
    return part.sum(-1)


class Leaky:
    """A teacher that forgot no_grad."""

    def __init__(self, states) -> None:
        self.states = states

    def law(self, rows):
        return Thought.law.__wrapped__(self, rows)


MISTAKES = [
    (check_zero, wrong(lambda p, q: -(p.exp() * q).sum(-1)), "at p == q"),  # the teacher's entropy is missing
    (check_zero, wrong(ForwardKL(), zero=False), "at p == q"),  # a claim too few
    (check_flat, wrong(lambda p, q: ForwardKL()((2 * p).log_softmax(-1), q)), "slope"),  # only one side is softened
    (check_not_negative, wrong(split), None),
    (check_gradient, wrong(lambda p, q: (q.exp().detach() * (q - p)).sum(-1)), None),  # half of reverse KL's slope
    (check_gradient, wrong(lambda p, q: ForwardKL()(q, p).detach() + ForwardKL()(p, q)), None),
    (check_finite, wrong(lambda p, q: (p.exp() * (p - q)).sum(-1)), None),  # 0 times infinity
    (check_finite, wrong(lambda p, q: -torch.minimum(p, q).exp().sum(-1).log()), None),
    (check_permutation, wrong(sorted_weights), None),
    (check_pads, wrong(lambda p, q: (p.exp() - q.exp()).abs().mean(-1)), None),  # a mean over the vocabulary
    (check_dense, wrong(SortedL1()), "more than the ratio"),
    (check_dense, wrong(AdaptiveKL()), "more than the ratio"),
]


@pytest.mark.parametrize(("check", "mistake", "words"), MISTAKES)
def test_laws_catch_mistakes(check, mistake, words) -> None:
    with pytest.raises(AssertionError, match=words):
        check(mistake)


@dataclass
class AtOnce:
    """An objective without tiles, out of which nothing but the student's slopes comes."""

    divergence: ForwardKL

    def __call__(self, told):
        every = slice(None)
        return self.divergence(told.signal.law(every).logp_XV, told.student.logp(every))


def test_the_law_of_teachers_catches_a_leak() -> None:
    check_teacher(ForwardKL(), Thought, AtOnce)
    check_teacher(ForwardKL(), Leaky)
    with pytest.raises(AssertionError):
        check_teacher(ForwardKL(), Leaky, AtOnce)

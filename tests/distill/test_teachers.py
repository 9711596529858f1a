"""Teachers out of teachers, and laws of which only the best ids are known."""

import random

import pytest
import torch

from decant.distill.composition import Asked, Composition, Learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.dataset import Dataset
from decant.distill.seams import Coarse, Dense, Study
from decant.distill.teachers.contrastive import Contrastive
from decant.distill.teachers.live import Live
from decant.distill.teachers.several import Several
from decant.distill.texts import Positions, Text, TextBatch, padded
from decant.distill.trainer import Settings, run
from decant.distill.weighting.adaptive_beta import AdaptiveBeta
from decant.errors import BadInput, IncompatibleParts
from decant.models.build import LlamaSpec, untrained
from decant.models.student import States
from decant.models.teacher import Teacher
from decant.numerics import floored, remaining
from decant.types import PAD

VOCAB, ROWS = 24, 9
BATCH = padded([Text.answer(list(range(ROWS + 1)), 1, 0)], 99)
AT = Positions.of(BATCH)


def laws(seed: int, rows: int = ROWS, vocab: int = VOCAB, sharp: float = 2.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(rows, vocab, generator=rng, dtype=torch.float64)).log_softmax(-1)


class Fixed:
    """A teacher, and a signal, whose law is given."""

    gives = frozenset({"law", "dense"})

    def __init__(self, logp_NV: torch.Tensor) -> None:
        self.logp_NV = logp_NV

    def signal(self, batch: TextBatch, at: Positions) -> "Fixed":
        return self

    def law(self, rows: slice) -> Dense:
        return Dense(self.logp_NV[rows])


class Sparse(Fixed):
    gives = frozenset({"law"})


class Pretender(Fixed):
    def law(self, rows: slice) -> Coarse:
        return coarse(self.logp_NV[rows], 3)


def said(teacher, rows: slice = slice(None)) -> torch.Tensor:
    return teacher.signal(BATCH, AT).law(rows).logp_XV


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return ForwardKL()(p, q)


def coarse(logp_XV: torch.Tensor, k: int) -> Coarse:
    logp_XK, ids_XK = logp_XV.topk(k)
    return Coarse(ids_XK, logp_XK, remaining(logp_XK), logp_XV.shape[-1])


# several


@pytest.mark.parametrize("mean", ["probabilities", "logs"])
def test_equal_teachers_are_one_teacher(mean) -> None:
    one = Fixed(laws(0))
    assert torch.allclose(said(Several((one, one, one), (1.0, 5.0, 0.3), mean)), laws(0), atol=1e-12)


def test_means_are_weighted() -> None:
    one, two = laws(0), laws(1)
    both = (Fixed(one), Fixed(two))
    assert torch.allclose(said(Several(both, (3.0, 1.0))).exp(), 0.75 * one.exp() + 0.25 * two.exp(), atol=1e-12)
    geometric = one.exp() ** 0.75 * two.exp() ** 0.25
    found = said(Several(both, (3.0, 1.0), "logs")).exp()
    assert torch.allclose(found, geometric / geometric.sum(-1, keepdim=True), atol=1e-12)
    assert torch.allclose(said(Several(both)).exp(), (one.exp() + two.exp()) / 2, atol=1e-12)
    assert not torch.allclose(said(Several(both, (3.0, 1.0))), said(Several(both)))  # equal shares would be caught


def test_what_one_teacher_excludes() -> None:
    never = laws(0).clone()
    never[:, 3] = -torch.inf
    both = (Fixed(never.log_softmax(-1)), Fixed(laws(1)))
    assert (said(Several(both))[:, 3].exp() > 0).all()
    assert (said(Several(both, mean="logs"))[:, 3].exp() == 0).all()
    assert not said(Several(both, mean="logs")).isnan().any()


def test_ids_that_one_teacher_lacks_are_left_out() -> None:
    found = said(Several((Fixed(laws(0)), Fixed(laws(1, vocab=VOCAB - 4)))), slice(2, 5))
    assert found.shape == (3, VOCAB - 4)
    assert torch.allclose(found.exp().sum(-1), torch.ones(3, dtype=torch.float64))


def test_wrong_teachers_are_refused() -> None:
    one = Fixed(laws(0))
    with pytest.raises(IncompatibleParts, match="Sparse gives law; take live"):
        Several((one, Sparse(laws(0))))
    with pytest.raises(BadInput, match=r"2 teachers need as many shares above 0 or none, not \(1.0,\)"):
        Several((one, one), (1.0,))
    with pytest.raises(BadInput, match="above 0"):
        Several((one, one), (1.0, 0.0))
    with pytest.raises(BadInput, match="at least one"):
        Several(())
    with pytest.raises(BadInput, match="'median'"):
        Several((one,), mean="median")
    with pytest.raises(IncompatibleParts, match="Sparse gives law; take live"):
        Contrastive(one, Sparse(laws(0)))
    with pytest.raises(BadInput, match="least 0"):
        Contrastive(one, one, least=0.0)
    with pytest.raises(BadInput, match="'both'"):
        Contrastive(one, one, around="both")


def model(seed: int):
    network = untrained(LlamaSpec(VOCAB, 16, 2, 2, 1, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)
    return network


def test_a_student_learns_from_several_live_teachers(tmp_path) -> None:
    rng = random.Random(0)
    texts = [Text.answer([rng.randrange(VOCAB) for _ in range(rng.randint(6, 14))], 2, at) for at in range(8)]
    teachers = tuple(Live(Teacher("toy", model(seed).eval().requires_grad_(False))) for seed in (1, 2))
    asked = (Asked(Pointwise(ForwardKL())),)
    made = Composition(Learner(model(3), [None]), None, Dataset(texts, rows=4), asked, Several(teachers))  # type: ignore[arg-type]
    batch = padded(texts, 99)

    def apart() -> float:
        with torch.no_grad():
            return float(made.nats(made.start(), 0, batch) / batch.weight)

    before = apart()
    run(made.learner, made, Settings(25, peak=1e-2, warmup=5, quiet=True), tmp_path)
    assert apart() < 0.5 * before


# contrastive


def test_the_contrast_is_an_extrapolation_of_logits() -> None:
    z, other = 3 * laws(0) + 7.0, 3 * laws(1) - 2.0  # logits: constants of a row cancel
    p, r = z.log_softmax(-1), other.log_softmax(-1)
    w = 10.0 * (p.exp() - r.exp()).abs().sum(-1, keepdim=True) + 1e-3
    teacher = Contrastive(Fixed(p), Fixed(r))
    assert torch.allclose(said(teacher), (z + w * (z - other)).log_softmax(-1), atol=1e-9)
    assert torch.allclose(teacher.signal(BATCH, AT).factor(slice(1, 4)), 0.1 / w[1:4, 0])
    for bug in (w / 2, -w):  # total variation has a half that this distance has not; a turned sign
        assert not torch.allclose(said(teacher), (z + bug * (z - other)).log_softmax(-1), atol=1e-3)
    anchored = Contrastive(Fixed(p), Fixed(r), around="contrast")
    assert torch.allclose(said(anchored), (w * z + (1 - w) * other).log_softmax(-1), atol=1e-9)


def test_equal_models_leave_no_contrast() -> None:
    teacher = Contrastive(Fixed(laws(0)), Fixed(laws(0)))
    assert torch.allclose(said(teacher), laws(0), atol=1e-12)
    assert torch.allclose(teacher.signal(BATCH, AT).factor(slice(None)), torch.full((ROWS,), 100.0).double())


@pytest.mark.parametrize("around", ["aligned", "contrast"])
def test_the_contrast_is_what_the_reward_asks_for(around) -> None:
    """Of any policy q, reward less penalty falls short of the best by b KL(q || teacher)."""
    p, r, b, beta = laws(0), laws(1), 0.05, 0.1
    teacher = said(Contrastive(Fixed(p), Fixed(r), fixed=beta / b, around=around))
    anchor = p if around == "aligned" else r

    def worth(q: torch.Tensor) -> torch.Tensor:
        return (q.exp() * beta * (p - r)).sum(-1) - b * kl(q, anchor)

    for seed in (2, 3):
        q = laws(seed)
        assert torch.allclose(worth(teacher) - worth(q), b * kl(q, teacher), atol=1e-9)


def test_positions_count_as_the_contrast_says() -> None:
    teacher = Contrastive(Fixed(laws(0)), Fixed(laws(1)))
    found = AdaptiveBeta().weights(None, study(teacher.signal(BATCH, AT)), torch.zeros(ROWS, dtype=torch.float64))
    w = 10.0 * (laws(0).exp() - laws(1).exp()).abs().sum(-1) + 1e-3
    assert torch.allclose(found, 0.1 / w)
    with pytest.raises(IncompatibleParts, match="only Contrastive knows"):
        AdaptiveBeta().weights(None, study(Fixed(laws(0))), torch.zeros(ROWS))
    with pytest.raises(IncompatibleParts, match="Coarse is no plain law"):
        said(Several((Pretender(laws(0)),)))


def test_what_both_exclude_stays_excluded() -> None:
    p, r = laws(0).clone(), laws(1).clone()
    p[:, 5] = r[:, 5] = -torch.inf
    found = said(Contrastive(Fixed(p.log_softmax(-1)), Fixed(r.log_softmax(-1))))
    assert not found.isnan().any()
    assert (found[:, 5].exp() == 0).all()


# the best ids, and all others together


def test_all_ids_are_the_whole_law() -> None:
    label = torch.arange(ROWS)
    for divergence in (kl, lambda p, q: kl(q, p)):
        found = []
        for law in (Dense(laws(0)), coarse(laws(0), VOCAB)):
            logits = laws(1).clone().requires_grad_()
            p, q, _ = law.beside(logits.log_softmax(-1), label)
            nats = divergence(p, floored(q)).sum()
            nats.backward()
            found.append((nats.detach(), logits.grad))
        assert torch.allclose(found[0][0], found[1][0], atol=1e-9)
        assert torch.allclose(found[0][1], found[1][1], atol=1e-9)


@pytest.mark.parametrize("k", [1, 4, VOCAB - 1])
def test_best_ids_bound_the_whole_from_below(k) -> None:
    label, whole = torch.arange(ROWS), kl(laws(0), laws(1))
    p, q, _ = coarse(laws(0), k).beside(laws(1), label)
    assert p.shape == q.shape == (ROWS, k + 1)
    for law in (p, q):
        assert torch.allclose(law.exp().sum(-1), torch.ones(ROWS, dtype=torch.float64))
    assert (kl(p, q) <= whole + 1e-12).all()
    assert torch.allclose(kl(p, q), whole, atol=1e-9) == (k == VOCAB - 1)
    # Planted: without the tail both sides are renormalised, and that is no bound for every law.
    dropped = kl(p[:, :-1].log_softmax(-1), q[:, :-1].log_softmax(-1))
    assert not torch.allclose(dropped, kl(p, q), atol=1e-3)


def test_one_id_teaches_by_its_tail() -> None:
    logits = laws(1).clone().requires_grad_()
    p, q, _ = coarse(laws(0), 1).beside(logits.log_softmax(-1), torch.zeros(ROWS).long())
    dropped = kl(p[:, :-1].log_softmax(-1), q[:, :-1].log_softmax(-1))  # planted: it says nothing
    for nats, least in ((kl(p, q), 0.1), (dropped, 0.0)):
        size = float(torch.autograd.grad(nats.sum(), logits, retain_graph=True)[0].abs().sum())
        assert (size > least) == (least > 0)


def test_labels_become_outcomes() -> None:
    law = Coarse(torch.tensor([[4, 2], [4, 2], [4, PAD]]), laws(0, 3, 2), laws(0, 3, 2)[:, 0], VOCAB)
    p, q, label = law.beside(laws(1, 3), torch.tensor([2, 7, 7]))
    assert label.tolist() == [1, 2, 2]
    assert p[2, 1] == -torch.inf
    assert torch.allclose(q.exp().sum(-1), torch.ones(3, dtype=torch.float64))
    assert torch.isfinite(kl(p, q)).all()


def test_vocabularies_of_other_sizes() -> None:
    p, q, _ = coarse(laws(0), 4).beside(laws(1, vocab=VOCAB + 3), torch.arange(ROWS))  # a wider student
    known = laws(1, vocab=VOCAB + 3)[:, :VOCAB].log_softmax(-1)
    assert torch.allclose(kl(p, q), kl(*coarse(laws(0), 4).beside(known, torch.arange(ROWS))[:2]))
    p, q, _ = coarse(laws(0), VOCAB).beside(laws(1, vocab=VOCAB - 3), torch.arange(ROWS))  # a narrower one
    assert torch.allclose(kl(p, q), kl(laws(0)[:, : VOCAB - 3].log_softmax(-1), laws(1, vocab=VOCAB - 3)))


def test_a_certain_student_has_finite_gradients() -> None:
    logits = torch.zeros(1, VOCAB).index_fill(1, torch.tensor(0), 1e4).requires_grad_()
    p, q, _ = coarse(laws(0, 1).float(), 4).beside(logits.log_softmax(-1), torch.tensor([0]))
    nats = kl(p, q).sum()
    nats.backward()
    assert torch.isfinite(nats)
    assert torch.isfinite(logits.grad).all()


def test_the_rest_is_exact_where_little_is_left() -> None:
    assert torch.allclose(remaining(torch.tensor([[-1e-6]])), torch.tensor([-13.8155]), atol=1e-3)
    assert remaining(torch.tensor([[-0.5, -0.6]])).item() == -torch.inf  # more than all: rounding
    assert torch.allclose(remaining(torch.tensor([[-50.0, -torch.inf]])), torch.zeros(1))


def study(signal) -> Study:
    states = States(torch.zeros(ROWS, 1), lambda hidden: laws(1).float()[: len(hidden)], VOCAB)
    return Study(BATCH, AT, states, signal, lambda p, q, label: p, 0)


def test_temperature_softens_both_laws() -> None:
    p, q = ((laws(seed).float() / 2).log_softmax(-1) for seed in (0, 1))
    found = Pointwise(ForwardKL(), 2.0)(study(Fixed(laws(0).float())))
    assert torch.allclose(found, 4 * kl(p, q), atol=1e-5)


def test_best_ids_know_one_temperature_only() -> None:
    hot = (laws(0).float() / 2).log_softmax(-1)
    known = Coarse(*(getattr(coarse(hot, 4), name) for name in ("ids_XK", "logp_XK", "rest_X", "vocab")), 2.0)
    p, q, _ = known.beside((laws(1).float() / 2).log_softmax(-1), AT.label_N)
    assert torch.allclose(Pointwise(ForwardKL(), 2.0)(study(known)), 4 * kl(p, q), atol=1e-5)
    with pytest.raises(BadInput, match="4 ids at temperature 2 are known, which do not tell its law at 1; train at 2"):
        Pointwise(ForwardKL())(study(known))
    with pytest.raises(BadInput, match="at temperature 1 are known"):
        Pointwise(ForwardKL(), 3.0)(study(coarse(laws(0).float(), 4)))

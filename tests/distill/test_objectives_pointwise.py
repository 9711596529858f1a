"""Objectives over positions: chunks and pieces do not matter, nothing is off by one, no law of a whole batch lives."""

import weakref
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from decant.distill import seams, tiles
from decant.distill.composition import Asked, Composition, Learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.divergences.reverse_kl import ReverseKL
from decant.distill.divergences.sorted_l1 import SortedL1
from decant.distill.objectives import dac_kl
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.dac_kl import DACKL
from decant.distill.objectives.plackett_luce import PlackettLuce
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.objectives.sinkhorn import Sinkhorn
from decant.distill.rollouts.dataset import Dataset
from decant.distill.seams import Dense, Share
from decant.distill.teachers.live import Live, Thought
from decant.distill.texts import Positions, TextBatch
from decant.models import build
from decant.models.build import LlamaSpec, untrained
from decant.models.student import States
from decant.models.teacher import Teacher
from tests.distill.known import Known, Told, batch_of, noise, study

VOCAB = 24
OBJECTIVES = [
    Pointwise(ForwardKL()),
    Pointwise(ReverseKL(), temperature=2.0),
    CrossEntropy(),
    PlackettLuce(k=5),
    DACKL(top=4, hidden=3),
    Sinkhorn(group=3),
    Sinkhorn(group=3, debiased=True),
]
CHUNKED = (tiles, dac_kl)


def model(seed: int):
    network = untrained(LlamaSpec(VOCAB, 16, 2, 2, 1, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a model with opinions
    return network


def chunks_of(monkeypatch, elements: int) -> None:
    for module in CHUNKED:
        monkeypatch.setattr(module, "by_chunks", partial(seams.by_chunks, elements=elements))


def sizes(rows: int, vocab: int) -> list[int]:
    found = []

    def nats(part: slice):
        found.append(part.stop - part.start)
        return torch.zeros(found[-1])

    assert len(seams.by_chunks(rows, vocab, nats)) == rows
    return found


@dataclass(frozen=True)
class FirstRows(Told):
    """The mistake: every chunk is held against the teacher's first rows."""

    def law(self, rows: slice) -> Dense:
        return Dense(self.logp_NV[: rows.stop - rows.start])


def values_and_slopes(objective, signal=Told):
    batch = batch_of(9, 5, 6, vocab=VOCAB)
    hidden_ND, matrix_DV = noise(17, 4).float().requires_grad_(), noise(4, VOCAB, seed=1).float().requires_grad_()
    states = States(hidden_ND, lambda hidden: hidden @ matrix_DV, VOCAB)
    extra = objective.extra(None, None) if hasattr(objective, "extra") else None
    found = study(states, signal(noise(17, VOCAB, seed=2).float().log_softmax(-1)), batch, extra)
    nats_N = objective(found)
    slopes = torch.autograd.grad((nats_N * found.at.label_N).sum(), [hidden_ND, matrix_DV])
    return nats_N.detach(), *slopes


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_chunks_do_not_matter(objective, monkeypatch) -> None:
    whole = values_and_slopes(objective)
    for rows in (1, 3, 16):
        chunks_of(monkeypatch, rows * VOCAB)
        torch.testing.assert_close(values_and_slopes(objective), whole)


def test_a_teacher_out_of_step_with_the_chunks_is_seen(monkeypatch) -> None:
    whole = values_and_slopes(Pointwise(ForwardKL()), FirstRows)
    torch.testing.assert_close(whole, values_and_slopes(Pointwise(ForwardKL())))
    chunks_of(monkeypatch, 3 * VOCAB)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(values_and_slopes(Pointwise(ForwardKL()), FirstRows), whole)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_constant_on_a_row_of_logits_changes_nothing(objective) -> None:
    batch, logits = batch_of(9, 5, 6, vocab=VOCAB), noise(17, VOCAB)
    extra = objective.extra(None, None).double() if hasattr(objective, "extra") else None
    told = study(Known(logits), Told(noise(17, VOCAB, seed=1).log_softmax(-1)), batch, extra)
    moved = replace(told, student=Known(logits + noise(17, 1, seed=2)))
    torch.testing.assert_close(objective(moved), objective(told))


def composed(student, objectives, micro: int = 8, teacher=None) -> Composition:
    teacher = Live(Teacher("toy", model(1).eval().requires_grad_(False))) if teacher is None else teacher
    extras = [one.extra(None, None) if hasattr(one, "extra") else None for one in objectives]
    batch = batch_of(9, 5, 12, 6, vocab=VOCAB)
    texts = [batch.text(row) for row in range(len(batch))]
    asked = tuple(Asked(one) for one in objectives)
    return Composition(Learner(student, extras), None, Dataset(texts, rows=4), asked, teacher, micro=micro)


def slopes_in_pieces(objective, micro: int):
    made = composed(model(2), [objective], micro)
    pieces, _ = made.batches(made.start(), 0, Share())
    weight = sum(float(made.weight(piece)) for piece in pieces)
    for piece in pieces:
        (made.nats(made.start(), 0, piece) / weight).backward()
    return torch.cat([one.grad.flatten() for one in made.learner.parameters() if one.grad is not None])


class AcrossTexts:
    """Sinkhorn as published: the group is the batch, whosever positions these are."""

    needs = "dense"

    def __call__(self, told):
        return Sinkhorn(group=99)(replace(told, at=replace(told.at, row_N=torch.zeros_like(told.at.row_N))))


@pytest.mark.parametrize("objective", [*OBJECTIVES, AcrossTexts()], ids=repr)
def test_two_pieces_are_one_batch(objective, monkeypatch) -> None:
    monkeypatch.setattr(build, "fast_bfloat16", lambda: False)  # its rounding depends on how rows lie together
    whole, halves = slopes_in_pieces(objective, 4), slopes_in_pieces(objective, 2)
    assert torch.allclose(whole, halves, atol=1e-5) == (not isinstance(objective, AcrossTexts))


@pytest.mark.parametrize("objective", [Pointwise(ForwardKL()), CrossEntropy(), PlackettLuce(k=3)], ids=repr)
def test_what_stands_behind_a_text_changes_nothing(objective, monkeypatch) -> None:
    monkeypatch.setattr(build, "fast_bfloat16", lambda: False)
    batch, rng, found = batch_of(9, 5, vocab=VOCAB), torch.Generator().manual_seed(5), []
    other_BT = torch.randint(VOCAB, batch.ids_BT.shape, generator=rng).where(batch.weights_BT == 0, batch.ids_BT)
    other_BT[:, 0] = batch.ids_BT[:, 0]
    assert not torch.equal(other_BT, batch.ids_BT)
    for ids_BT in (batch.ids_BT, other_BT):
        made = composed(model(2), [objective])
        made.nats(made.start(), 0, replace(batch, ids_BT=ids_BT)).backward()
        found.append(torch.cat([one.grad.flatten() for one in made.learner.parameters()]))
    assert torch.allclose(found[0], found[1], atol=1e-5)


@dataclass(frozen=True)
class Reader:
    """Certain of the id that stands `ahead` of each column of the text: 1 is the truth."""

    ahead: int = 1
    gives = frozenset({"law", "dense"})

    def signal(self, batch: TextBatch, at: Positions) -> Told:
        sure_BTV = torch.nn.functional.one_hot(batch.ids_BT.roll(-self.ahead, dims=1), VOCAB).float().log()
        return Told(sure_BTV[at.row_N, at.at_N])


def raised(objective, teacher=None, steps: int = 1, rate: float = 1e-3):
    """Of a text's ids, by the network's own forward pass: how far log q rose, and the share of them that are argmax."""
    student, batch = model(2), batch_of(9, 5, vocab=VOCAB)
    made = composed(student, [objective], teacher=teacher or Reader())
    counts_BT = batch.weights_BT[:, 1:] > 0

    def measured():
        with torch.no_grad():
            logp_BTV = student(input_ids=batch.ids_BT).logits.float().log_softmax(-1)[:, :-1]
        label_BT = batch.ids_BT[:, 1:]
        logp_BT = logp_BTV.gather(-1, label_BT[..., None])[..., 0]
        return logp_BT[counts_BT].mean(), (logp_BTV.argmax(-1) == label_BT)[counts_BT].float().mean()

    before = measured()[0]
    optimiser = torch.optim.SGD(made.learner.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        (made.nats(made.start(), 0, batch) / batch.weight).backward()
        optimiser.step()
    after, right = measured()
    return float(after - before), float(right)


PROBED = [Pointwise(ForwardKL()), Pointwise(ReverseKL()), CrossEntropy(), PlackettLuce(k=5)]


@pytest.mark.parametrize("objective", PROBED, ids=repr)
def test_a_step_raises_the_token_that_comes_next(objective) -> None:
    # Reverse KL against a certain teacher counts in thousands of nats.
    assert raised(objective, rate=1e-6 if objective == Pointwise(ReverseKL()) else 1e-3)[0] > 0


@pytest.mark.parametrize("objective", [Pointwise(ForwardKL()), CrossEntropy(), PlackettLuce()], ids=repr)
def test_steps_make_the_next_token_the_likeliest(objective) -> None:
    assert raised(objective, steps=30, rate=0.05)[1] == 1


def test_a_teacher_off_by_one_is_seen() -> None:
    assert raised(Pointwise(ForwardKL()), Reader(ahead=0), steps=30, rate=0.05)[1] < 0.5
    assert raised(Pointwise(ForwardKL()), Reader(ahead=2), steps=30, rate=0.05)[1] < 0.5


def test_an_objective_needs_what_its_divergence_needs() -> None:
    assert Pointwise(ForwardKL()).needs == "law"
    assert Pointwise(SortedL1()).needs == "dense"


class Peak(TorchDispatchMode):
    """The most numbers that were alive at once in tensors made under it."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.live = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, torch.Tensor) and id(one.untyped_storage()) not in self.known:
                storage = one.untyped_storage()
                self.known.add(id(storage))
                self.live += storage.nbytes() // 4
                weakref.finalize(storage, self.gone, id(storage), storage.nbytes() // 4)
        self.most = max(self.most, self.live)
        return out

    def gone(self, name: int, size: int) -> None:
        self.known.discard(name)
        self.live -= size


def copies(objective) -> float:
    """Numbers alive at the peak of a step, over positions times vocabulary."""
    rows, vocab, width = 512, 1024, 4
    batch = batch_of(rows + 1, vocab=vocab)
    hidden_ND, matrix_DV = noise(rows, width).float().requires_grad_(), noise(width, vocab).float().requires_grad_()
    states = States(hidden_ND, lambda hidden: hidden @ matrix_DV, vocab)
    told = study(states, Thought(replace(states, hidden_ND=noise(rows, width, seed=3).float())), batch)
    with Peak() as peak:
        objective(told).sum().backward()
    return peak.most / (rows * vocab)


@pytest.mark.parametrize(
    "objective", [Pointwise(ForwardKL(), 2.0), CrossEntropy(), PlackettLuce(), Sinkhorn()], ids=repr
)
def test_no_law_of_the_whole_batch_is_ever_in_memory(objective, monkeypatch) -> None:
    """Seventy chunks, as a vocabulary of 150,000 at 2,000 positions makes: a step lives in a fraction of one copy."""
    assert max(sizes(2000, 150_000)) <= 2000 / 70
    chunks_of(monkeypatch, 512 * 1024 // 70)
    assert copies(objective) < 0.5
    if not isinstance(objective, Sinkhorn):
        chunks_of(monkeypatch, 512 * 1024)
        assert copies(objective) > 2

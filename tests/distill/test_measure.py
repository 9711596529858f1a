"""A student is measured beside its teacher: against a flat computation, and a shift by one is seen."""

from typing import Any

import pytest
import torch
from torch import Tensor

from decant.distill import measure
from decant.distill.caching import best
from decant.distill.measure import Apart, measured
from decant.distill.seams import Coarse
from decant.distill.teachers.live import Live
from decant.distill.texts import Positions, Text, TextBatch, padded
from decant.models import build
from decant.models.build import LlamaSpec, untrained
from decant.models.student import read
from decant.models.teacher import Teacher

VOCAB = 24


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch) -> None:
    monkeypatch.setattr(build, "fast_bfloat16", lambda: False)


def model(seed: int, vocab: int = VOCAB) -> Any:
    network = untrained(LlamaSpec(vocab, 16, 2, 2, 1, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a model with opinions
    return network


def teacher(seed: int = 1) -> Teacher:
    return Teacher("toy", model(seed).eval().requires_grad_(False))


def pupil() -> Any:
    """Most of the teacher, and some of its own."""
    network = model(2)
    with torch.no_grad():
        for weight, other in zip(network.parameters(), model(1).parameters(), strict=True):
            weight.lerp_(other, 0.7)
    return network


def batches() -> list[TextBatch]:
    rng = torch.Generator().manual_seed(0)
    texts = [Text.answer(torch.randint(VOCAB, (length,), generator=rng).tolist(), 2) for length in (7, 4, 12)]
    return [padded(texts[:2], 99), padded(texts[2:], 99)]


@torch.no_grad()
def flat(student: Any, other: Any) -> Apart:
    """Text by text, token by token, in float64."""
    rows: list[Tensor] = []
    for batch in batches():
        for row in range(len(batch)):
            text = batch.text(row)
            q_TV, p_TV = (
                one(torch.tensor([text.ids])).logits[0, :, :VOCAB].double().log_softmax(-1) for one in (student, other)
            )
            for place in range(text.prompt, len(text.ids)):
                q, p = q_TV[place - 1], p_TV[place - 1]
                kept = torch.minimum(p.exp(), q.exp()).sum()
                same = (p.argmax() == q.argmax()).double()
                rows.append(torch.stack([(p.exp() * (p - q)).sum(), same, kept, -q[text.ids[place]]]))
    return Apart(len(rows), *torch.stack(rows).mean(0).tolist())


def values(apart: Apart) -> tuple[float, ...]:
    return apart.kl, apart.agreement, apart.acceptance, apart.nats


def test_means_are_those_of_a_flat_computation(monkeypatch) -> None:
    student, other = pupil(), teacher()
    want = flat(student, other.network)
    found = measured(student, other, batches())
    assert found.tokens == want.tokens == 5 + 2 + 10
    assert values(found) == pytest.approx(values(want), abs=2e-5)  # five digits are kept
    assert 0 < found.agreement < 1
    monkeypatch.setattr(measure, "CHUNK", 3)
    assert measured(student, other, batches()) == found


def test_laws_do_as_well_as_the_model_that_says_them() -> None:
    other = teacher()
    assert measured(pupil(), Live(other), batches()) == measured(pupil(), other, batches())


def test_a_shift_by_one_is_seen(monkeypatch) -> None:
    student, other = pupil(), teacher()
    want = flat(student, other.network)

    def late(network, ids_BT, row_N, at_N):
        return read(network, ids_BT, row_N, at_N + 1)  # what is said behind the token, not in front of it

    monkeypatch.setattr(measure, "read", late)
    found = measured(student, other, batches())
    assert abs(found.kl - want.kl) > 0.01
    assert abs(found.nats - want.nats) > 0.1


def test_a_model_beside_itself_is_not_apart() -> None:
    found = measured(teacher().network, teacher(), batches())
    assert (found.kl, found.agreement, found.acceptance) == (0, 1, 1)


def test_a_wider_student_is_measured_over_the_ids_that_both_have() -> None:
    student, other = model(2, VOCAB + 8), teacher()
    assert values(measured(student, other, batches())) == pytest.approx(values(flat(student, other.network)), abs=2e-5)


def test_measuring_leaves_the_student_as_it_was() -> None:
    student = model(2).train()
    measured(student, teacher(), batches())
    assert student.training
    assert all(weight.requires_grad and weight.grad is None for weight in student.parameters())


class Cut:
    """A teacher of which the best k ids and the rest are known."""

    gives = frozenset({"law"})

    def __init__(self, k: int) -> None:
        self.k = k

    def signal(self, batch: TextBatch, at: Positions) -> Coarse:
        ids_NK, logp_NK, rest_N = best(Live(teacher()).signal(batch, at).law(slice(None)).logp_XV, self.k)
        return Coarse(ids_NK, logp_NK, rest_N, VOCAB)


def test_of_best_ids_kl_is_a_lower_bound_and_acceptance_an_upper_one() -> None:
    student, whole = pupil(), measured(pupil(), teacher(), batches())
    for k in (1, 4, VOCAB):
        found = measured(student, Cut(k), batches())
        assert (found.tokens, found.agreement, found.nats) == (whole.tokens, whole.agreement, whole.nats)
        assert found.outcomes == k + 1
        if k < VOCAB:
            assert found.kl < whole.kl - 1e-3
            assert found.acceptance > whole.acceptance + 1e-3
        else:
            assert values(found) == pytest.approx(values(whole), abs=2e-5)
    assert whole.outcomes is None
    assert measured(student, Live(teacher()), batches()) == whole

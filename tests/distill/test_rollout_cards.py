"""What each paper of rollouts promises: corrections, domains, teachers' texts, pruned data."""

from dataclasses import replace

import pytest
import torch

from decant.distill.answers import Answer
from decant.distill.rollouts.ddk import Measured
from decant.distill.rollouts.pruned import Pruned
from decant.distill.rollouts.student_samples import StudentSamples
from decant.distill.rollouts.teacher_samples import teacher_samples
from decant.distill.trainer import Share
from decant.distill.writing import Writing
from decant.errors import BadInput
from tests.distill.writers import DATA, END, WRITING, Hashed, corrected, ddk, model, rows, texts


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """Products in float32 on any machine: comparisons below are between two ways of computing."""
    monkeypatch.setattr("decant.models.build.fast_bfloat16", lambda: False)


def plain_kl(teacher, student, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        p, q = (one(torch.tensor([ids])).logits[0, :-1].log_softmax(-1) for one in (teacher, student))
    return (p.exp() * (p - q)).sum(-1)  # entry i belongs to id i + 1


def test_the_worst_token_becomes_the_teachers() -> None:
    made = corrected()
    teacher, student = made.teacher.model.network, made.network
    before = rows(StudentSamples(DATA, WRITING).batch(None, 3, Share(), Hashed())[0])
    after = rows(made.batch(None, 3, Share(), Hashed())[0])
    changed = 0
    for old, new in zip(before, after, strict=True):
        kl_T = plain_kl(teacher, student, old.ids)
        worst = int(kl_T[old.prompt - 1 :].argmax()) + old.prompt
        with torch.no_grad():
            logp_V = teacher(torch.tensor([old.ids[:worst]])).logits[0, -1].log_softmax(-1)
        assert new.ids[:worst] == old.ids[:worst]
        assert new.ids[worst] == int(logp_V.argmax())
        assert END not in new.ids[new.prompt : -1]
        assert len(new.ids) - new.prompt <= WRITING.limit
        assert len(new.logp) == len(new.ids)
        changed += new.ids != old.ids
        if new.ids != old.ids:
            assert new.logp[worst] == pytest.approx(float(logp_V.max()), abs=1e-4)
            assert new.ids[-1] == END or len(new.ids) - new.prompt == WRITING.limit
    assert changed >= 3


def test_who_agrees_with_the_teacher_everywhere_is_corrected_at_a_tie_at_most() -> None:
    made = corrected()
    made = replace(made, network=made.teacher.model.network)
    before = rows(StudentSamples(DATA, WRITING).batch(None, 3, Share(), Hashed())[0])
    for old, new in zip(before, rows(made.batch(None, 3, Share(), Hashed())[0]), strict=True):
        parted = next((at for at, pair in enumerate(zip(old.ids, new.ids, strict=False)) if len(set(pair)) > 1), None)
        assert parted is None or plain_kl(made.network, made.network, old.ids).max() == 0
    assert rows(replace(made, rounds=0).batch(None, 3, Share(), Hashed())[0]) == before


def test_equal_lags_give_the_uniform_mixture_and_it_never_dries_up() -> None:
    made = ddk((1.0, 2.0, 3.0), (0.5, 1.5, 2.5))
    state = made.batch(made.start(), 0, Share(), Hashed())[1]
    assert state["mixture"] == pytest.approx([1 / 3] * 3)
    made = ddk((9.0, 1.0, 0.2), (0.1, 1.0, 0.9), smooth=0.6, most=4.0)
    found = made.moved([1 / 3] * 3, made.lag.own, made.lag.theirs)
    assert sum(found) == pytest.approx(1)
    assert min(found) >= 0.4 / 3
    gaps = [4.0, 1.0, float(torch.tensor(-0.7).exp())]  # the first is cut
    assert found == pytest.approx([0.4 / 3 + 0.6 * gap / sum(gaps) for gap in gaps], abs=1e-6)
    assert found[0] > found[1] > found[2]


def test_domains_come_as_often_as_they_lag() -> None:
    """600 draws: shares lie within 0.08 of the mixture but for one seed in 10,000."""
    made = ddk(every=10**6)
    state = made.start()
    counts = [0, 0, 0]
    for step in range(600):
        found, state = made.batch(state, step, Share(), Hashed())
        counts[int(found.domains_B[0])] += 1
        assert len(set(found.domains_B.tolist())) == 1
    assert all(abs(count / 600 - share) < 0.08 for count, share in zip(counts, state["mixture"], strict=True))
    assert made.lag.asked == ["teacher", "student"]
    _, state = made.batch(state, 10**6, Share(), Hashed())
    assert made.lag.asked == ["teacher", "student", "student"]  # the teacher does not learn
    alone = ddk((3.0,), (1.0,))
    assert rows(alone.batch(alone.start(), 0, Share(), Hashed())[0]) == rows(
        alone.domains[0].batch(None, 0, Share())[0]
    )


def test_lags_are_measured() -> None:
    own, held = model(0), [texts(5), texts(3, seed=9)]
    lag = Measured(held, own, model(1), rows=2)
    for found, domain in zip(lag.student(), held, strict=True):
        nats, count = 0.0, 0
        for text in domain:
            with torch.no_grad():
                logp_TV = own(torch.tensor([text.ids])).logits[0].log_softmax(-1)
            for at in range(text.prompt, len(text.ids)):
                nats -= float(logp_TV[at - 1, text.ids[at]])
                count += 1
        assert found == pytest.approx(nats / count, abs=1e-4)
    assert Measured(held, own, own).student() == Measured(held, own, own).teacher()


def test_what_the_teacher_did_not_end_is_dropped() -> None:
    said = [Answer([1, 2, 3, 9], 2), Answer([1, 4, 5], 1), Answer([6, 9, 7, 9, 3], 2)]
    found = teacher_samples(said, frozenset({9}), [4, 5, 6])
    assert [(text.ids, text.prompt, text.number, text.domain) for text in found] == [
        ([1, 2, 3, 9], 2, 0, 4),
        ([6, 9, 7, 9], 2, 2, 6),
    ]
    assert found[0].weights == [0.0, 0.0, 1.0, 1.0]  # the end is learnt
    assert len(teacher_samples(said, frozenset())) == 3
    with pytest.raises(BadInput, match="none of 1"):
        teacher_samples(said[1:2], frozenset({9}))


def test_pruning_is_stable_stratified_and_weighs_the_teacher_more() -> None:
    some = [replace(text, domain=number % 3) for number, text in enumerate(texts(50))]
    assert Pruned(1.0, lowest=0.0).kept(some) == some
    assert Pruned(1.0, lowest=0.0).alpha == 0
    half, third = Pruned(0.5).kept(some), Pruned(0.3).kept(some)
    assert half == Pruned(0.5).kept(some) != Pruned(0.5, seed=1).kept(some)
    assert all(text in half for text in third)
    for domain in range(3):
        whole = sum(text.domain == domain for text in some)
        assert abs(sum(text.domain == domain for text in half) - whole / 2) <= 1
    weights = [Pruned(fraction).alpha for fraction in (0.1, 0.4, 0.9)]
    assert weights == sorted(weights, reverse=True)
    with pytest.raises(BadInput, match="none"):
        Pruned(0.01).kept(some[:4])


def test_answers_have_room_and_seeds_of_their_own() -> None:
    with pytest.raises(BadInput, match="at least one id"):
        Writing(0)
    seeds = [seed for step in range(20) for seed in Writing().seeds(step, Share(), 8)]
    assert len(set(seeds)) == 160
    assert Writing().seeds(3, Share(1, 2), 4) == Writing().seeds(3, Share(), 8)[1::2]

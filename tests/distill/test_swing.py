"""Swing: a teacher that is blunted where it may leak, and nowhere else."""

import random
from itertools import pairwise

import pytest
import torch

from decant.distill.teachers.live import Live
from decant.distill.teachers.swing import Swing
from decant.distill.texts import Positions, Text, padded
from decant.errors import BadInput, IncompatibleParts
from decant.models.build import LlamaSpec, untrained
from decant.models.teacher import Teacher

VOCAB = 24


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """Products in float32 on any machine: comparisons below are between two ways of computing."""
    monkeypatch.setattr("decant.models.build.fast_bfloat16", lambda: False)


def teacher() -> Live:
    network = untrained(LlamaSpec(VOCAB, 16, 2, 4, 2, 24, head_dim=8), seed=1)
    for weight in network.parameters():
        weight.data.mul_(4.0)
    return Live(Teacher("toy", network.eval().requires_grad_(False)))


TEACHER = teacher()


def texts(count: int = 5) -> list[Text]:
    rng = random.Random(0)
    return [
        Text.answer([rng.randrange(VOCAB) for _ in range(rng.randint(8, 16))], 3, number) for number in range(count)
    ]


def laws(network, some: list[Text]) -> torch.Tensor:
    """logp_NV, from whole logits and loops."""
    found = []
    for text in some:
        with torch.no_grad():
            logp_TV = network(torch.tensor([text.ids])).logits[0].log_softmax(-1)
        found.append(logp_TV[text.prompt - 1 : -1])
    return torch.cat(found)


def privacy(value: float):
    return lambda batch, at: torch.full_like(at.weight_N, value)


def blunted(value: float, some: list[Text], **knobs) -> torch.Tensor:
    batch = padded(some, 99)
    at = Positions.of(batch)
    signal = Swing(TEACHER, privacy(value), **knobs).signal(batch, at)
    q_NV = torch.zeros(len(at), VOCAB).log_softmax(-1)
    parts = [signal.law(rows).beside(q_NV[rows], at.label_N[rows])[0] for rows in (slice(0, 3), slice(3, len(at)))]
    return torch.cat(parts)


def test_swing_blunts_what_is_private() -> None:
    some = texts()
    p = laws(TEACHER.model.network, some)
    assert torch.allclose(blunted(0.0, some), p, atol=1e-5)
    assert torch.allclose(blunted(0.0, some, noise=3.0), p, atol=1e-5)
    entropies = [-(law.exp() * law).sum(-1) for law in (blunted(c / 4, some) for c in range(5))]
    assert all((hotter >= cooler - 1e-5).all() for cooler, hotter in pairwise(entropies))
    for c in (0.3, 1.0):
        assert torch.allclose(blunted(c, some, noise=2.0).exp().sum(-1), torch.ones(len(p)), atol=1e-5)
    assert torch.allclose(blunted(1.0, some, hot=2.0), (p / 2).log_softmax(-1), atol=1e-5)


def test_the_noise_of_swing_is_the_texts_own() -> None:
    some = texts()
    noisy = blunted(0.5, some, noise=2.0)
    assert torch.allclose(noisy, torch.cat([blunted(0.5, [text], noise=2.0) for text in some]), atol=1e-4)
    assert not torch.allclose(noisy, blunted(0.5, some, noise=2.0, seed=1), atol=1e-1)
    plain = blunted(0.5, some)
    drift = (noisy - plain) - (noisy - plain).median(-1, keepdim=True).values
    # Laplace of scale 1: the mean distance from the median is 1; 40 rows of 24 ids, so 0.15 is four deviations.
    assert float(drift.abs().mean()) == pytest.approx(1.0, abs=0.15)
    assert not torch.allclose(drift[0], drift[1], atol=0.5)


def test_swing_refuses_scores_and_teachers_that_it_cannot_use() -> None:
    with pytest.raises(BadInput, match=r"\[0, 1\]"):
        blunted(1.5, texts())
    with pytest.raises(BadInput, match="cool"):
        Swing(TEACHER, privacy(0.0), cool=2.0, hot=1.0)

    class Coarse:
        gives = frozenset({"law"})

    with pytest.raises(IncompatibleParts, match="whole law"):
        Swing(Coarse(), privacy(0.0))


def test_a_temperature_comes_on_top() -> None:
    batch = padded(texts(), 99)
    at = Positions.of(batch)
    law = Swing(TEACHER, privacy(1.0), hot=2.0).signal(batch, at).law(slice(None))
    p = laws(TEACHER.model.network, texts())
    found, _, _ = law.softened(3.0).beside(torch.zeros(len(at), VOCAB).log_softmax(-1), at.label_N)
    assert torch.allclose(found, (p / 6).log_softmax(-1), atol=1e-5)

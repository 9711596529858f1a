"""ALM, ULD and GOLD on tables: what they are where tokenizers are one, and what they teach where not."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Generator, Tensor, nn

from decant.distill.chunks import Shared, Side, Spans, runs, said, sorted_l1
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.alm import ALM, log1mexp
from decant.distill.objectives.gold import GOLD
from decant.distill.objectives.uld import ULD
from decant.distill.teachers.across import Across
from decant.distill.texts import Text, padded
from decant.models.student import read
from decant.types import PAD
from decant.vocab.vocabulary import Vocabulary
from tests.distill.toys import LETTERS, ONE, OTHER, across, free, model, study_of, tabled, teacher, texts


def test_with_one_tokenizer_every_objective_is_the_one_over_shifted_rows() -> None:
    """Every position is a chunk; a row further on in the teacher, the classical mistake, gives something else."""
    batch = padded(texts(LETTERS, b"abcdefghijklmnopqrstuvw"), 99)
    network, source = model(2, 24), across(LETTERS, LETTERS)
    study = study_of(batch, source, network)
    spans = study.signal
    assert isinstance(spans, Spans)
    count = len(study.at)
    for side in (spans.chunks.q, spans.chunks.p):
        assert torch.equal(side.first_C, side.last_C)
    assert spans.chunks.q.last_C.tolist() == list(range(count))
    with torch.no_grad():
        spots = [
            (row, at) for row in range(6) for at in range(batch.ids_BT.shape[1] - 1) if batch.weights_BT[row, at + 1]
        ]
        row_N, at_N = torch.tensor(spots).T
        p, q = (read(one, batch.ids_BT, row_N, at_N).logp(slice(None)) for one in (source.model.network, network))
        middle = ((p.exp() + q.exp()) / 2).log()
        jsd_N = 0.5 * (p.exp() * (p - middle)).sum(-1) + 0.5 * (q.exp() * (q - middle)).sum(-1)
        l1_N = (p.exp().sort(-1).values - q.exp().sort(-1).values).abs().sum(-1)
        wants = {
            GOLD(hybrid=True, skip_eos=False): jsd_N,
            GOLD(hybrid=True, skip_eos=False, merging="observed"): jsd_N,
            GOLD(skip_eos=False): l1_N,
            GOLD(): l1_N * (study.at.label_N != 0),
            ULD(): l1_N,
            ULD(pairing="index"): l1_N,
        }
        later = spans.chunks.p
        wrong = replace(spans.chunks, p=Side(later.after_C, later.after_C, later.after_C))
        for objective, want_N in wants.items():
            torch.testing.assert_close(objective(study), want_N, atol=1e-5, rtol=1e-5)
            planted = objective(replace(study, signal=replace(spans, chunks=wrong)))
            assert (planted - want_N).abs().mean() > 0.02, objective
        p_N, q_N = (one.gather(-1, study.at.label_N[:, None])[:, 0] for one in (p, q))
        alm = ALM(threshold=None, divergence=ForwardKL(), temperature=1.0, epsilon=1e-6)
        torch.testing.assert_close(alm(study), alm.matched(p_N, q_N), atol=1e-5, rtol=1e-5)


def test_pieces_of_a_batch_sum_to_the_whole() -> None:
    rows, network, source = texts(ONE, b"abc "), model(2, 7), across(ONE, OTHER)
    for objective in (ALM(), GOLD(hybrid=True), ULD(pairing="index")):
        whole = float(objective(study_of(padded(rows, 99), source, network)).detach().sum())
        parts = sum(float(objective(study_of(padded([row], 99), source, network)).detach().sum()) for row in rows)
        assert whole == pytest.approx(parts, rel=5e-3)  # products may be rounded to bfloat16
        assert whole > 0


def test_merged_laws_hold_the_chunks_probability() -> None:
    """Bayesian: at the last row, the last token; observed: at the first row, the first. Row by row, from the table."""
    rng = Generator().manual_seed(0)
    study = study_of(padded([Text.answer([3, 5, 1, 2, 3], 1)], 99), across(ONE, OTHER), model(2, 7))
    q_NV = torch.randn(len(study.at), 7, generator=rng).double()
    side = study.signal.chunks.q
    q_N, _ = said(free(q_NV), study.at.label_N, torch.tensor([0]))
    assert int((side.last_C - side.first_C).max()) > 0
    for merging in ("bayesian", "observed"):
        row_C, rest_C = GOLD(merging=merging)._merged(side, q_N)
        law_CV = q_NV.float().log_softmax(-1)[row_C] + rest_C[:, None]
        torch.testing.assert_close(law_CV.gather(-1, study.at.label_N[row_C][:, None])[:, 0], side.total(q_N))
        assert (row_C == (side.last_C if merging == "bayesian" else side.first_C)).all()


def test_hybrid_compares_shared_tokens_by_themselves() -> None:
    shared = Shared.of(ONE, OTHER)
    pairs = sorted(zip(shared.q_S.tolist(), shared.p_S.tolist(), strict=True))
    assert pairs == [(0, 4), (1, 2), (2, 1), (3, 0), (4, 3)]
    assert shared.q_opens_O.tolist() == [0, 4]
    assert shared.p_opens_O.tolist() == [3, 4, 6]
    p = torch.tensor([[0.1, 0.2, 0.3, 0.1, 0.05, 0.05, 0.05, 0.15]])
    q = torch.zeros(1, 7)
    q[:, shared.q_S] = p[:, shared.p_S]
    q[:, 5:] = torch.tensor([0.05, 0.2])
    found = GOLD(hybrid=True).distance(p.log(), q.log(), shared)
    assert float(found) == pytest.approx((1 - 5 / 8) * (0.05 + 0.0 + 0.05))
    assert float(GOLD(hybrid=True, matched=1.0).distance(p.log(), q.log(), shared)) == pytest.approx(0, abs=1e-6)
    swapped = q[:, [1, 0, *range(2, 7)]]
    assert float(GOLD(hybrid=True, matched=1.0).distance(p.log(), swapped.log(), shared)) > 0.01


def test_jsd_of_masses_below_one_is_zero_at_equality_only() -> None:
    rng = Generator().manual_seed(0)
    mass = torch.rand(50, 1, generator=rng)
    p, q = (torch.randn(50, 6, generator=rng).log_softmax(-1) for _ in range(2))
    for beta in (0.1, 0.5, 0.9):
        gold = GOLD(hybrid=True, beta=beta)
        assert (gold._jsd(p + mass.log(), q) > 0).all()
        assert gold._jsd(p + mass.log(), p + mass.log()).abs().max() < 1e-6
        assert (gold._jsd(p + mass.log(), p) > 0).all()


def test_sorted_lists_do_not_know_ids() -> None:
    rng = Generator().manual_seed(0)
    p, q = torch.rand(9, 5, generator=rng), torch.rand(9, 8, generator=rng)
    want = sorted_l1(p, q)
    torch.testing.assert_close(sorted_l1(p[:, torch.randperm(5, generator=rng)], q[:, torch.arange(7, -1, -1)]), want)
    torch.testing.assert_close(sorted_l1(nn.functional.pad(p, (0, 3)), q), want)


def chain(text: bytes) -> float:
    """The probability that a text of a process begins like this: each byte depends on the one before it."""
    laws = {
        b"a": [0.1, 0.5, 0.2, 0.2],
        b"b": [0.4, 0.2, 0.3, 0.1],
        b"c": [0.3, 0.3, 0.1, 0.3],
        b" ": [0.5, 0.3, 0.2, 0.0],
    }
    found, last = 1.0, b" "
    for at in range(len(text)):
        found *= laws[last][b"abc ".index(text[at : at + 1])]
        last = text[at : at + 1]
    return found


def mass(vocabulary: Vocabulary, ids: list[int]) -> float:
    """The probability that the tokens of the process's text begin with these. No piece is longer than 3 bytes, so three
    bytes more decide."""
    text = vocabulary.bytes_of(ids)
    ways = (text + bytes(more) for more in product(b"abc ", repeat=3))
    return sum(chain(way) for way in ways if vocabulary.fitted(way)[: len(ids)] == ids)


def induced(vocabulary: Vocabulary, prefixes: list[list[int]]) -> Tensor:
    """logits_XV of the token model that the process and a tokenizer make."""
    rows = [[mass(vocabulary, [*prefix, token]) for token in range(len(vocabulary.pieces))] for prefix in prefixes]
    return torch.tensor(rows, dtype=torch.float64).log().clamp_min(-60.0)


def test_token_models_of_one_process_agree_but_for_the_outcome_bias() -> None:
    """Where no token of either reaches over a chunk's ends its probabilities are equal; elsewhere they differ by just
    the mass of continuations that a tokenizer would have cut elsewhere. With debiasing, a chunk that begins at such a
    place agrees wherever it ends."""
    one = Vocabulary([None, b"a", b"b", b"c", b" ", b"ab", b"bc"], {"<s>": 0})
    other = Vocabulary([None, b"c", b"b", b"a", b" ", b"ba", b"bab"], {"<s>": 0})
    text = b"abac babc bc abb cab aab cb"
    ids = [0, *one.fitted(text)]
    source = Across.of(teacher(7), one, other)
    study = study_of(padded([Text.answer(ids, 1)], 99), source, model(2, 7))
    spans = study.signal
    assert isinstance(spans, Spans)
    theirs = source.crossing(Text.answer(ids, 1)).ids
    q_NV = induced(one, [ids[1 : at + 1] for at in study.at.at_N.tolist()])
    p_MU = induced(other, [theirs[1 : at + 1] for at in range(len(theirs))])
    study = tabled(study, q_NV, p_MU)
    spans = study.signal
    q_N, q_opens_N = said(study.student, study.at.label_N, spans.shared.q_opens_O)
    p_M, p_opens_M = spans.said()
    chunks = spans.chunks
    apart_C = chunks.q.total(q_N) - chunks.p.total(p_M)

    def bias(row: int, vocabulary: Vocabulary, ids: list[int]) -> float:
        """Of the place in front of the token that a row says."""
        return math.log(mass(vocabulary, ids[1 : row + 1]) / chain(vocabulary.bytes_of(ids[: row + 1])))

    starts = [
        (bias(a, one, ids), bias(b, other, theirs)) for a, b in zip(chunks.q.first_C, chunks.p.first_C, strict=True)
    ]
    ends = [*starts[1:], (bias(len(ids) - 1, one, ids), bias(len(theirs) - 1, other, theirs))]
    want_C = torch.tensor([(e - s) - (f - t) for (s, t), (e, f) in zip(starts, ends, strict=True)])
    torch.testing.assert_close(apart_C, want_C, atol=1e-4, rtol=0)
    fair = [max(map(abs, (*start, *end))) < 1e-9 for start, end in zip(starts, ends, strict=True)]
    assert 3 < sum(fair) < len(fair) - 3
    assert (apart_C[torch.tensor(fair)].abs() < 1e-4).all()
    assert (apart_C.abs() > 0.1).sum() > 3

    behind = chunks.q.after_C != PAD
    begins = torch.tensor([max(map(abs, start)) < 1e-9 for start in starts]) & behind
    joined_C = apart_C + (q_opens_N[chunks.q.after_C] - p_opens_M[chunks.p.after_C])
    assert (joined_C[begins].abs() < 1e-4).all()
    assert (apart_C[begins].abs() > 0.1).any()


def test_chunks_are_joined_up_to_a_sure_end() -> None:
    assert runs([False, True, True, False, True, True], [False, True, True, False, False, True]) == [
        (0, 1),
        (2, 2),
        (3, 5),
    ]
    assert runs([False, True, False, False], [False, False, True, False]) == [(2, 2)]
    assert runs([], []) == []
    study = study_of(padded([Text.answer([3, 1, 3, 4, 3, 3, 0], 1)], 99), across(ONE, OTHER), model(2, 7))
    spans = study.signal
    assert isinstance(spans, Spans)
    assert len(spans.chunks) == 6
    likely = spans.chunks.p.after_C[2]
    p_opens_M = torch.full((len(spans.label_M),), -9.0).index_fill(0, likely, math.log(0.2))
    joined = ALM().debiased(spans, p_opens_M)
    assert (joined.q.first_C.tolist(), joined.q.last_C.tolist()) == ([0, 3], [2, 5])
    assert joined.control_C.tolist() == [False, True]
    assert len(ALM(threshold=None).debiased(spans, p_opens_M)) == len(spans.chunks)
    assert len(ALM(threshold=0.3).debiased(spans, p_opens_M)) == 1


def test_coins_at_equality() -> None:
    """The cross-entropy is the coin's entropy, a divergence is zero; neither has a gradient."""
    logp_C = torch.tensor([-0.0, -1e-3, -0.7, -12.0, -300.0, -1e4])
    for alm in (ALM(), ALM(temperature=3.0), ALM(divergence=ForwardKL())):
        q_C = logp_C.clone().requires_grad_()
        nats_C = alm.matched(logp_C, q_C)
        nats_C.sum().backward()
        assert q_C.grad is not None
        assert q_C.grad.abs().max() < 1e-5
        coin = (logp_C.double() / alm.temperature - alm.epsilon).exp()
        entropy = -(coin * coin.log() + (1 - coin) * (1 - coin).log()).nan_to_num(0.0)
        want = entropy if alm.divergence is None else torch.zeros_like(entropy)
        torch.testing.assert_close(nats_C.detach().double(), want, atol=1e-5, rtol=1e-4)
        worse = alm.matched(logp_C, logp_C - 2)
        assert (worse[:4] > nats_C[:4]).all()


def test_log1mexp_keeps_its_digits() -> None:
    x = -torch.logspace(-7, 2, 200, dtype=torch.float64)
    found = log1mexp(x.float().requires_grad_())
    torch.testing.assert_close(found.double(), torch.log(-torch.expm1(x)), rtol=1e-5, atol=1e-12)
    found.sum().backward()


@pytest.mark.parametrize(("objective", "vocabularies"), [
    (ALM(threshold=None, temperature=1.0), (ONE, OTHER)),
    (ALM(temperature=1.0), (ONE, ONE)),
    (GOLD(hybrid=True, skip_eos=False), (LETTERS, LETTERS)),
])  # fmt: skip
def test_a_sure_teacher_is_believed(objective, vocabularies: tuple[Vocabulary, Vocabulary]) -> None:
    """U10: the teacher is sure of the text's own next tokens; a free student comes to say them. A teacher whose rows
    are one too late, planted, teaches something else."""
    student, other = vocabularies
    batch = padded(texts(student, b"abc " if student is ONE else b"abcdefgh", count=2), 99)
    study = study_of(batch, Across.of(teacher(len(other.pieces)), student, other), model(2, len(student.pieces)))
    spans = study.signal
    assert isinstance(spans, Spans)
    sure_MU = torch.full((len(spans.label_M), len(other.pieces)), -30.0).scatter(1, spans.label_M[:, None], 0.0)
    counted_N = torch.zeros(len(study.at))
    side = spans.chunks.q
    for first, last in zip(side.first_C.tolist(), side.last_C.tolist(), strict=True):
        counted_N[first : last + 1] = 1

    def agreed(p_MU: Tensor) -> tuple[float, float]:
        rng = Generator().manual_seed(0)
        q_NV = torch.randn(len(study.at), len(student.pieces), generator=rng).requires_grad_()
        optimiser = torch.optim.SGD([q_NV], lr=3.0)
        label_N1 = study.at.label_N[:, None]
        before = q_NV.detach().log_softmax(-1).gather(1, label_N1)[:, 0]
        for step in range(60):
            optimiser.zero_grad()
            objective(tabled(study, q_NV, p_MU)).sum().backward()
            optimiser.step()
            if not step:
                after = q_NV.detach().log_softmax(-1).gather(1, label_N1)[:, 0]
                rose = ((after >= before).float() * counted_N).sum() / counted_N.sum()
        right = (q_NV.argmax(-1) == study.at.label_N).float()
        return float(rose), float((right * counted_N).sum() / counted_N.sum())

    rose, right = agreed(sure_MU)
    assert rose == 1
    assert right > 0.95
    if not isinstance(objective, ALM):  # a late teacher gives ALM no chunk that it could believe in
        assert agreed(sure_MU.roll(1, 0))[1] < 0.5
    else:
        assert agreed(sure_MU.roll(1, 0))[1] < right - 0.3

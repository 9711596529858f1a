"""The optimum against a linear programme over all transports, rates against enumeration and against the verifiers
themselves, and the walk that collects laws."""

import json
from itertools import permutations, product

import numpy
import pytest
import torch
from scipy.optimize import linprog

from decant.bench import transport
from decant.bench.bound import KINDS, bound, laws_along, reached, report
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.workload import Workload
from decant.drafters.draft_model import DraftModel
from decant.errors import BadInput, IncompatibleParts, ShapeError
from decant.noise import Noise
from decant.samplers.temperature import temperature
from decant.testing.laws.verifier import guess
from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import Draft, DraftShape
from decant.verifiers.coupled import Coupled
from decant.verifiers.k_seq import KSeq
from decant.verifiers.tree_rejection import TreeRejection

TOYS = [(vocab, drafts, seed) for vocab, drafts in ((3, 2), (4, 2), (5, 2), (4, 3), (5, 3)) for seed in range(3)]


def toy(vocab: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    laws_2V = (1.5 * torch.randn(2, vocab, generator=generator, dtype=torch.float64)).softmax(-1)
    return laws_2V[:1], laws_2V[1:]


def draws(q: list[float], count: int, kind: str) -> dict[tuple[int, ...], float]:
    """The chance of every tuple of guesses, in order."""
    tokens = range(len(q))
    best = sorted(tokens, key=lambda token: -q[token])
    if kind == "fixed":
        return {tuple(best[:count]): 1.0}
    if kind == "greedy_multi":
        rest = 1 - sum(q[token] for token in best[: count - 1])
        return {(*best[: count - 1], token): q[token] / rest for token in best[count - 1 :]}
    if kind == "independent":
        return {at: float(numpy.prod([q[token] for token in at])) for at in product(tokens, repeat=count)}
    found = {}
    for at in permutations(tokens, count):
        chance, left = 1.0, 1.0
        for token in at:
            chance, left = chance * q[token] / left, left - q[token]
        found[at] = chance
    return found


def best_transport(p: list[float], guesses: dict[tuple[int, ...], float]) -> float:
    """The most mass of a joint law of (guesses, token) with these margins that lies where the token was guessed."""
    rows, columns = len(guesses), len(p)
    gain = [[-float(token in at) for token in range(columns)] for at in guesses]
    margins = numpy.zeros((rows + columns, rows, columns))
    for row in range(rows):
        margins[row, row] = 1
    for column in range(columns):
        margins[rows + column, :, column] = 1
    solved = linprog(
        numpy.ravel(gain), A_eq=margins.reshape(rows + columns, -1), b_eq=[*guesses.values(), *p], method="highs"
    )
    assert solved.success
    return -solved.fun


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("vocab", "drafts", "seed"), TOYS)
def test_the_bound_is_the_best_transport(vocab: int, drafts: int, seed: int, kind) -> None:
    p_XV, q_XV = toy(vocab, seed)
    best = best_transport(p_XV[0].tolist(), draws(q_XV[0].tolist(), drafts, kind))
    assert float(bound(p_XV, q_XV, drafts, kind)) == pytest.approx(best, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_one_guess_is_the_overlap(kind) -> None:
    p_XV, q_XV = (torch.cat(laws) for laws in zip(*(toy(6, seed) for seed in range(5)), strict=True))
    overlap_X = torch.minimum(p_XV, q_XV).sum(-1)
    assert torch.allclose(bound(p_XV, q_XV, 1, kind), overlap_X, atol=1e-12)
    for verifier, of in transport.REACHED:
        if of == kind and verifier != "coupled":
            assert torch.allclose(reached(verifier, p_XV, q_XV, 1, kind), overlap_X, atol=1e-12)


@pytest.mark.parametrize("drafts", [2, 3, 4])
def test_steep_laws_keep_their_digits(drafts: int) -> None:
    """q spans 25 orders of magnitude; the chance that all draws lie in a set is a sum over orders of draws."""
    q_V = torch.tensor([1.0, 1e-6, 1e-7, 1e-15, 1e-25], dtype=torch.float64)
    found_V = transport._missed(q_V[None] / q_V.sum(), transport._behind(q_V[None] / q_V.sum()), drafts)[0]
    for size in range(1, 6):
        inside = missed = 0.0
        for at in permutations(range(5), drafts):
            chance = 1.0
            for place, token in enumerate(at):
                chance *= float(q_V[token] / sum(q_V[other] for other in range(5) if other not in at[:place]))
            inside, missed = inside + chance * (max(at) < size), missed + chance * (max(at) >= size)
        assert float(found_V[size - 1]) == pytest.approx(missed, rel=1e-8, abs=1e-13)


def test_tokens_that_cannot_be_drawn_are_no_guesses() -> None:
    p_XV, q_XV = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.9, 0.1, 0.0]])
    for kind in ("independent", "without_replacement"):
        assert float(bound(p_XV, q_XV, 3, kind)) <= 0.8 + 1e-6
    assert float(bound(p_XV, q_XV, 2, "without_replacement")) == pytest.approx(0.8)  # both are guessed
    assert float(bound(p_XV, q_XV, 4, "without_replacement")) == pytest.approx(0.8)
    assert float(reached("tree-rejection", p_XV, q_XV, 4, "without_replacement")) == pytest.approx(0.8)


@pytest.mark.parametrize("drafts", [2, 3])
def test_no_verifier_is_above_the_bound_and_k_seq_is_near_it(drafts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SAMPLES", 20_000)
    p_XV, q_XV = (torch.cat(laws) for laws in zip(*(toy(5, seed) for seed in range(40)), strict=True))
    for verifier, kind in transport.REACHED:
        slack = 0.002 if (verifier, kind) == ("coupled", "without_replacement") else 1e-8
        best_X, rate_X = bound(p_XV, q_XV, drafts, kind), reached(verifier, p_XV, q_XV, drafts, kind)
        assert (rate_X <= best_X + slack).all(), (verifier, kind)
        if verifier == "k-seq":
            assert (rate_X >= (1 - 1 / torch.e) * best_X).all()
            assert (rate_X < best_X - 0.01).any()


PARTS = {"tree-rejection": TreeRejection(), "k-seq": KSeq()}


@pytest.mark.parametrize(
    ("verifier", "kind"),
    [("tree-rejection", "independent"), ("tree-rejection", "without_replacement"), ("k-seq", "independent")],
)
def test_a_rate_is_what_the_verifier_itself_accepts(verifier: str, kind) -> None:
    count, target = 40_000, MarkovLM.random(5, 3)
    drafter = target.blurred(4)
    draft = guess(drafter, kind, 3, count, torch.Generator().manual_seed(0))
    context = MarkovContext(torch.tensor([[0, 1]]).expand(count, -1))
    target_BMV = target.score(context, draft).logits_BMV.softmax(-1)
    noise = Noise(torch.arange(count), torch.zeros(count, dtype=torch.int64))
    verdict = PARTS[verifier].verify(draft, target_BMV, noise)
    found = float((verdict.accepted_B > 0).float().mean())
    expected = float(reached(verifier, target_BMV[:1, 0], draft.laws_BMV[:1, 0], 3, kind))
    assert found == pytest.approx(expected, abs=4 * (expected * (1 - expected) / count) ** 0.5)


@pytest.mark.parametrize("drafts", [1, 2, 3])
def test_the_race_is_what_a_coupled_drafter_and_verifier_agree_on(drafts: int) -> None:
    count, (p_XV, q_XV) = 40_000, toy(5, 7)
    target, small = (MarkovLM(law_XV.float().log().expand(6, 5, -1)) for law_XV in (p_XV, q_XV))
    context = MarkovContext(torch.zeros(count, 1, dtype=torch.int64))
    noise = Noise(torch.arange(count), torch.zeros(count, dtype=torch.int64))
    draft = DraftModel(small).draft(context, DraftShape(1, drafts), temperature(1.0), noise, None)
    verdict = Coupled().verify(draft, target.score(context, draft).logits_BMV.softmax(-1), noise)
    found = float((verdict.accepted_B > 0).float().mean())
    rate = float(reached("coupled", p_XV, q_XV, drafts, "without_replacement"))
    assert rate == pytest.approx(found, abs=0.02 + 4 * (found * (1 - found) / count) ** 0.5)
    if drafts == 1:
        ratio_VV = torch.maximum(p_XV / p_XV.T, q_XV / q_XV.T)
        assert rate == pytest.approx(float((1 / ratio_VV.sum(-1)).sum()), abs=0.02)


@pytest.mark.parametrize("drafts", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_lattice_agrees_with_enumeration(drafts: int, seed: int) -> None:
    p_XV, q_XV = toy(6, seed)
    lattice, exact = (judged(p_XV, q_XV, drafts) for judged in (transport._refused_along, transport._enumerated))
    assert float(lattice) == pytest.approx(float(exact), abs=0.01)
    assert float(lattice) != float(exact)


def workload(**changes) -> Workload:
    return Workload(**{"prompts": [[0, 1], [2], [3, 3, 1]], "max_tokens": 20, "seed": 5} | changes)


def test_laws_are_those_of_the_target_s_own_text() -> None:
    target = MarkovLM.random(4, 0)
    draft, warp, work = target.blurred(1), temperature(0.7), workload(max_tokens=6)
    pairs = list(laws_along(target, draft, work, warp, 100))
    assert [len(p_XV) for p_XV, _ in pairs] == [6, 6, 6]
    plain = Autoregressive(target, warp, Unconstrained())
    texts = [output.tokens for _, outputs in work.decode(plain) for output in outputs]
    for prompt, text, (p_XV, q_XV) in zip(work.prompts, texts, pairs, strict=True):
        assert len(text) == 6
        for at in range(6):
            context = MarkovContext(torch.tensor([[*prompt, *text[:at]]]))
            for model, law_V in ((target, p_XV[at]), (draft, q_XV[at])):
                logits_V = model.score(context, Draft.nothing(1)).logits_BMV[0, 0]
                assert torch.equal(law_V, warp(logits_V).softmax(-1))


@pytest.mark.parametrize(("positions", "expected"), [(1, [1]), (4, [2, 1, 1]), (60, [20, 20, 20]), (90, [20, 20, 20])])
def test_positions_are_spread_over_the_prompts(positions: int, expected: list[int]) -> None:
    target = MarkovLM.random(4, 0)
    pairs = laws_along(target, target.blurred(1), workload(), temperature(1.0), positions)
    assert [len(p_XV) for p_XV, _ in pairs] == expected


def test_a_text_ends_where_the_workload_says_so() -> None:
    target = MarkovLM.random(4, 0)
    pairs = list(laws_along(target, target, workload(ends=frozenset(range(4))), temperature(1.0), 60))
    assert [len(p_XV) for p_XV, _ in pairs] == [1, 1, 1]


def test_the_report_holds_every_kind_and_verifier() -> None:
    target = MarkovLM.random(5, 0)
    pairs = list(laws_along(target, target.blurred(1), workload(), temperature(1.0), 30))
    found = json.loads(json.dumps(report(iter(pairs), [1, 3]), allow_nan=False))
    assert found["positions"] == 30
    assert [(row["kind"], row["drafts"]) for row in found["rows"]] == [(kind, n) for kind in KINDS for n in (1, 3)]
    p_XV, q_XV = (torch.cat(laws) for laws in zip(*pairs, strict=True))
    for row in found["rows"]:
        optimal = float(bound(p_XV, q_XV, row["drafts"], row["kind"]).mean())
        assert row["optimal"] == pytest.approx(optimal, abs=1e-6)
        names = [name for name, kind in transport.REACHED if kind == row["kind"]]
        assert [one["verifier"] for one in row["verifiers"]] == names
        for one in row["verifiers"]:
            if not one["estimated"]:
                rate = float(reached(one["verifier"], p_XV, q_XV, row["drafts"], row["kind"]).mean())
                assert one["reached"] == pytest.approx(rate, abs=1e-6)
            assert one["share"] == pytest.approx(one["reached"] / row["optimal"], abs=1e-5)


def test_what_cannot_be_answered_is_refused() -> None:
    p_XV, q_XV = toy(4, 0)
    target = MarkovLM.random(4, 0)
    with pytest.raises(BadInput, match="at least one guess, got 0"):
        bound(p_XV, q_XV, 0, "independent")
    with pytest.raises(ShapeError, match=r"got \(1, 4\) and \(1, 3\)"):
        bound(p_XV, q_XV[:, :3], 1, "independent")
    with pytest.raises(
        BadInput, match="there is no rate of k-seq for fixed guesses; there are tree-rejection of indep"
    ):
        reached("k-seq", p_XV, q_XV, 2, "fixed")
    with pytest.raises(BadInput, match="nothing to report: 0 positions"):
        report([], [1])
    with pytest.raises(IncompatibleParts, match="the target has 4 logits and the draft model 5"):
        next(laws_along(target, MarkovLM.random(5, 0), workload(), temperature(1.0)))
    with pytest.raises(BadInput, match="at least one position is needed, got 0"):
        next(laws_along(target, target, workload(), temperature(1.0), 0))

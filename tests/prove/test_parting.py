"""Near-ties are told from bugs."""

from dataclasses import dataclass
from typing import final

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.parting import BLOCK, ROUNDING, explain
from decant.decoders.workload import Workload
from decant.protocols import Warp
from decant.samplers.chain import chain
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.samplers.top_p import top_p
from decant.testing.markov import MarkovLM
from decant.types import Draft, Scores, Taps, Verdict


def always(*logits: float) -> MarkovLM:
    """The same law behind every token."""
    row_V = torch.tensor(logits)
    return MarkovLM(row_V.expand(len(row_V) + 1, len(row_V), len(row_V)).contiguous())


def plain(model: object, warp: Warp) -> Autoregressive:
    return Autoregressive(model, warp, Unconstrained())


def said(decoder: Autoregressive, work: Workload) -> list[int]:
    return next(iter(work.decode(decoder)))[1][0].tokens


ONE = Workload([[0]], max_tokens=4)


def test_equal_texts_do_not_part() -> None:
    assert explain(plain(always(1.0, 0.0), greedy()), ONE, 0, [0, 0], [0, 0]) is None


@pytest.mark.parametrize(("gap", "cause"), [(1e-6, "near-tie"), (1e-2, "unexplained")])
def test_greedy_partings_are_judged_by_the_gap_of_two_logits(gap: float, cause: str) -> None:
    decoder = plain(always(8.0, 8.0 - gap, -3.0), greedy())
    found = explain(decoder, ONE, 0, [0, 0, 0, 0], [0, 0, 1, 0])
    assert found is not None
    assert (found.position, found.plain, found.method, found.cause) == (2, 0, 1, cause)
    assert found.margin == pytest.approx(gap, rel=0.5)
    assert found.tolerance == pytest.approx(8 * ROUNDING[torch.float32])


def test_a_token_that_is_far_behind_is_never_a_tie() -> None:
    decoder = plain(always(8.0, 8.0 - 1e-6, -3.0), greedy())
    found = explain(decoder, ONE, 0, [0, 0], [2, 0])
    assert found is not None
    assert found.cause == "unexplained"


def test_what_plain_decoding_would_never_say_is_unexplained_too() -> None:
    """The tie is between 0 and 1, but `plain` claims to have said 2: the decoder is not the one that spoke."""
    decoder = plain(always(8.0, 8.0 - 1e-6, -3.0), greedy())
    found = explain(decoder, ONE, 0, [2], [1])
    assert found is not None
    assert found.cause == "unexplained"


def test_text_that_goes_on_behind_an_end_is_unexplained() -> None:
    found = explain(plain(always(1.0, 0.0), greedy()), ONE, 0, [0], [0, 0])
    assert found is not None
    assert (found.position, found.plain, found.method, found.margin, found.cause) == (1, None, 0, None, "unexplained")


@pytest.mark.parametrize("warp", [temperature(0.7), chain(temperature(1.3), top_p(0.9))])
def test_drawn_tokens_are_judged_by_the_race(warp: Warp) -> None:
    """Shift a logit until another token wins the race, then by less than rounding."""
    generator = torch.Generator().manual_seed(0)
    logits_V = torch.randn(6, generator=generator)
    ours = said(plain(always(*logits_V.tolist()), warp), ONE)
    low, high = 0.0, 20.0
    rival = (ours[0] + 1) % 6
    for _ in range(60):
        middle = (low + high) / 2
        raised = logits_V.double().index_add(0, torch.tensor([rival]), torch.tensor([middle], dtype=torch.float64))
        wins = said(plain(always(*raised.tolist()), warp), ONE)[0] == rival
        low, high = (low, middle) if wins else (middle, high)
    for shift, cause in ((low - 1e-5, "near-tie"), (low - 0.01, "unexplained")):
        row_V = logits_V.clone()
        row_V[rival] += shift
        decoder = plain(always(*row_V.tolist()), warp)
        first = said(decoder, ONE)[0]
        assert first != rival
        found = explain(decoder, ONE, 0, [first], [rival])
        assert found is not None
        assert found.cause == cause


def test_a_token_at_the_edge_of_a_cut_may_come_or_go() -> None:
    """Tokens 1 and 2 are tied for the second place of top-2: rounding decides which of them can be drawn at all."""
    warp = top_k(2)
    decoder = plain(always(1.0, 1.0, 1.0 - 1e-6), warp)
    for seed in range(20):
        work = Workload([[0]], max_tokens=1, seed=seed)
        other = said(plain(always(1.0, 1.0 - 1e-6, 1.0), warp), work)
        found = explain(decoder, work, 0, said(decoder, work), other)
        assert found is None or found.cause == "near-tie"
        forbidden = plain(always(1.0, 1.0, 0.9), warp)
        apart = explain(forbidden, work, 0, said(forbidden, work), [2])
        assert apart is not None
        assert apart.cause == "unexplained"
        assert apart.margin is None


@final
@dataclass(frozen=True)
class Half:
    """A model that computes in bfloat16."""

    inner: MarkovLM
    vocab: int
    trees: bool = True

    def start(self, prompt_BT: torch.Tensor, taps: Taps = Taps()) -> tuple[object, Scores]:  # noqa: B008
        return self.inner.start(prompt_BT, taps)

    def score(self, context: object, draft: Draft) -> Scores:
        return Scores(self.inner.score(context, draft).logits_BMV.bfloat16())

    def commit(self, context: object, verdict: Verdict) -> object:
        return self.inner.commit(context, verdict)

    def tokens(self, context: object) -> torch.Tensor:
        return self.inner.tokens(context)


def test_rounding_is_that_of_the_models_own_dtype() -> None:
    decoder = plain(Half(always(8.0, 7.9375, 0.0), 3), greedy())
    found = explain(decoder, ONE, 0, [0], [1])
    assert found is not None
    assert found.cause == "near-tie"
    assert found.tolerance == pytest.approx(8 * ROUNDING[torch.bfloat16])
    exact = explain(plain(always(8.0, 7.9375, 0.0), greedy()), ONE, 0, [0], [1])
    assert exact is not None
    assert exact.cause == "unexplained"


@pytest.mark.parametrize("position", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_the_text_so_far_is_replayed_to_the_right_position(position: int) -> None:
    model = MarkovLM.random(vocab=13, seed=0)
    work = Workload([[1, 2, 3]], max_tokens=position + 1)
    decoder = plain(model, temperature(1.0))
    ours = said(decoder, work)
    text = [1, 2, 3, *ours[:position]]
    row_V = model.logits_UVV[text[-2], text[-1]]
    worst = int(row_V.argmin())
    theirs = worst if worst != ours[position] else (worst + 1) % 13
    found = explain(decoder, work, 0, ours, [*ours[:position], theirs])
    assert found is not None
    assert found.position == position
    assert found.tolerance == pytest.approx(float(row_V.abs().max()) * ROUNDING[torch.float32])
    assert found.margin is None or found.margin > 0, "plain decoding's token wins its own race"

"""Sequential Monte Carlo obeys its card: the law of allowed texts, the nearer the more particles."""

import pytest
import torch

from decant.decoders.awrs import AWRS, ByConstraint
from decant.decoders.generate import generate, right_pad
from decant.decoders.smc import SMC, _systematic
from decant.decoders.stopping import Stopping
from decant.errors import BadInput
from decant.noise import Noise
from decant.samplers.chain import chain
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_continuous
from decant.types import PAD
from tests.decoders.checks import LM, PROMPTS, SEEDS, Forbids, alone_or_together, like_fresh, run, texts
from tests.decoders.restricted import LENGTH, MASS, TABLE, Ends, distance, sampled
from tests.decoders.test_awrs import Among, NoEcho

WARP = temperature(0.7)


def smc(constraint=NoEcho(), target=LM, warp=WARP, **knobs) -> SMC:  # noqa: B008  (frozen)
    return SMC(target, warp, ByConstraint(constraint, target.vocab), **knobs)


@pytest.mark.parametrize("ahead", [True, False], ids=["mask", "prefix"])
def test_particles_close_the_gap_that_masking_leaves(ahead: bool) -> None:
    """Of 4,000 drawn texts the total variation of a right law is 0.02, and it is at least 0.31 with one particle."""
    far = [distance(sampled(SMC(TABLE, chain(), Ends(ahead), n, length=LENGTH), 4000)[0]) for n in (1, 4, 16)]
    assert far[0] > 0.29
    assert far[1] < far[0] / 2
    assert far[2] < 0.06, far


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_the_mean_mass_is_the_allowed_mass_however_often_it_resamples(threshold: float) -> None:
    """With 3,000 requests of 8 the standard error is 0.8 % of the mass: five of them see an error of 7 %."""
    _, state = sampled(SMC(TABLE, chain(), Ends(False), 8, threshold, LENGTH), 3000)
    mass_R = state.logmass_B.exp()
    error = float(mass_R.std() / 3000**0.5)
    assert error < 0.014 * MASS
    assert abs(float(mass_R.mean()) - MASS) < 5 * error


def test_copies_that_share_their_noise_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: all particles of a request draw the same numbers, so that there is only one."""

    def shared(self, state):
        begin_B = state.noise.root_B - state.said_B
        count_P = (state.texts_PL != PAD).sum(-1)
        rows_P = torch.arange(len(begin_B)).repeat_interleave(self.particles)
        return Noise(state.noise.seed_B[rows_P], begin_B[rows_P] + count_P)

    monkeypatch.setattr(SMC, "_noise", shared)
    assert distance(sampled(SMC(TABLE, chain(), Ends(), 16, length=LENGTH), 2000)[0]) > 0.25


def test_one_particle_is_awrs() -> None:
    one = texts(smc(particles=1, length=7))
    assert one == texts(AWRS(LM, WARP, ByConstraint(NoEcho(), LM.vocab)))


def test_a_batch_is_its_requests() -> None:
    alone_or_together(smc(particles=5, length=6))


def test_requests_come_and_go() -> None:
    """Requests that end with a stretch, so that none is final later than its own last step."""
    asked = [(prompt, 11 + row, 4 * (row % 4 + 1)) for row, prompt in enumerate([*PROMPTS, [1, 2, 3], [3]])]
    check_continuous(smc(particles=3, length=4), asked=asked)


@pytest.mark.parametrize("threshold", [0.3, 1.0])
def test_what_is_final_never_changes_and_obeys(threshold: float) -> None:
    """Step by step: tokens come in order, none is taken back, and no particle that lives says anything else."""
    decoder = smc(Forbids(2), particles=6, threshold=threshold, length=9)
    state = decoder.start(right_pad(PROMPTS), Noise.of(SEEDS))
    held = [[] for _ in PROMPTS]
    early = 0
    for at in range(30):
        state, step = decoder.step(state)
        for row, tokens, places in zip(held, step.tokens_BC.tolist(), step.positions_BC.tolist(), strict=True):
            real = [token for token in tokens if token != PAD]
            assert [place for place in places if place != PAD] == list(range(len(row), len(row) + len(real)))
            row += real
            early += 0 < len(real) < 9 and (at + 1) % 9 != 0
        assert state.noise.root_B.tolist() == [len(row) for row in held]
        for request, row in enumerate(held):
            said = int(state.said_B[request])
            mine = state.texts_PL.unflatten(0, (3, 6))[request]
            assert all(text[:said] == row[len(row) - said :] for text in mine.tolist())
    assert early, "some tokens are final before the stretch ends"
    assert not any(2 in row for row in held)
    assert all(len(row) >= 27 for row in held)


@pytest.mark.parametrize("ends", [frozenset(), frozenset({3, 5})])
def test_the_cache_of_every_particle_holds_its_own_text(pair, ends) -> None:
    """Those that have ended wait while others go on, and copies of one do not write into each other."""
    decoder = smc(target=pair[0], particles=4, threshold=0.9, length=50, ends=ends)
    state, held, _ = run(decoder, PROMPTS, 8)
    rows = []
    for text, said, mine in zip(held, state.said_B.tolist(), state.texts_PL.unflatten(0, (3, 4)).tolist(), strict=True):
        before = text[: len(text) - said]
        rows += [before + [token for token in row if token != PAD] for row in mine]
    like_fresh(pair[0], state.inner.context, rows)
    assert len({tuple(row) for row in rows}) > 3


def test_a_text_ends_at_its_end_token() -> None:
    ends = frozenset({4})
    decoder = smc(particles=5, length=30, ends=ends)
    last = generate(decoder, right_pad(PROMPTS), Noise.of(SEEDS), [Stopping(60, ends)] * 3)
    for output in last.outputs:
        assert output.reason == "stop"
        assert output.tokens.index(4) == len(output.tokens) - 1
    assert max(len(output.tokens) for output in last.outputs) > min(len(output.tokens) for output in last.outputs)


def test_an_end_token_is_asked_about_like_any_other() -> None:
    """Forbidden, it never comes: texts go on to their length."""
    ends = frozenset({4})
    decoder = smc(Forbids(4), particles=5, length=10, ends=ends)
    last = generate(decoder, right_pad(PROMPTS), Noise.of(SEEDS), [Stopping(20, ends)] * 3)
    assert [output.reason for output in last.outputs] == ["length"] * 3


@pytest.mark.parametrize("warp", [WARP, greedy()], ids=["T=0.7", "greedy"])
def test_where_nothing_is_allowed_the_first_particle_goes_on_at_weight_zero(warp) -> None:
    decoder = SMC(LM, warp, Among(torch.zeros(LM.vocab, dtype=torch.bool)), 4, length=5)
    state, held, _ = run(decoder, PROMPTS, 7)
    assert [len(text) - len(prompt) for text, prompt in zip(held, PROMPTS, strict=True)] == [7, 7, 7]
    assert state.logmass_B.tolist() == [-torch.inf] * 3


def test_systematic_resampling_copies_in_proportion() -> None:
    weights = torch.tensor([[0.0, 4.0, 1.0, 0.0, 3.0, 0.0, 0.0, 0.0], [1.0] * 8], dtype=torch.float64)
    for u in (1e-9, 0.5, 1 - 1e-9):
        slots = _systematic(weights, torch.full((2, 1), u, dtype=torch.float64))
        assert torch.bincount(slots[0], minlength=8).tolist() == [0, 4, 1, 0, 3, 0, 0, 0]
        assert slots[1].tolist() == list(range(8))


def test_the_cache_is_counted_for_all_particles() -> None:
    assert smc(particles=3, length=10).cache_bytes([5, 7]) == LM.cache_bytes([15, 15, 15, 17, 17, 17])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"particles": 0}, "1 particle or more"),
        ({"length": 0}, "a length of 1 or more"),
        ({"threshold": 1.5}, "a threshold in"),
        ({"accepts": 1}, "2 accepts or more"),
    ],
)
def test_impossible_knobs_are_refused(knobs, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        smc(**knobs)

"""Credit, slot by slot, against a dense table of the whole vocabulary; and what it must never do."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Fresh, Outlook, Reveal, Turn, surest
from decant.errors import BadInput
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.schedules.blocks import Blocks
from decant.schedules.full import Full
from decant.testing.canvases import HashLM
from decant.types import PAD
from decant.unmaskers.credit_decoding import SLOTS, CreditDecoding, Credits
from decant.unmaskers.threshold import Threshold
from tests.unmaskers.outlooks import outlook, sure

MODEL = HashLM(vocab=7, sharpness=1.5)
PROMPTS = [[1, 2] + [MODEL.mask] * 12, [3] + [MODEL.mask] * 9, [5] + [MODEL.mask] * 14]


@dataclass(frozen=True)
class Dense:
    """The card as it is written, one float a place and id. after: this pass counts from the next on only."""

    alpha: float = 0.7
    beta: float = 0.8
    gamma: float = 0.2
    tau: float = 0.9
    after: bool = False
    forgets: bool = True
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def start(self, canvas_BL: Tensor, noise: Noise) -> Tensor:
        return torch.zeros(*canvas_BL.shape, MODEL.vocab)

    def reveal(self, state: Tensor, seen: Outlook, turn: Turn) -> tuple[Reveal, Tensor]:
        credit_BLV = state.clone()
        logits = seen.logits_NV.clone()
        for n, (row, place) in enumerate(zip(seen.row_N.tolist(), seen.place_N.tolist(), strict=True)):
            before_V = credit_BLV[row, place].clone()
            best = int(seen.probs_NV[n].argmax())
            credit_BLV[row, place] *= self.beta
            credit_BLV[row, place, best] += float(seen.probs_NV[n, best]) ** self.gamma
            used_V = before_V if self.after else credit_BLV[row, place]
            logits[n] += self.alpha * (1 + used_V).log()
        fused = seen.rethought(logits)
        settled_BL = turn.eligible_BL & (fused.confidence_BL >= self.tau)
        settled_BL |= surest(fused.confidence_BL, turn.eligible_BL, 1)
        if self.forgets:
            credit_BLV[~turn.eligible_BL | settled_BL] = 0
        return Reveal(fused.guess_BL, settled_BL), credit_BLV


def trace(unmasker: Any, schedule: Any, warp: Any) -> list[list[list[int]]]:
    """The canvases after every pass."""
    decoder = MaskedDiffusion(MODEL, unmasker, schedule, NoCache(), warp)
    state, seen = decoder.start(right_pad(PROMPTS), Noise.of([1, 2, 3])), []
    while bool((state.canvas_BL == MODEL.mask).any()):
        state, _ = decoder.step(state)
        seen.append(state.canvas_BL.tolist())
    return seen


@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "drawn"])
@pytest.mark.parametrize("schedule", [Full(MODEL.mask), Blocks(MODEL.mask, 4)], ids=repr)
@pytest.mark.parametrize(("alpha", "beta", "gamma"), [(0.7, 0.8, 0.2), (1.5, 0.65, 0.5), (2.0, 1.0, 1.0)])
def test_slots_hold_what_a_dense_table_holds(schedule: Any, warp: Any, alpha: float, beta: float, gamma: float) -> None:
    mine = trace(CreditDecoding(0.8, alpha, beta, gamma), schedule, warp)
    assert mine == trace(Dense(alpha, beta, gamma, 0.8), schedule, warp)


def test_credit_that_counts_a_pass_late_is_caught() -> None:
    assert trace(CreditDecoding(0.8), Full(MODEL.mask), greedy()) != trace(
        Dense(tau=0.8, after=True), Full(MODEL.mask), greedy()
    )


@pytest.mark.parametrize("tau", [0.5, 0.9, 1.1])
def test_no_alpha_is_the_bar_alone(tau: float) -> None:
    assert trace(CreditDecoding(tau, alpha=0), Full(MODEL.mask), greedy()) == trace(
        Threshold(tau), Full(MODEL.mask), greedy()
    )
    assert trace(CreditDecoding(0.5), Full(MODEL.mask), greedy()) != trace(Threshold(0.5), Full(MODEL.mask), greedy())


def test_credit_makes_fewer_passes() -> None:
    assert len(trace(CreditDecoding(0.9), Full(MODEL.mask), greedy())) < len(
        trace(Threshold(0.9), Full(MODEL.mask), greedy())
    )


def held(credits: Credits, place: int) -> dict[int, float]:
    """Who has credit at a place of the first request."""
    at = slice(place * SLOTS, (place + 1) * SLOTS)
    pairs = zip(credits.tokens_BS[0, at].tolist(), credits.credit_BS[0, at].tolist(), strict=True)
    return {token: credit for token, credit in pairs if token != PAD}


def test_credit_by_hand_until_the_place_settles() -> None:
    """Constant logits: the surest place settles each time, the others wait until credit lifts them over the bar."""
    seen, unmasker = sure([0.85, 0.8]), CreditDecoding(tau=0.9)
    state, want, settled = unmasker.start(seen.canvas_BL, seen.noise), 0.0, [{-1}]
    for _ in range(3):
        want = 0.8 * want + 0.8**0.2
        lifted = 0.8 * (1 + want) ** 0.7 / (0.2 + 0.8 * (1 + want) ** 0.7)
        reveal, state = unmasker.reveal(state, seen, Turn(seen.asked_BL))
        settled.append(set(reveal.settled_BL[0].nonzero()[:, 0].tolist()))
        assert settled[-1] == ({0, 1} if lifted >= 0.9 else {0})
        assert held(state, 0) == {}, "a place that settled has credit"
        if lifted < 0.9:
            assert held(state, 1) == {0: pytest.approx(want, rel=1e-5)}
    assert settled[1:] == [{0}, {0}, {0, 1}]


def check_forgets(unmasker: Any) -> None:
    """Raises AssertionError where a place that could not settle for one pass is treated unlike a new one."""
    seen = sure([0.85, 0.8], MODEL.vocab)
    new = state = unmasker.start(seen.canvas_BL, seen.noise)
    both, nobody = Turn(seen.asked_BL), Turn(torch.zeros_like(seen.asked_BL))
    for turn in (both, both, nobody):
        _, state = unmasker.reveal(state, seen, turn)
    want, found = unmasker.reveal(new, seen, both)[0], unmasker.reveal(state, seen, both)[0]
    assert found.settled_BL.equal(want.settled_BL), "old credit settles a place"


def test_no_credit_outlives_its_block() -> None:
    check_forgets(CreditDecoding())
    check_forgets(Dense())
    with pytest.raises(AssertionError, match="old credit"):
        check_forgets(Dense(forgets=False))


def test_what_settles_was_the_likeliest_once() -> None:
    decoder = MaskedDiffusion(MODEL, CreditDecoding(1.1, alpha=3.0, beta=1.0), Full(MODEL.mask), NoCache(), greedy())
    state = decoder.start(right_pad(PROMPTS), Noise.of([1, 2, 3]))
    likeliest: dict[tuple[int, int], set[int]] = {}
    overruled = 0
    while bool((state.canvas_BL == MODEL.mask).any()):
        before_BL = state.canvas_BL
        asked_BL = before_BL == MODEL.mask
        _, logits_NV = MODEL.predict(state.context, before_BL, Fresh.whole(before_BL), asked_BL)
        row_N, place_N = asked_BL.nonzero(as_tuple=True)
        best = dict(zip(zip(row_N.tolist(), place_N.tolist(), strict=True), logits_NV.argmax(-1).tolist(), strict=True))
        for at, token in best.items():
            likeliest.setdefault(at, set()).add(token)
        state, _ = decoder.step(state)
        for row, place in (asked_BL & (state.canvas_BL != MODEL.mask)).nonzero().tolist():
            token = int(state.canvas_BL[row, place])
            assert token in likeliest[row, place]
            overruled += token != best[row, place]
    assert overruled, "credit never changed an id"


def test_a_ninth_id_takes_the_place_of_the_least() -> None:
    unmasker, flat = CreditDecoding(beta=0.9), torch.zeros(1, 2, 12)
    seen = outlook(flat)
    state = unmasker.start(seen.canvas_BL, seen.noise)
    for token in range(10):
        logits_BLV = flat.clone()
        logits_BLV[:, 1, token], logits_BLV[:, 0, 0] = 2.0, 9.0
        _, state = unmasker.reveal(state, outlook(logits_BLV), Turn(seen.asked_BL))
    assert sorted(held(state, 1)) == list(range(2, 10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": 0.0}, "tau is a probability above 0, got 0"),
        ({"alpha": -1.0}, "alpha and gamma are 0 or more, got -1 and 0.2"),
        ({"gamma": -2.0}, "got 0.7 and -2"),
        ({"beta": 1.5}, "beta lies between 0, which forgets, and 1, which keeps all credit, got 1.5"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        CreditDecoding(**settings)

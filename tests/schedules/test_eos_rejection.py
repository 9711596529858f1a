from dataclasses import replace

import pytest
import torch
from torch import Tensor

from decant.diffusion import Outlook, Turn
from decant.errors import BadInput
from decant.schedules.ascending import Ascending
from decant.schedules.blocks import Blocks
from decant.schedules.eos_rejection import EosRejection
from decant.schedules.full import Full
from decant.unmaskers.low_confidence import LowConfidence
from decant.unmaskers.threshold import Threshold
from tests.caches.recorded import MASK as HASH_MASK
from tests.caches.recorded import REFERENCE, said
from tests.schedules.outlooks import MASK, outlook

ENDS = frozenset({4, 5})
PROMPTS = [[1, 2] + [HASH_MASK] * 14, [3] + [HASH_MASK] * 9]


def asked(
    schedule: EosRejection, settled: int, sure: dict[int, tuple[int, float]], places: int = 8
) -> tuple[Outlook, Turn]:
    canvas_BL = torch.full((1, places), MASK)
    state = schedule.start(canvas_BL)
    canvas_BL[0, :settled] = 1
    scope = schedule.scope(state, canvas_BL)
    seen = outlook(canvas_BL, scope, sure)
    return seen, schedule.turn(state, scope, seen)[0]


def trusted(schedule: EosRejection, settled: int, sure: dict[int, tuple[int, float]], places: int = 8) -> Tensor:
    trust_N = asked(schedule, settled, sure, places)[1].trust_N
    assert trust_N is not None
    return trust_N


def trust(schedule: EosRejection, settled: int, places: int = 8) -> Tensor:
    """Of the last two places, whose guesses are an end and none."""
    return trusted(schedule, settled, {places - 2: (5, 0.9), places - 1: (1, 0.9)}, places)[-2:]


def test_trust_rises_from_the_least_to_the_whole() -> None:
    schedule = EosRejection(MASK, ENDS)
    found = [trust(schedule, settled) for settled in range(7)]
    torch.testing.assert_close(torch.stack(found)[:, 0], torch.tensor([0.4 + 0.6 * at / 7 for at in range(7)]))
    assert bool((torch.stack(found)[:, 1] == 1).all()), "no end: trusted as it is"
    assert trusted(schedule, 7, {7: (4, 0.9)}).tolist() == [1.0], "the last step"
    assert trusted(schedule, 0, {0: (4, 0.9)}, 1).tolist() == [1.0], "the first step is the last"


def test_with_doubling_steps_it_counts_what_the_step_settles() -> None:
    """Of 128 places: (2^(i + 1) - 1) / 2^7 in step i."""
    schedule = EosRejection(MASK, ENDS, ascending=True)
    for step in range(7):
        want = 0.01 + 0.99 * (2 ** (step + 1) - 1) / 128
        assert trust(schedule, 2**step - 1, 128)[0] == pytest.approx(want)
        quota = asked(schedule, 2**step - 1, {}, 128)[1].quota_B
        assert quota is not None
        assert quota.tolist() == [2**step if step < 6 else 65]


def test_an_end_waits_and_no_guess_changes() -> None:
    sure = {2: (1, 0.5), 5: (4, 0.8), 6: (5, 0.7)}
    seen, turn = asked(EosRejection(MASK, ENDS), 0, sure)
    late = replace(seen, trust_N=turn.trust_N)
    assert late.guess_N.equal(seen.guess_N)
    unmasker = LowConfidence()
    assert unmasker.reveal(None, seen, turn)[0].settled_BL[0].nonzero()[:, 0].tolist() == [5]
    assert unmasker.reveal(None, late, turn)[0].settled_BL[0].nonzero()[:, 0].tolist() == [2]


def test_where_all_are_ends_their_order_stays() -> None:
    seen, turn = asked(EosRejection(MASK, ENDS), 3, {place: (4, 0.3 + 0.05 * place) for place in range(8)})
    late = replace(seen, trust_N=turn.trust_N)
    assert late.confidence_N.argsort().equal(seen.confidence_N.argsort())
    assert bool((late.confidence_N < seen.confidence_N).all())


@pytest.mark.parametrize("unmasker", [LowConfidence(), LowConfidence(3), Threshold(0.6)], ids=repr)
def test_full_trust_is_the_schedule_without(unmasker) -> None:
    def ids(schedule) -> list[list[int]]:
        return said(replace(REFERENCE, schedule=schedule, unmasker=unmasker), PROMPTS, [1, 2])

    ends = {0, 1, 2}
    neutral = EosRejection(HASH_MASK, ends, gamma_min=1.0)
    assert ids(neutral) == ids(Full(HASH_MASK))
    assert ids(replace(neutral, block=4)) == ids(Blocks(HASH_MASK, 4))
    assert ids(replace(neutral, ascending=True)) == ids(Ascending(HASH_MASK))
    assert ids(EosRejection(HASH_MASK, ends, gamma_min=0.1)) != ids(Full(HASH_MASK))


def test_knobs_out_of_range_are_refused() -> None:
    with pytest.raises(BadInput, match="0 is the whole canvas"):
        EosRejection(MASK, ENDS, block=-1)
    with pytest.raises(BadInput, match=r"trust rises from gamma_min to gamma_max: .* got 0\.9 and 0\.5"):
        EosRejection(MASK, ENDS, gamma_min=0.9, gamma_max=0.5)

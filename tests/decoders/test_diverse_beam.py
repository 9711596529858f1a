"""Diverse beam search obeys its card: groups in turn, each put off what those before it chose at this step."""

import math

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.beam import Beam
from decant.decoders.diverse_beam import DiverseBeam
from decant.decoders.generate import right_pad
from decant.errors import BadInput
from decant.noise import Noise
from decant.testing.laws import check_continuous
from decant.types import PAD
from tests.decoders.checks import LM, PROMPTS, alone_or_together, run, texts

FREE = Unconstrained()
ENDS = frozenset({3, 5})


def by_hand(prompt: list[int], groups: int, width: int, penalty: float, length: int, ends: frozenset[int]) -> list:
    """The card in plain Python: every group's hypotheses after `length` steps, and all that have ended."""
    alive = [[(0.0, [])] for _ in range(groups)]
    pools: list[list] = [[] for _ in range(groups)]
    for _ in range(length):
        chosen: list[int] = []
        for group in range(groups):
            children = []
            for logp, text in alive[group]:
                whole = prompt + text
                logits_V = LM.logits_UVV[whole[-2] if len(whole) > 1 else LM.vocab, whole[-1]]
                for token, more in enumerate(logits_V.log_softmax(-1).tolist()):
                    children.append((logp + more - penalty * chosen.count(token), logp + more, [*text, token]))
            children.sort(key=lambda one: -one[0])
            over = [one[1:] for one in children[:width] if one[2][-1] in ends]
            alive[group] = [one[1:] for one in children if one[2][-1] not in ends][:width]
            chosen += [text[-1] for _, text in over + alive[group]]
            if len(pools[group]) < width:
                pools[group] += over
    return [alive, pools]


@pytest.mark.parametrize(("groups", "width", "penalty"), [(2, 2, 0.5), (3, 1, 2.0), (2, 3, 8.0), (1, 3, 0.5)])
def test_it_is_the_card_group_by_group(groups: int, width: int, penalty: float) -> None:
    decoder = DiverseBeam(LM, FREE, groups * width, groups, penalty, length=16)
    for prompt in PROMPTS:
        state, _, _ = run(decoder, [prompt], 5)
        alive, _ = by_hand(prompt, groups, width, penalty, 5, frozenset())
        now = state.standing
        assert now.text_BKL[0, :, :5].tolist() == [text for group in alive for _, text in group]
        torch.testing.assert_close(now.logp_BK[0], torch.tensor([logp for group in alive for logp, _ in group]))


def test_the_text_is_the_likeliest_that_any_group_found() -> None:
    """And the score knows of no penalty. A group that is done still puts the others off."""
    for prompt in [*PROMPTS, [7], [9, 8], [4, 4, 4]]:
        decoder = DiverseBeam(LM, FREE, 6, 3, 1.0, 8, ends=ENDS)
        state, said = decoder.start(right_pad([prompt]), Noise.of([0])), []
        for _ in range(8):
            state, step = decoder.step(state)
            said += [token for token in step.tokens_BC[0].tolist() if token != PAD]
            if bool(state.standing.over_B):
                break
        alive, pools = by_hand(prompt, 3, 2, 1.0, 8, ENDS)
        rest = [one for group, pool in zip(alive, pools, strict=True) if len(pool) < 2 for one in group]
        found = max(sum(pools, rest), key=lambda one: one[0] / len(one[1]))
        assert said == found[1]


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("ends", [frozenset(), ENDS], ids=["endless", "ends"])
def test_without_a_penalty_it_is_a_beam_of_one_group(groups: int, ends) -> None:
    plain = texts(Beam(LM, FREE, width=2, length=8, ends=ends), most=20)
    assert texts(DiverseBeam(LM, FREE, 2 * groups, groups, 0.0, 8, ends=ends), most=20) == plain


def test_the_first_group_is_never_put_off() -> None:
    alone, _, _ = run(Beam(LM, FREE, width=2, length=16), PROMPTS, 6)
    state, _, _ = run(DiverseBeam(LM, FREE, 6, 3, 5.0, length=16), PROMPTS, 6)
    assert torch.equal(state.standing.text_BKL[:, :2], alone.standing.text_BKL)


def test_a_larger_penalty_is_more_diverse() -> None:
    """Different tokens that the hypotheses of a request chose at a step, over 6 steps of 3 requests."""
    kinds = []
    for penalty in (0.0, 0.5, 2.0, 100.0):
        state, _, _ = run(DiverseBeam(LM, FREE, 4, 4, penalty, length=16), PROMPTS, 6)
        columns = state.standing.text_BKL[:, :, :6].transpose(1, 2).flatten(0, 1).tolist()
        kinds.append(sum(len(set(column)) for column in columns))
    assert kinds == sorted(kinds)
    assert kinds[0] == 18
    assert kinds[-1] == 4 * 18, "a group never chooses what an earlier one chose"


def test_a_batch_is_its_requests() -> None:
    alone_or_together(DiverseBeam(LM, FREE, 4, 2, 1.0, 8, ends=ENDS))


def test_requests_come_and_go() -> None:
    asked = [([0, 1, 2, 0, 1], 1, 12), ([3, 1], 2, 4), ([2], 3, 16), ([1, 2, 3], 4, 8)]
    check_continuous(DiverseBeam(LM, FREE, 4, 2, 1.0, length=4), asked=asked)


@pytest.mark.parametrize("knobs", [{"groups": 3}, {"groups": 0}, {"penalty": -1.0}, {"penalty": math.inf}])
def test_impossible_knobs_are_refused(knobs) -> None:
    with pytest.raises(BadInput, match="groups that share its width equally"):
        DiverseBeam(LM, FREE, **knobs)


def test_impossible_searches_are_refused() -> None:
    with pytest.raises(BadInput, match="a length of at least 1"):
        DiverseBeam(LM, FREE, length=0)
    with pytest.raises(BadInput, match="a width and a length of at least 1"):
        DiverseBeam(LM, FREE, width=0, groups=1)

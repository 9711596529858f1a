"""Drafters whose rows ride in the target's own pass obey the law of drafters, beside a target that knows the rows."""

from dataclasses import dataclass, field, replace

import pytest

from decant.drafters.hidden_transfer import HiddenTransfer
from decant.drafters.parallel_prompt import ParallelPrompt
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.laws import check_drafter
from decant.types import Draft, DraftShape
from tests.drafters.foresight import foreseeing

TARGET, COPIES = foreseeing(), foreseeing(copies=2)
DRAFTERS = [
    (ParallelPrompt(TARGET.riders), TARGET),
    (ParallelPrompt(COPIES.riders, prompts=5), COPIES),
    (ParallelPrompt(TARGET.riders, coupled=False), TARGET),
    (HiddenTransfer(TARGET.riders), TARGET),
    (HiddenTransfer(TARGET.riders, coupled=False), TARGET),
]
SHAPES = [
    DraftShape(3),
    DraftShape(4, budget=2),
    DraftShape(2, width=3, budget=8),
    DraftShape(3, width=2, stop_below=0.5),
    DraftShape(3, template=((0,), (1,), (0, 0), (0, 0, 0))),
    DraftShape(0),
]
WARPS = {"greedy": greedy(), "sampled": temperature(0.7), "two tokens": top_k(2)}


def name_of(part: object) -> str:
    return f"{type(part).__name__} {getattr(part, 'coupled', '')}"


# Every shape once with a law that is spread out; under the other warps a chain that stops early and a tree.
KEPT = {"sampled": SHAPES, "greedy": SHAPES[2:4], "two tokens": SHAPES[2:4]}
ASKED = [
    pytest.param(shape, warp, id=f"{shape!r}-{warp}", marks=() if shape in KEPT[warp] else pytest.mark.slow)
    for shape in SHAPES
    for warp in WARPS
]


@pytest.mark.parametrize(("shape", "warp"), ASKED)
@pytest.mark.parametrize(("drafter", "target"), DRAFTERS, ids=name_of)
def test_drafter(drafter, target, shape: DraftShape, warp: str) -> None:
    check_drafter(drafter, target, WARPS[warp], shape, draws=4)


@dataclass(frozen=True)
class Spoilt:
    """Hidden transfer, spoilt in one way."""

    mistake: str
    inner: HiddenTransfer = field(default_factory=lambda: HiddenTransfer(TARGET.riders))

    taps = HiddenTransfer.taps

    def start(self, prompt_BT, prefill):
        return self.inner.start(prompt_BT, prefill)

    def draft(self, state, shape, warp, noise, context) -> Draft:
        if self.mistake == "rides where nothing is asked for" and not shape.depth:
            shape = replace(shape, depth=1)
        draft = self.inner.draft(state, shape, warp, noise, context)
        if self.mistake == "riders are guesses":
            return replace(draft, probe_BN=None)
        if self.mistake == "riders of the neighbour":
            return replace(draft, tokens_BN=draft.tokens_BN.roll(1, 0), parents_BN=draft.parents_BN.roll(1, 0))
        return draft

    def observe(self, state, draft, verdict, scores):
        if self.mistake == "hears the neighbour":
            scores = replace(scores, logits_BMV=scores.logits_BMV.roll(1, 0))
        return self.inner.observe(state, draft, verdict, scores)


def test_the_wrapper_itself_is_right() -> None:
    check_drafter(Spoilt(""), TARGET, temperature(0.7), DraftShape(3))


@pytest.mark.parametrize("mistake", ["riders are guesses", "riders of the neighbour", "hears the neighbour"])
def test_a_planted_bug_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError):
        check_drafter(Spoilt(mistake), TARGET, temperature(0.7), DraftShape(3))


def test_riders_are_left_out_where_nothing_is_asked_for() -> None:
    check_drafter(Spoilt(""), TARGET, temperature(0.7), DraftShape(0))
    with pytest.raises(AssertionError, match="a depth of 0 asks for none"):
        check_drafter(Spoilt("rides where nothing is asked for"), TARGET, temperature(0.7), DraftShape(0))

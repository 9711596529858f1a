from dataclasses import dataclass

import pytest
import torch

from decant.drafters.sorted_exits import SortedExits
from decant.drafting.growing import grown
from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import take
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.exits import MarkovExits
from decant.testing.laws import check_drafter
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Taps

LM = MarkovLM.random(vocab=6, seed=0)
EXITS = MarkovExits.beneath(LM, layers=4)
PROMPT_BT = torch.tensor([[0, 1, 2], [3, PAD, PAD]])


def draft(drafter: SortedExits, shape: DraftShape) -> Draft:
    return drafter.draft(None, shape, greedy(), Noise.of([1, 2]), LM.start(PROMPT_BT)[0])


def by_hand(ladder: tuple[int, ...], tau: float, depth: int) -> tuple[list[int], list[int]]:
    """A greedy chain behind the first prompt, and where each token left."""
    text, left = [0, 1, 2], []
    for _ in range(depth):
        laws = [EXITS.rungs[rung - 1].logits_UVV[text[-2], text[-1]].softmax(-1) for rung in ladder]
        at = next((at for at, law in enumerate(laws) if law.max() >= tau), len(ladder) - 1)
        left.append(ladder[at])
        text.append(int(laws[at].argmax()))
    return text[3:], left


@pytest.mark.parametrize("tau", [0.0, 0.6, 0.8, 1.0])
def test_each_token_leaves_at_the_first_rung_that_is_sure(tau: float) -> None:
    tokens, left = by_hand((1, 2, 4), tau, 8)
    assert draft(SortedExits(EXITS, "1-2-4", tau), DraftShape(8)).tokens_BN[0].tolist() == tokens
    wanted = {0.0: {1}, 1.0: {4}}.get(tau)
    assert set(left) == wanted if wanted else len(set(left)) > 1


def test_a_shape_that_names_an_exit_has_its_way() -> None:
    said = draft(SortedExits(EXITS, "1-2", tau=1.0), DraftShape(8, exit=3)).tokens_BN[0].tolist()
    assert said == by_hand((3,), 1.0, 8)[0]


@pytest.mark.parametrize(("layers", "ladder"), [(32, (6, 9, 12)), (6, (2, 3)), (2, (1,)), (1, (1,))])
def test_the_default_rungs_are_the_papers_in_proportion(layers: int, ladder) -> None:
    assert SortedExits(MarkovExits((LM,) * layers)).ladder == ladder


@dataclass(frozen=True)
class LooksAtTheToken:
    """Climbs where the drawn token is unlikely: card 0.8, trap 2, in its new dress."""

    exits: MarkovExits
    honest: bool

    taps = Taps()

    def start(self, prompt_BT, prefill):
        return None

    def draft(self, state, shape, warp, noise, context):
        low, high = (
            grown(self.exits.guess(context, (exit,), None), shape, warp, noise, coupled=False) for exit in (1, 3)
        )
        if self.honest:
            return low
        unlikely_BN = take(low.laws_BMV, low.tokens_BN) < 0.4
        return Draft(
            torch.where(unlikely_BN, high.tokens_BN, low.tokens_BN),
            laws_BMV=torch.where(unlikely_BN[..., None], high.laws_BMV, low.laws_BMV),
            siblings="independent",
        )

    def observe(self, state, draft, verdict, scores):
        return None


def test_climbing_by_the_law_is_unbiased() -> None:
    check_drafter(SortedExits(EXITS, "1-3", tau=0.6, coupled=False), LM, temperature(1.0), DraftShape(1))
    check_drafter(LooksAtTheToken(EXITS, honest=True), LM, temperature(1.0), DraftShape(1))


def test_climbing_by_the_token_is_caught() -> None:
    with pytest.raises(AssertionError):
        check_drafter(LooksAtTheToken(EXITS, honest=False), LM, temperature(1.0), DraftShape(1))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"rungs": "2-1"}, "climbs over rungs from 1 to at most 4, such as 1-2, not '2-1'"),
        ({"rungs": "1-1"}, "not '1-1'"),
        ({"rungs": "0-1"}, "not '0-1'"),
        ({"rungs": "2-5"}, "not '2-5'"),
        ({"rungs": "two"}, "reads rungs such as 2-3-4, not 'two'"),
        ({"tau": 1.5}, r"needs a tau in \[0, 1\], got 1.5; 0 always leaves at the lowest rung"),
    ],
)
def test_messages(knobs, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        SortedExits(EXITS, **knobs)

"""End-of-text drops what lies behind a settled end, no sooner, and nothing that holds a token."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Outlook, Reveal, Turn
from decant.errors import BadInput
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.schedules.blocks import Blocks
from decant.testing.canvases import HashLM
from decant.types import PAD
from decant.unmaskers.end_of_text import EndOfText
from decant.unmaskers.low_confidence import LowConfidence

MASK, END = 9, 8
MODEL = HashLM(vocab=7)
BASE = MaskedDiffusion(MODEL, LowConfidence(), Blocks(6, 4), NoCache(), greedy())
RULE = EndOfText(MASK, frozenset({END}))


def after(rule: EndOfText, canvas: str, guesses: dict[int, tuple[int, float]], block: range) -> str:
    """The canvas after a step. `.` is open, `E` an end, `_` dropped; guesses: 1 and unsure elsewhere."""
    ids = [{".": MASK, "E": END}.get(letter, 1) for letter in canvas]
    canvas_BL = torch.tensor([ids])
    open_BL = canvas_BL == MASK
    row_N, place_N = open_BL.nonzero(as_tuple=True)
    probs_NV = torch.full((len(place_N), MASK + 1), 1e-9)
    for at, place in enumerate(place_N.tolist()):
        token, likely = guesses.get(place, (1, 0.3))
        probs_NV[at, [token, 2, 3, 4]] = torch.tensor([likely, *[(1 - likely) / 3] * 3])
    seen = Outlook(canvas_BL, row_N, place_N, probs_NV.log(), greedy(), Noise.of([1]))
    eligible_BL = open_BL & torch.isin(torch.arange(len(ids)), torch.tensor(list(block)))
    reveal, _ = rule.reveal(None, seen, Turn(eligible_BL))
    assert not bool((reveal.settled_BL & ~open_BL).any())
    found = reveal.tokens_BL.where(reveal.settled_BL, canvas_BL)[0].tolist()
    return "".join({MASK: ".", END: "E", PAD: "_"}.get(token, "x") for token in found)


CASES = {
    "a settled end drops the blocks behind": ("..E.....", {0: (1, 0.5)}, range(4), "x.E.____"),
    "with nothing open in front, all": ("xxE.....", {3: (1, 0.5)}, range(4), "xxEx____"),
    "the last place in front": ("x.E.....", {1: (1, 0.5)}, range(4), "xxE_____"),
    "an end that settles in this step": ("xx......", {2: (END, 0.5)}, range(4), "xxE_____"),
    "an end that is sure settles out of turn": ("........", {2: (END, 0.9), 0: (1, 0.95)}, range(4), "x.E.____"),
    "the leftmost of them": ("........", {2: (END, 0.95), 1: (END, 0.91), 0: (1, 0.99)}, range(4), "xE______"),
    "one that is not, does not": ("........", {2: (END, 0.89), 0: (1, 0.95)}, range(4), "x......."),
    "nor one behind the block": ("........", {5: (END, 0.99), 0: (1, 0.5)}, range(4), "x......."),
    "what holds a token stays, and what is in front of it": ("xxE..x..", {3: (2, 0.5)}, range(4), "xxEx.x__"),
    "so does another end": ("xxE..E..", {3: (2, 0.5)}, range(4), "xxEx.E__"),
    "no end, nothing": ("xx......", {2: (1, 0.5)}, range(4), "xxx....."),
}


@pytest.mark.parametrize(("canvas", "guesses", "block", "want"), CASES.values(), ids=CASES)
def test_what_falls_away(canvas: str, guesses: dict[int, tuple[int, float]], block: range, want: str) -> None:
    assert after(RULE, canvas, guesses, block) == want


def run(unmasker: Any, base: MaskedDiffusion[Any] = BASE) -> tuple[list[list[int]], int, int]:
    """Answers, passes, and places computed."""
    decoder = replace(base, unmasker=unmasker)
    with torch.inference_mode():
        state = decoder.start(right_pad([[at % 6, at // 6] + [6] * 16 for at in range(12)]), Noise.of(list(range(12))))
        while bool((state.canvas_BL == 6).any()):
            state, _ = decoder.step(state)
    answers = [[token for token in row if token != PAD] for row in state.canvas_BL.tolist()]
    return answers, state.context.asked.passes[0], state.context.asked.rows[0]


def test_answers_are_shorter_and_less_is_computed() -> None:
    plain, passes, rows = run(LowConfidence())
    short, fewer, less = run(EndOfText(6, frozenset({5}), sure=2.0))
    assert {len(answer) for answer in plain} == {16}
    assert min(map(len, short)) < 16
    assert fewer <= passes
    assert less < rows
    for long, answer in zip(plain, short, strict=True):
        assert len(answer) == 16 or 5 in answer
        # Nothing is dropped before an end settles, and then only later blocks are.
        assert 5 in long[:4] or long[:4] == answer[:4]


def test_without_ends_it_is_the_plain_loop() -> None:
    assert run(EndOfText(6, frozenset()))[0] == run(LowConfidence())[0]


@dataclass(frozen=True, slots=True)
class Unguarded:
    """The planted bug: it cuts behind the likeliest end token, however unlikely."""

    ends: frozenset[int]

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        likeliest = int(seen.confidence_BL.masked_fill(seen.guess_BL != END, 0).argmax())
        tail_BL = (seen.canvas_BL == MASK) & (torch.arange(seen.canvas_BL.shape[1]) > likeliest)
        return Reveal(seen.guess_BL.masked_fill(tail_BL, PAD), tail_BL), None


def test_the_rule_of_the_authors_is_caught() -> None:
    bug: Any = Unguarded(frozenset({END}))
    canvas, guesses, block, want = CASES["one that is not, does not"]
    assert after(bug, canvas, guesses, block) != want


@pytest.mark.parametrize("knobs", [{"per_step": 0}, {"sure": 0.0}])
def test_impossible_settings_are_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="end-of-text needs per_step of 1 or more and sure above 0"):
        EndOfText(MASK, frozenset(), **knobs)

"""Guided diffusion settles what the small model lets stand: a run from the left, never empty, always the masked model's
own guesses."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, final

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.guided_diffusion import GuidedDiffusion, GuidedDiffusionState
from decant.diffusion import Fresh
from decant.errors import BadInput
from decant.models.causal import Causal
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.schedules.blocks import Blocks
from decant.schedules.full import Full
from decant.testing.canvases import HashLM
from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import PAD, Draft, Scores, Step, Verdict

MODEL = HashLM(vocab=4)
MASK = MODEL.mask
LM = MarkovLM.random(vocab=4, seed=3)
PROMPTS = [[1, 2], [0], [1, 0, 1]]


@final
@dataclass(frozen=True, slots=True)
class Parrot:
    """A small model that always, or never, would have said what it reads; how often it was asked is counted."""

    agrees: bool
    asked: list[int]
    vocab: int = 4
    trees: bool = True

    def start(self, prompt_BT: Tensor) -> tuple[MarkovContext, None]:
        return LM.start(prompt_BT)[0], None

    def score(self, context: MarkovContext, draft: Draft) -> Scores:
        self.asked[0] += 1
        said_BN = draft.tokens_BN.clamp_min(0) if self.agrees else torch.full_like(draft.tokens_BN, MASK)
        said_BM = torch.cat([said_BN, torch.full_like(said_BN[:, :1], MASK)], 1)
        return Scores(9.0 * one_hot(said_BM, self.vocab))

    def commit(self, context: MarkovContext, verdict: Verdict) -> MarkovContext:
        return LM.commit(context, verdict)

    def cache_bytes(self, tokens: Any) -> int:
        return 0


@torch.inference_mode()
def run(
    decoder: GuidedDiffusion[Any, Any], prompts: list[list[int]]
) -> list[tuple[GuidedDiffusionState[Any, Any], Step]]:
    """Every state, the first included, with the step that led there."""
    state = decoder.start(right_pad(prompts), Noise.of(list(range(len(prompts)))))
    steps = [(state, Step(*[torch.full((len(prompts), 1), PAD)] * 3))]
    while bool((state.canvas_BL == MASK).any()):
        state, step = decoder.step(state)
        steps.append((state, step))
    return steps


def opened(places: int = 9) -> list[list[int]]:
    return [prompt + [MASK] * places for prompt in PROMPTS]


def test_who_always_agrees_is_done_in_one_pass() -> None:
    asked = [0]
    small: Any = Parrot(True, asked)
    steps = run(GuidedDiffusion(MODEL, small, Full(MASK), NoCache(), greedy(), chunk=4), opened())
    assert len(steps) == 2
    assert asked == [3], "nine places in chunks of four"
    assert steps[-1][0].asked_B.tolist() == [3, 3, 3]


@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "drawn"])
def test_who_never_agrees_leaves_the_masked_model_speaking_from_the_left(warp: Any) -> None:
    asked = [0]
    small: Any = Parrot(False, asked)
    guided = GuidedDiffusion(MODEL, small, Full(MASK), NoCache(), warp)
    steps = run(guided, opened())
    with torch.inference_mode():  # blocks of one place are that order
        one = run(replace(guided, schedule=Blocks(MASK, 1)), opened())
    assert steps[-1][0].canvas_BL.equal(one[-1][0].canvas_BL)
    assert len(steps) == 1 + 9
    assert asked[0] == 9 + 9
    assert [step.positions_BC.tolist() for _, step in steps[1:]] == [[[place]] * 3 for place in range(9)]


@pytest.mark.parametrize("relaxed", [None, 0.2])
def test_a_step_settles_a_run_of_open_places_with_the_guesses_of_its_pass(relaxed: float | None) -> None:
    prompts = opened(12)
    for prompt, place in zip(prompts, (5, 6, 7), strict=True):
        prompt[place] = 2
    steps = run(GuidedDiffusion(MODEL, LM, Blocks(MASK, 6), NoCache(), greedy(), relaxed=relaxed), prompts)
    longest = 0
    for (before, _), (after, _) in pairwise(steps):
        for row, (old, new) in enumerate(zip(before.canvas_BL.tolist(), after.canvas_BL.tolist(), strict=True)):
            places = [place for place, token in enumerate(old) if token == MASK]
            settled = [place for place in places if new[place] != MASK]
            assert settled == places[: len(settled)], f"{settled} are no run of {places}"
            assert settled or not places
            longest = max(longest, len(settled))
            said = said_of(before.context.prompt_BT[row], before.canvas_BL[row])
            assert [new[place] for place in settled] == [said[place] for place in settled]
    assert longest > 1


def said_of(prompt_T: Tensor, canvas_L: Tensor) -> dict[int, int]:
    """The likeliest id of each open place."""
    state, open_BL = MODEL.start(prompt_T[None], canvas_L[None]), (canvas_L == MASK)[None]
    logits_NV = MODEL.predict(state, canvas_L[None], Fresh.whole(canvas_L[None]), open_BL)[1]
    return dict(zip(open_BL[0].nonzero()[:, 0].tolist(), logits_NV.argmax(-1).tolist(), strict=True))


def test_the_run_is_as_long_as_the_small_model_says() -> None:
    """One pass, read token by token: it stands up to the first that the small model would not have said."""
    for seed in range(27):
        prompt = [seed % 3, seed // 3 % 3, seed // 9]
        canvas_L = torch.full((10,), MASK)
        said = said_of(torch.tensor(prompt), canvas_L)
        text, kept = list(prompt), 0
        for place in range(10):
            likeliest = int(LM.logits_UVV[text[-2], text[-1]].argmax())
            if said[place] != likeliest:
                break
            text.append(said[place])
            kept += 1
        decoder = GuidedDiffusion(MODEL, LM, Full(MASK), NoCache(), greedy(), chunk=1 + seed % 4)
        with torch.inference_mode():
            state, _ = decoder.step(decoder.start(right_pad([prompt + [MASK] * 10]), Noise.of([0])))
        assert int((state.canvas_BL != MASK).sum()) == max(1, kept)


def test_relaxed_at_zero_keeps_the_two_likeliest() -> None:
    strict = GuidedDiffusion(MODEL, LM, Full(MASK), NoCache(), greedy())
    lengths = [
        len(run(decoder, opened())) for decoder in (strict, replace(strict, relaxed=1.0), replace(strict, relaxed=0.0))
    ]
    assert lengths[0] == lengths[1], "as likely as the likeliest is the likeliest"
    assert lengths[2] < lengths[1]


@pytest.mark.parametrize("chunk", [2, 32])
def test_the_small_model_holds_the_answer_up_to_its_first_open_place(pair: tuple[Causal, Causal], chunk: int) -> None:
    """Through a real cache: what it says next is what a fresh start says."""
    small = pair[1]
    model = HashLM(vocab=small.vocab, sharpness=0.5)
    prompts = [[5, 6, 7, *[model.mask] * 9], [8, *[model.mask] * 7], [9, 1, *[model.mask] * 3, 4, 4, *[model.mask] * 2]]
    decoder = GuidedDiffusion(model, small, Blocks(model.mask, 4), NoCache(), temperature(1.0), chunk=chunk)
    with torch.inference_mode():
        state = decoder.start(right_pad(prompts), Noise.of([1, 2, 3]))
        while bool((state.canvas_BL == model.mask).any()):
            state, _ = decoder.step(state)
            texts = []
            for asked, canvas in zip(prompts, state.canvas_BL.tolist(), strict=True):
                text = asked[: asked.index(model.mask)] + [token for token in canvas if token != PAD]
                texts.append(text[: text.index(model.mask)] if model.mask in text else text)
            assert [[one for one in row if one != PAD] for row in small.tokens(state.reading).tolist()] == texts
            nothing = Draft.nothing(len(texts))
            want = small.score(small.start(right_pad(texts))[0], nothing).logits_BMV
            torch.testing.assert_close(small.score(state.reading, nothing).logits_BMV, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("knobs", [{"chunk": 0}, {"relaxed": 1.5}, {"relaxed": -0.1}])
def test_impossible_settings_are_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="a chunk of at least 1 place and relaxed in"):
        GuidedDiffusion(MODEL, LM, Full(MASK), NoCache(), greedy(), **knobs)

"""What the tests of decoders with two models share."""

from dataclasses import dataclass
from typing import Any

import torch

from decant.decoders.generate import generate, right_pad
from decant.decoders.stopping import Stopping
from decant.noise import Noise
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft

LM = MarkovLM.random(vocab=11, seed=3)
SMALL = LM.blurred(seed=4, by=2.0)
PROMPTS = [[0, 1, 2, 0, 1], [3, 1], [2]]
SEEDS = [11, 12, 13]


def texts(decoder: Any, prompts: list[list[int]] = PROMPTS, most: int = 40) -> list[list[int]]:
    """What each request says."""
    noise = Noise.of(SEEDS[: len(prompts)])
    return [
        output.tokens
        for output in generate(decoder, right_pad(prompts), noise, [Stopping(most)] * len(prompts)).outputs
    ]


def ever_said(decoder: Any) -> set[int]:
    """Every token of some texts."""
    return {token for text in texts(decoder, most=60) for token in text}


def alone_or_together(decoder: Any, most: int = 40) -> None:
    """A batch says what its requests say alone."""
    together = texts(decoder, most=most)
    for request, prompt in enumerate(PROMPTS):
        noise = Noise.of([SEEDS[request]])
        turn = generate(decoder, right_pad([prompt]), noise, [Stopping(most)])
        assert turn.outputs[0].tokens == together[request], f"request {request} says something else alone"


@torch.inference_mode()
def like_fresh(model: Any, context: Any, text: list[list[int]]) -> None:
    """The context holds this text, and its cache what a fresh start computes."""
    held = [[token for token in row if token != PAD] for row in model.tokens(context).tolist()]
    assert held == text
    nothing = Draft.nothing(len(text))
    have = model.score(context, nothing).logits_BMV
    want = model.score(model.start(right_pad(text))[0], nothing).logits_BMV
    torch.testing.assert_close(have, want, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def run(decoder: Any, prompts: list[list[int]], steps: int) -> tuple[Any, list[list[int]], list[list[list[bool]]]]:
    """The state after some steps, what each request then holds, and which tokens of each step were guessed."""
    state = decoder.start(right_pad(prompts), Noise.of(SEEDS[: len(prompts)]))
    held, guessed = [list(prompt) for prompt in prompts], []
    for _ in range(steps):
        state, step = decoder.step(state)
        for row, tokens in zip(held, step.tokens_BC.tolist(), strict=True):
            row += [token for token in tokens if token != PAD]
        guessed.append(step.drafted_BC.tolist())
    return state, held, guessed


@dataclass(frozen=True)
class Forbids:
    """A constraint: one token never comes."""

    token: int

    def start(self, prompt_BT):
        return None

    def adjust(self, state, draft, logits_BMV):
        return logits_BMV.index_fill(-1, torch.tensor([self.token]), -torch.inf)

    def observe(self, state, verdict, scores):
        return None

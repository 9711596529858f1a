"""The worked example of restricted decoding, small enough to enumerate: three tokens, texts of four.

A text is allowed that says no token twice in a row and ends with 2.
"""

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from decant.noise import Noise
from decant.testing.markov import MarkovLM
from decant.types import PAD

FIRST = [0.5, 0.3, 0.2]
NEXT = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.7, 0.1, 0.2]]
LENGTH, ANY = 4, -2
TABLE = MarkovLM(torch.tensor([NEXT, NEXT, NEXT, [FIRST] * 3]).log())  # the prompt is one token, which does not count
TEXTS = list(product(range(3), repeat=LENGTH))


def chance(text: tuple[int, ...]) -> float:
    """Of a text, under the model."""
    law = FIRST[text[0]]
    for before, token in pairwise(text):
        law *= NEXT[before][token]
    return law


def whole(text: tuple[int, ...]) -> bool:
    """Whether it is allowed."""
    return text[-1] == 2 and all(one != two for one, two in pairwise(text))


JOINT = torch.tensor([chance(text) * whole(text) for text in TEXTS], dtype=torch.float64)
MASS = float(JOINT.sum())


def masked() -> Tensor:
    """The law of texts of which every token is drawn from those behind which an allowed text is still possible."""
    alive = {text[:size] for text in TEXTS if whole(text) for size in range(LENGTH + 1)}
    law = []
    for text in TEXTS:
        share = float(whole(text))
        for size in range(LENGTH):
            row = NEXT[text[size - 1]] if size else FIRST
            open_to = [token for token in range(3) if (*text[:size], token) in alive]
            share *= row[text[size]] / sum(row[token] for token in open_to) if text[size] in open_to else 0.0
        law.append(share)
    return torch.tensor(law, dtype=torch.float64)


@dataclass(frozen=True)
class Ends:
    """The checker. ahead: whether it refuses what leads into a dead end, as a mask would."""

    ahead: bool = True

    def start(self, prompt_BT: Tensor) -> tuple[Tensor, Tensor]:
        return prompt_BT.new_full((len(prompt_BT),), ANY), prompt_BT.new_zeros(len(prompt_BT))

    def allowed(self, state: tuple[Tensor, Tensor], tokens_B: Tensor) -> Tensor:
        last_B, count_B = state
        fine_B = (tokens_B != last_B) & ((count_B < LENGTH - 1) | (tokens_B == 2))
        return fine_B & ((count_B != LENGTH - 2) | (tokens_B != 2)) if self.ahead else fine_B

    def observe(self, state: tuple[Tensor, Tensor], tokens_B: Tensor) -> tuple[Tensor, Tensor]:
        return tokens_B, state[1] + 1


@torch.inference_mode()
def sampled(decoder: Any, draws: int, seed: int = 0) -> tuple[Tensor, Any]:
    """text_R, as an index of TEXTS, of one request a seed, and the state behind LENGTH steps."""
    noise = Noise(torch.arange(draws) + seed * 10**6, torch.zeros(draws, dtype=torch.int64))
    state = decoder.start(torch.zeros(draws, 1, dtype=torch.int64), noise)
    said_BC = torch.full((draws, LENGTH + 1), PAD)
    for _ in range(LENGTH):
        state, step = decoder.step(state)
        slot_BC = step.positions_BC.where(step.tokens_BC != PAD, LENGTH)
        said_BC = said_BC.scatter(1, slot_BC, step.tokens_BC)
    return (said_BC[:, :LENGTH] * torch.tensor([27, 9, 3, 1])).sum(-1), state


def distance(text_R: Tensor) -> float:
    """Total variation between drawn texts and the model's law of allowed ones."""
    law = torch.bincount(text_R, minlength=len(TEXTS)).double() / len(text_R)
    return float((law - JOINT / MASS).abs().sum() / 2)

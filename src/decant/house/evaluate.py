"""What a house model can do: exact match per task at temperature 0, and code loss against a bigram baseline.

Everything is measured on the held-out side of the splits.
Source: Ney et al. 1994, doi:10.1006/csla.1994.1001 (absolute discounting, the baseline's smoothing).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from tokenizers import Tokenizer

from decant.house import corpus, tasks, tokenizer
from decant.house.mixture import encode_code
from decant.models import build as models

DISCOUNT: Final = 0.75
WINDOW: Final = 1024
BATCH: Final = 16
LONGEST_REPLY: Final = 288
EVALUATION_SEED: Final = "evaluation"


@final
@dataclass(frozen=True, slots=True)
class CodeLoss:
    """Held-out code, each position predicted from at most the 1,023 tokens before it."""

    tokens: int
    nats_per_token: float
    bits_per_byte: float
    bigram_nats_per_token: float


def exact_match(model: models.Llama, words: Tokenizer, each: int = 60) -> dict[str, float]:
    """The share of held-out instances whose greedy reply is the answer, for every task."""
    shares = {}
    for task in tasks.GENERATORS:
        instances = held_out(task, each)
        replies = answer(model, words, [instance.prompt for instance in instances])
        right = sum(tasks.correct(instance, reply) for instance, reply in zip(instances, replies, strict=True))
        shares[task] = right / each
    return shares


def held_out(task: str, count: int, seed: str = EVALUATION_SEED) -> list[tasks.Instance]:
    """Different held-out instances of a task, the same for the same seed."""
    rng = random.Random(f"{seed} {task}")
    found: dict[str, tasks.Instance] = {}
    while len(found) < count:
        instance = tasks.draw(rng, task, held_out=True, functions=corpus.functions(held_out=True))
        found[instance.prompt] = instance
    return list(found.values())


def answer(model: models.Llama, words: Tokenizer, prompts: Sequence[str]) -> list[str]:
    """Greedy replies to questions, batched by length."""
    ends = tokenizer.ids(words, tokenizer.END, tokenizer.END_OF_TEXT)
    asked = [words.encode(tokenizer.chat(prompt)).ids for prompt in prompts]
    order = sorted(range(len(asked)), key=lambda place: len(asked[place]))
    replies = [""] * len(asked)
    for first in range(0, len(order), BATCH):
        places = order[first : first + BATCH]
        found = models.reply_ids(model, [asked[place] for place in places], LONGEST_REPLY, ends)
        for place, ids in zip(places, found, strict=True):
            replies[place] = words.decode(ids, skip_special_tokens=False)
    return replies


@torch.inference_mode()
def code_loss(model: models.Llama, words: Tokenizer, training_code: np.ndarray) -> CodeLoss:
    """Mean loss on the held-out source files, and that of bigrams counted on the training code."""
    texts = [document.text for document in corpus.documents(held_out=True)]
    code = encode_code(words, texts)
    rows = len(code) // WINDOW
    ids_RT = torch.from_numpy(code[: rows * WINDOW].astype(np.int64)).view(rows, WINDOW)
    ones_T = torch.ones(1, WINDOW)
    nats = sum(float(models.next_token_nats(model, ids_T[None], ones_T)) for ids_T in ids_RT)
    predicted = rows * (WINDOW - 1)
    bigram = bigram_nats(training_code, ids_RT.numpy())
    bytes_per_token = sum(len(text.encode()) for text in texts) / len(code)
    mean = nats / predicted
    return CodeLoss(predicted, mean, mean / math.log(2) / bytes_per_token, bigram)


def bigram_nats(training: np.ndarray, rows_RT: np.ndarray, vocab: int = tokenizer.VOCAB) -> float:
    """Mean nats per token of a bigram model with absolute discounting, backed off to add-one unigrams."""
    before, after = training[:-1].astype(np.int64), training[1:].astype(np.int64)
    pairs, times = np.unique(before * vocab + after, return_counts=True)
    totals_V = np.bincount(before, minlength=vocab)
    kinds_V = np.bincount(pairs // vocab, minlength=vocab)
    unigram_V = (np.bincount(training, minlength=vocab) + 1) / (len(training) + vocab)
    first, second = rows_RT[:, :-1].ravel().astype(np.int64), rows_RT[:, 1:].ravel().astype(np.int64)
    place = np.minimum(np.searchsorted(pairs, first * vocab + second), len(pairs) - 1)
    seen = np.where(pairs[place] == first * vocab + second, times[place] - DISCOUNT, 0.0)
    total = np.maximum(totals_V[first], 1)
    backed = np.where(totals_V[first] > 0, DISCOUNT * kinds_V[first] / total, 1.0)
    return float(-np.log(seen / total + backed * unigram_V[second]).mean())

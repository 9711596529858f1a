"""The exact law of the next two tokens, and continuations drawn from a decoder."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, final

import torch
from torch import Tensor

from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import right_pad
from decant.errors import IncompatibleParts
from decant.noise import Noise, sample_seed
from decant.protocols import AnyDecoder
from decant.types import PAD, Draft, select_rows

FIRSTS: Final = 8  # first tokens whose successors are looked at: the likeliest
EXPECTED: Final = 5.0  # a bin of its own needs as many expected draws: Pearson's rule
MOST_ROWS: Final = 256
CACHED: Final = 8192  # prompt tokens copied for one batch of continuations, so that a long prompt costs no more memory


@final
@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """What plain decoding says next, in bins: pairs of tokens, the other pairs that start alike, everything else, and
    what cannot be said.

    first_V:   the law of the first token.
    bin_KV:    the bin of the pair (first_K[k], token).
    row_V:     k of each first token; PAD where it is not among the likeliest.
    probs_S:   the probability of each bin; the last is the impossible.
    """

    first_V: Tensor
    bin_KV: Tensor
    row_V: Tensor
    probs_S: Tensor

    @property
    def bins(self) -> int:
        """How many bins can be hit."""
        return int((self.probs_S > 0).sum())

    def count(self, pairs_R2: Tensor) -> Tensor:
        """counts_S of drawn pairs."""
        row_R = self.row_V[pairs_R2[:, 0]]
        rest, impossible = len(self.probs_S) - 2, len(self.probs_S) - 1
        bin_R = torch.where(row_R != PAD, self.bin_KV[row_R.clamp_min(0), pairs_R2[:, 1]], rest)
        bin_R = bin_R.where(self.first_V[pairs_R2[:, 0]] > 0, impossible)
        return torch.bincount(bin_R, minlength=len(self.probs_S))


def law_after(plain: Autoregressive[Any], prompt: list[int], samples: int, device: Any) -> Law:
    """The law behind `prompt`, with bins that `samples` draws can fill."""
    prompt_BT = right_pad([prompt], device)
    with torch.inference_mode():
        state = plain.start(prompt_BT, Noise.of([0], device))
        first_V = _law(plain, state, Draft.nothing(1, device))
        mass_K, first_K = first_V.topk(min(FIRSTS, len(first_V)))
        first_K = first_K[mass_K > 0]
        second_KV = torch.stack([_law(plain, state, Draft(token[None, None])) for token in first_K])
    return binned(first_V.double().cpu(), first_K.cpu(), second_KV.double().cpu(), samples)


def binned(first_V: Tensor, first_K: Tensor, second_KV: Tensor, samples: int) -> Law:
    """Bins for `samples` draws. Pairs that are too rare share one bin with the others of their first token; where that
    is too rare itself, they go to the rest.
    """
    first_V, second_KV = first_V / first_V.sum(), second_KV / second_KV.sum(-1, keepdim=True)
    pair_KV = first_V[first_K][:, None] * second_KV
    own_KV = pair_KV * samples >= EXPECTED
    left_K = pair_KV.masked_fill(own_KV, 0).sum(-1)
    shared_K = left_K * samples >= EXPECTED
    pairs, shared = int(own_KV.sum()), int(shared_K.sum())
    rest, impossible = pairs + shared, pairs + shared + 1

    bin_K = (pairs + shared_K.long().cumsum(0) - 1).where(shared_K, rest)
    bin_KV = bin_K[:, None].expand_as(pair_KV).clone()
    bin_KV[own_KV] = torch.arange(pairs)
    bin_KV[pair_KV == 0] = impossible
    probs_S = torch.zeros(impossible + 1, dtype=torch.float64).scatter_add(0, bin_KV.flatten(), pair_KV.flatten())
    probs_S[rest] += (1 - first_V[first_K].sum()).clamp_min(0)
    row_V = torch.full((len(first_V),), PAD).scatter(0, first_K, torch.arange(len(first_K)))
    return Law(first_V, bin_KV, row_V, probs_S)


def draw_pairs(decoder: AnyDecoder, prompt: list[int], samples: int, seed: int, device: Any) -> Iterator[Tensor]:
    """pairs_R2, a batch at a time: the first two tokens of `samples` continuations, of the seeds sample_seed(seed, i).

    The prompt is read once: each batch starts from copies of the state behind it, with noise of its own. A law does not
    depend on the batch.
    Raises IncompatibleParts for a decoder whose state holds no `noise`.
    """
    with torch.inference_mode():
        start = decoder.start(right_pad([prompt], device), Noise.of([0], device))
    if not hasattr(start, "noise"):
        raise IncompatibleParts(
            f"{type(decoder).__name__} keeps no noise in its state, so it cannot be sampled from one prefill"
        )
    rows = min(MOST_ROWS, max(1, CACHED // len(prompt)))
    for first in range(0, samples, rows):
        numbers = range(first, min(first + rows, samples))
        with torch.inference_mode():
            state = select_rows(start, torch.zeros(len(numbers), dtype=torch.int64, device=device))
            state = replace(state, noise=Noise.of([sample_seed(seed, number) for number in numbers], device))
            yield _two(decoder, state, len(numbers))


def _two(decoder: AnyDecoder, state: Any, batch: int) -> Tensor:
    """Two tokens of each request; those that have them leave."""
    said: list[list[int]] = [[] for _ in range(batch)]
    running = list(range(batch))
    while running:
        state, step = decoder.step(state)
        for request, tokens in zip(running, step.tokens_BC.tolist(), strict=True):  # sync: who has two?
            said[request] += [token for token in tokens if token != PAD]
        rows = [row for row, request in enumerate(running) if len(said[request]) < 2]
        if 0 < len(rows) < len(running):
            state = select_rows(state, torch.tensor(rows, device=step.tokens_BC.device))
        running = [running[row] for row in rows]
    return torch.tensor([tokens[:2] for tokens in said])


def _law(plain: Autoregressive[Any], state: Any, draft: Draft) -> Tensor:
    """law_V behind the last node of a chain."""
    scores = plain.target.score(state.context, draft)
    logits_BMV = plain.constraint.adjust(state.constraint, draft, scores.logits_BMV.float())
    return plain.warp(logits_BMV)[0, -1].softmax(-1)

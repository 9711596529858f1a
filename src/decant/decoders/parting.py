"""Where two decodings of one prompt part, and whether rounding explains it.

Equal mathematics in another order of summation moves the last bits of a logit. Where two candidates are closer than
that, the texts may part without any bug: a near-tie. Everything else is unexplained.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import torch
from torch import Tensor

from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import right_pad
from decant.decoders.workload import Workload
from decant.noise import Noise
from decant.protocols import AnyDecoder, Warp
from decant.types import Draft, Verdict

Cause = Literal["near-tie", "unexplained"]

ROUNDING: Final = {torch.float32: 2**-15, torch.bfloat16: 2**-6, torch.float16: 2**-9}
"""How far the gap of two logits may move by rounding alone, relative to the largest logit of the row.

A logit is stored to a relative 2^-24, 2^-9 or 2^-12, and carries what the layers below have rounded. float32: gaps
among the 20 best logits moved by 1.4e-6 at most between trees, chains and single steps (house models, stories260K); 20
times that leaves room for depth. bfloat16: against float32 they moved by 0.7 % (house) to 2 % (stories260K), which is
all rounding; two orders of summation share nearly all of it, so 1.6 % is generous. float16 keeps 3 bits more.
"""

BLOCK: Final = 64  # tokens of one replayed forward: bounds the memory of their logits


@final
@dataclass(frozen=True, slots=True)
class Parting:
    """The first position at which a text leaves plain decoding's.

    prompt:        its index.
    position:      output position, counted from 0.
    plain, method: the tokens there; None where the text had already ended.
    margin:        by how much plain decoding prefers its token: the gap of the two logits where the token is certain,
        the gap of the race (log p + Gumbel) in nats where it is drawn; None where the other token cannot be drawn.
    tolerance:     the largest gap of two logits that rounding explains here.
    """

    prompt: int
    position: int
    plain: int | None
    method: int | None
    margin: float | None
    tolerance: float
    cause: Cause


def explain(decoder: AnyDecoder, workload: Workload, prompt: int, plain: list[int], other: list[int]) -> Parting | None:
    """Why `other` left `plain`, the output of `decoder` for this prompt of the workload; None where they are equal.

    The target is asked again, plainly, at the position where the texts part. Errors of at most `tolerance / 2` in each
    logit must suffice to make it say either token; else the difference is unexplained. So is every difference where
    plain decoding is not autoregressive: what it said last does not tell at which pass the two parted.
    """
    if plain == other:
        return None
    position = next((at for at, pair in enumerate(zip(plain, other, strict=False)) if pair[0] != pair[1]), None)
    if position is None:  # one text ends where the other goes on, but an end is a function of the tokens: a bug
        at = min(len(plain), len(other))
        return Parting(prompt, at, _at(plain, at), _at(other, at), None, 0.0, "unexplained")
    ours, theirs = plain[position], other[position]
    if not isinstance(decoder, Autoregressive):
        return Parting(prompt, position, ours, theirs, None, 0.0, "unexplained")
    with torch.inference_mode():
        logits_V, dtype = _replay(decoder, workload, prompt, plain[:position])
        root_B = torch.tensor([position], device=logits_V.device)
        noise = Noise(Noise.of([workload.seed_of(prompt)], logits_V.device).seed_B, root_B)
        tolerance = ROUNDING.get(dtype, ROUNDING[torch.float32]) * float(logits_V[logits_V.isfinite()].abs().max())
        tied = all(
            any(
                int(_race(decoder.warp, noise, row_V).argmax()) == one
                for row_V in _errors(logits_V, one, two, tolerance)
            )
            for one, two in ((ours, theirs), (theirs, ours))
        )
        margin = _margin(decoder.warp, noise, logits_V, ours, theirs)
    return Parting(prompt, position, ours, theirs, margin, tolerance, "near-tie" if tied else "unexplained")


def _at(tokens: list[int], position: int) -> int | None:
    return tokens[position] if position < len(tokens) else None


def _replay(
    decoder: Autoregressive[Any], workload: Workload, prompt: int, said: list[int]
) -> tuple[Tensor, torch.dtype]:
    """logits_V, float32, that follow `said`, under the constraint and before the warp; and the model's own dtype.

    The tokens are fed as accepted drafts: in exact mode that gives the bits of plain decoding.
    """
    device = workload.device
    state = decoder.start(right_pad([workload.prompts[prompt]], device), Noise.of([0], device))
    context, constraint = state.context, state.constraint
    for first in range(0, len(said), BLOCK):
        *chain, last = said[first : first + BLOCK]
        draft = Draft(torch.tensor([chain], dtype=torch.int64, device=device))
        scores = decoder.target.score(context, draft)
        everything_B, last_B = torch.tensor([[len(chain)], [last]], device=device)
        verdict = Verdict.of_chain(draft.tokens_BN, everything_B, last_B)
        context = decoder.target.commit(context, verdict)
        constraint = decoder.constraint.observe(constraint, verdict, scores)
    nothing = Draft.nothing(1, device)
    logits_B1V = decoder.target.score(context, nothing).logits_BMV
    return decoder.constraint.adjust(constraint, nothing, logits_B1V.float())[0, 0], logits_B1V.dtype


def _race(warp: Warp, noise: Noise, logits_V: Tensor) -> Tensor:
    """log p + G of every token at the root: its largest entry is what is drawn."""
    probs_B1V = warp(logits_V[None, None]).softmax(-1)
    return noise.gumbel(probs_B1V, torch.zeros_like(noise.root_B)[:, None])[0, 0]


def _errors(logits_V: Tensor, one: int, two: int, tolerance: float) -> Iterator[Tensor]:
    """Rows within tolerance / 2 of `logits_V`, in each logit, in which `one` has the best chances against `two`.

    A token is drawn or not for three reasons: its own logit and its rival's; a cut (top-k, top-p, min-p) that leaves
    its rival out; a cut that lets it in.
    """
    half_V = torch.full_like(logits_V, tolerance / 2)
    helped_V = logits_V.clone()
    helped_V[one] += tolerance / 2
    helped_V[two] -= tolerance / 2
    yield helped_V
    yield logits_V + half_V.where(logits_V > logits_V[two], -half_V)
    yield logits_V - half_V.where(logits_V > logits_V[one], -half_V)


def _margin(warp: Warp, noise: Noise, logits_V: Tensor, ours: int, theirs: int) -> float | None:
    probs_V = warp(logits_V[None])[0].softmax(-1)
    certain = int((probs_V > 0).sum()) == 1
    row_V = logits_V if certain else _race(warp, noise, logits_V)
    gap = float(row_V[ours] - row_V[theirs])
    return gap if math.isfinite(gap) else None

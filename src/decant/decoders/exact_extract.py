"""The most probable span of a passage, found exactly: no other span of it is a likelier continuation of the prompt.

Every start is one row of a batch that shares the prompt; the cumulative log-probability along a row gives all spans
from that start at once, and the log-probability of ending is added behind each. One pass over starts x `longest` rows.
Source: Castel et al. 2021, arXiv:2108.05857.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor

from decant.decoders.generate import right_pad
from decant.errors import BadInput
from decant.numerics import take
from decant.protocols import LanguageModel
from decant.types import PAD, Draft, select_rows

ROWS: Final = 512  # scored together: bounds the memory of their logits


@final
@dataclass(frozen=True, slots=True)
class Extracted:
    """passage[start:stop], and the log-probability, in nats, that the model says it and then ends."""

    start: int
    stop: int
    logp: float


def exact_extract(
    model: LanguageModel[Any],
    prompt: list[int],
    passage: Sequence[int],
    ends: frozenset[int],
    *,
    longest: int = 32,
    device: torch.device | str = "cpu",
) -> Extracted:
    """The likeliest span of `passage` behind `prompt`, which asks for one; of equals the first, then the shortest.

    passage: ids as they occur in the prompt: spelt alone, a word may lack its leading space.
    ends:    the ids that the model really ends with; any of them may follow the span.
    longest: tokens of a span, at most.
    Raises BadInput for an empty passage, no end, or a longest below 1.
    """
    logp_SL = span_logp(model, prompt, passage, ends, longest=longest, device=device)
    at = int(logp_SL.argmax())
    start, length = divmod(at, logp_SL.shape[1])
    return Extracted(start, start + length + 1, float(logp_SL.flatten()[at]))


@torch.inference_mode()
def span_logp(
    model: LanguageModel[Any],
    prompt: list[int],
    passage: Sequence[int],
    ends: frozenset[int],
    *,
    longest: int = 32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """logp_SL, float64, in nats: of the span of l + 1 tokens from start s, and an end; -inf beyond the passage."""
    if not passage or not ends or longest < 1:
        raise BadInput(
            f"a span is looked for in a passage of one token or more, with an end behind it and a length of 1 or more; "
            f"got {len(passage)} tokens, {len(ends)} ends and a longest span of {longest}"
        )
    longest = min(longest, len(passage))
    tokens_SL = right_pad([list(passage[start : start + longest]) for start in range(len(passage))], device)
    ends_E = torch.tensor(sorted(ends), device=device)
    begun, _ = model.start(right_pad([prompt], device))
    found: list[Tensor] = []
    for rows_RL in tokens_SL.split(max(1, ROWS // (longest + 1))):
        context = select_rows(begun, torch.zeros(len(rows_RL), dtype=torch.int64, device=device))
        logp_RMV = model.score(context, Draft(rows_RL)).logits_BMV.double().log_softmax(-1)
        said_RL = take(logp_RMV[:, :-1], rows_RL).cumsum(-1)
        ended_RL = logp_RMV[:, 1:, ends_E].logsumexp(-1)
        found.append((said_RL + ended_RL).masked_fill(rows_RL == PAD, -torch.inf))
    return torch.cat(found).cpu()

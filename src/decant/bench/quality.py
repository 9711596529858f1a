"""What a lossy method loses: how long its texts are plain decoding's, and what the target thinks of them."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

import torch

from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import right_pad
from decant.decoders.workload import Workload
from decant.numerics import take
from decant.protocols import AnyDecoder
from decant.types import Draft, Verdict

BLOCK: Final = 64  # tokens of one forward: bounds the memory of their logits


def lost(
    plain: AnyDecoder,
    workload: Workload,
    expected: Sequence[list[int]],
    outputs: Sequence[list[int]],
    *,
    coupled: bool = True,
) -> dict[str, float | None]:
    """agreement: the mean share of a text, counted along plain decoding's, before the first difference; None of a
    method that is not `coupled`: two texts of one law differ too. nats: the mean -log p of a token under the target
    before any warp, minus the same of plain decoding's texts; None of a model that speaks in no order."""
    pairs = [(said, want) for said, want in zip(outputs, expected, strict=False) if said and want]
    if not pairs:
        return {"agreement": 1.0 if coupled else None, "nats": 0.0}
    agreement = round(fmean(_same(said, want) / len(want) for said, want in pairs), 4) if coupled else None
    if not isinstance(plain, Autoregressive):
        return {"agreement": agreement, "nats": None}
    nats = [
        [_nats(plain, workload.prompts[prompt], text, workload.device) for prompt, text in enumerate(texts)]
        for texts in (outputs, expected[: len(outputs)])
    ]
    theirs, ours = (sum(map(sum, rows)) / sum(map(len, rows)) for rows in nats)
    return {"agreement": agreement, "nats": round(theirs - ours, 4)}


def _same(said: list[int], want: list[int]) -> int:
    """Tokens before the first difference."""
    pairs = enumerate(zip(said, want, strict=False))
    return next((at for at, (one, two) in pairs if one != two), min(len(said), len(want)))


@torch.inference_mode()
def _nats(plain: Autoregressive[Any], prompt: list[int], text: list[int], device: torch.device | str) -> list[float]:
    """-log p of every token of a text behind its prompt."""
    target, found = plain.target, []
    context, _ = target.start(right_pad([prompt], device))
    for first in range(0, len(text), BLOCK):
        *chain, last = text[first : first + BLOCK]
        draft = Draft(torch.tensor([chain], dtype=torch.int64, device=device))
        logp_BMV = target.score(context, draft).logits_BMV.float().log_softmax(-1)
        found += (-take(logp_BMV[0], torch.tensor([*chain, last], device=device))).tolist()
        everything_B, last_B = torch.tensor([[len(chain)], [last]], device=device)
        context = target.commit(context, Verdict.of_chain(draft.tokens_BN, everything_B, last_B))
    return found

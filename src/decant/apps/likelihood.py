"""What a target thinks of given texts: nats, through the scores that decoding itself reads, chunk by chunk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch

from decant.decoders.generate import right_pad
from decant.errors import IncompatibleParts
from decant.models.load import Loaded
from decant.numerics import take
from decant.types import Draft, Verdict

BLOCK: Final = 64  # tokens of one pass: bounds the memory of their logits


@final
@dataclass(frozen=True, slots=True)
class Likelihood:
    """logp: nats of a whole text; greedy: whether each of its tokens is the likeliest in its place."""

    logp: float
    greedy: bool


def likelihoods(target: Loaded, prompt: list[int], texts: Sequence[list[int]]) -> list[Likelihood]:
    """Of each text behind the same prompt, which is read once. Text and prompt are one token or more each.

    Raises IncompatibleParts for a model that fills in masks.
    """
    if target.masked is not None:
        raise IncompatibleParts(
            f"{target.name} fills in masks: it bounds the likelihood of a text and does not give it; take tasks whose "
            f"answers are generated (output_type: generate_until)"
        )
    with torch.inference_mode():
        context, _ = target.model.start(right_pad([prompt], target.model.network.device))
        return [_one(target, context, text) for text in texts]


def _one(target: Loaded, context: Any, text: list[int]) -> Likelihood:
    """The context stays as it is; what is committed for this text is its own."""
    model, device = target.model, target.model.network.device
    logp, greedy = 0.0, True
    for first in range(0, len(text), BLOCK):
        block = text[first : first + BLOCK]
        *chain, last = block
        draft = Draft(torch.tensor([chain], dtype=torch.int64, device=device))
        rows_CV = model.score(context, draft).logits_BMV[0].float()
        said_C = torch.tensor(block, device=device)
        logp += float(take(rows_CV.log_softmax(-1), said_C).double().sum())  # sync: the answer
        greedy = greedy and bool((rows_CV.argmax(-1) == said_C).all())  # sync: the answer
        if first + BLOCK < len(text):
            everything_B, last_B = torch.tensor([[len(chain)], [last]], device=device)
            context = model.commit(context, Verdict.of_chain(draft.tokens_BN, everything_B, last_B))
    return Likelihood(logp, greedy)

"""What a target thinks of texts behind one prompt, whoever wrote them; the prompt is read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch

from decant.decoders.generate import right_pad
from decant.decoders.voting import self_certainty
from decant.numerics import take
from decant.protocols import LanguageModel
from decant.types import Draft, Verdict, select_rows

ROWS: Final = 512  # of one pass: bounds the memory of their logits


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """One text under the target's law before any warp, in nats.

    logp:      of each token, an end token included.
    certainty: of each place, KL(uniform || law), whatever token was drawn there.
    """

    logp: list[float]
    certainty: list[float]

    @property
    def mean_logp(self) -> float:
        """Of a token; of no tokens -inf: a text that says nothing is never the likeliest."""
        return sum(self.logp) / len(self.logp) if self.logp else -torch.inf

    @property
    def mean_certainty(self) -> float:
        """Of a token; of no tokens 0."""
        return sum(self.certainty) / len(self.certainty) if self.certainty else 0.0


@torch.inference_mode()
def rescored(
    model: LanguageModel[Any], prompt: list[int], texts: Sequence[list[int]], device: torch.device | str = "cpu"
) -> list[Judged]:
    """Each text, as tokens, behind `prompt`. Texts run together, a block of tokens at a time; what has ended leaves."""
    found = [Judged([], []) for _ in texts]
    begun, _ = model.start(right_pad([prompt], device))
    running = [at for at, text in enumerate(texts) if text]
    context = select_rows(begun, torch.zeros(len(running), dtype=torch.int64, device=device))
    first = 0
    while running:
        block = max(2, ROWS // len(running))
        parts = [texts[at][first : first + block] for at in running]
        tokens_BC = right_pad(parts, device)
        chain = Draft(right_pad([part[:-1] for part in parts], device))
        logp_BMV = model.score(context, chain).logits_BMV.float().log_softmax(-1)
        said_BM, sure_BM = take(logp_BMV, tokens_BC).tolist(), self_certainty(logp_BMV).tolist()
        for at, part, said, sure in zip(running, parts, said_BM, sure_BM, strict=True):
            found[at].logp.extend(said[: len(part)])
            found[at].certainty.extend(sure[: len(part)])
        first += block
        still = [row for row, at in enumerate(running) if len(texts[at]) > first]
        if still:
            counts_B = torch.tensor([len(part) - 1 for part in parts], device=device)
            last_B = tokens_BC.gather(1, counts_B[:, None])[:, 0]
            context = model.commit(context, Verdict.of_chain(chain.tokens_BN, counts_B, last_B))
            context = select_rows(context, torch.tensor(still, device=device))
        running = [running[row] for row in still]
    return found

"""Hidden Transfer: pseudo states of tokens to come, made out of a middle layer's state of every drafted node, pass the
layers above in the pass that verifies; what the target says at them makes the next draft.

Written from summaries of the paper: the size of its tree is not known to us.
Source: Wu et al. 2024, arXiv:2404.12022.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor
from torch.nn.functional import pad

from decant.drafting.riding import Foresight, heard, ridden
from decant.noise import Noise
from decant.protocols import Riders, Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class HiddenTransfer:
    """head: the trained matrices; the target must be dressed with them. coupled: draw with the target's own noise (see
    `growing.grown`).

    Every node has as many pseudo states behind it as there are matrices, and a draft is no deeper than that; the first
    is empty. A budget counts pseudo states as well, and a draft of more than it allows keeps those of its first nodes.
    """

    kind: ClassVar[str] = "hidden-transfer"
    head: Riders
    coupled: bool = True

    taps: ClassVar[Taps] = Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> Foresight:
        """No pseudo state has been read yet."""
        return Foresight.none(prefill.logits_BMV, self.head.depth)

    def draft(self, state: Foresight, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """Guesses, then pseudo states as probes."""
        guessed, room = state.guessed(shape, warp, noise, self.coupled, self.head)
        there_BM = pad(guessed.tokens_BN != PAD, (1, 0), value=True)
        hung_BMJ = there_BM[..., None].expand(-1, -1, min(shape.depth, self.head.depth))
        return ridden(guessed, hung_BMJ, self.head, room)

    def riding(self, guesses: int, depth: int) -> int:
        """All places behind each row."""
        return self.head.copies * (guesses + 1) * min(depth, self.head.depth)

    def observe(self, state: Foresight, draft: Draft, verdict: Verdict, scores: Scores) -> Foresight:
        """What the pseudo states behind the last accepted node said."""
        return heard(draft, verdict, scores.logits_BMV, self.head)

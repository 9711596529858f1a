"""PPD: trained prompt tokens behind the nodes of a draft stand for tokens to come; what the target says at them makes
the next draft.

They ride in the pass that verifies, and cost rows alone. Which nodes get how many is decided anew for every draft: one
prompt after another goes where it is worth most, the chance that the round ends there (as far as the last prompts can
tell) times what one more level is worth. The paper decides that beforehand, from measured accuracies, chooses its size
by measured latency, and splits it into guesses and prompts by where its chain of states settles; here the number of
prompts is a knob.
Source: Chen et al. 2024, arXiv:2405.18628.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.drafting.riding import Foresight, heard, parents_of, ridden
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Riders, Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict

DEEPER: Final = 0.5  # what a level is worth, over the one before; only the order of prompts depends on it


@final
@dataclass(frozen=True, slots=True)
class ParallelPrompt:
    """head: the trained tokens; the target must be dressed with them. coupled: draw with the target's own noise (see
    `growing.grown`). prompts: at most so many behind one draft.

    A draft is no deeper than the prompts behind the node that the last round ended at; the first is empty. A budget
    counts prompts as well. Raises BadInput for less than one.
    """

    kind: ClassVar[str] = "ppd"
    head: Riders
    coupled: bool = True
    prompts: int = 12

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.prompts < 1:
            raise BadInput(f"nothing is guessed without prompt tokens: prompts must be at least 1, not {self.prompts}")

    def start(self, prompt_BT: Tensor, prefill: Scores) -> Foresight:
        """No prompt token has been read yet."""
        return Foresight.none(prefill.logits_BMV, self.head.depth)

    def draft(self, state: Foresight, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """Guesses, then prompt tokens as probes."""
        guessed, room = state.guessed(shape, warp, noise, self.coupled, self.head)
        hung_BMJ = sparse(guessed, state.chances(guessed), min(shape.depth, self.head.depth), self.prompts)
        return ridden(guessed, hung_BMJ, self.head, room)

    def riding(self, guesses: int, depth: int) -> int:
        """Places behind each row, as many as may be."""
        return self.head.copies * min(self.prompts, (guesses + 1) * min(depth, self.head.depth))

    def observe(self, state: Foresight, draft: Draft, verdict: Verdict, scores: Scores) -> Foresight:
        """What the prompts behind the last accepted node said."""
        return heard(draft, verdict, scores.logits_BMV, self.head)


def sparse(draft: Draft, chance_BN: Tensor, depth: int, most: int) -> Tensor:
    """hung_BMJ: the `most` places behind rows, the root's first, that are worth most.

    chance_BN: of each guess, given its parent. Places of a row are taken from the first on.
    """
    above_BM = pad(parents_of(draft) + 1, (1, 0))
    own_BM = pad(chance_BN, (1, 0), value=1.0)
    reach_BM = torch.ones_like(own_BM)
    for _ in range(depth):  # no node lies deeper
        reach_BM = own_BM * reach_BM.gather(1, above_BM)
    onward_BM = torch.zeros_like(reach_BM).scatter_add(1, above_BM[:, 1:], reach_BM[:, 1:])
    ends_BM = (reach_BM - onward_BM).clamp_min(0.0)
    there_BM = pad(draft.tokens_BN != PAD, (1, 0), value=True)
    worth_BMJ = ends_BM[..., None] * DEEPER ** torch.arange(depth, device=ends_BM.device)
    worth_BMJ = worth_BMJ.where(there_BM[..., None], -1.0)
    order_BP = worth_BMJ.flatten(1).argsort(dim=-1, descending=True, stable=True)[:, :most]
    hung_BMJ = torch.zeros_like(worth_BMJ, dtype=torch.bool).flatten(1).scatter(1, order_BP, value=True)
    return hung_BMJ.view_as(worth_BMJ) & there_BM[..., None]

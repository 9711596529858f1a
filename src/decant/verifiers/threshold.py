"""BiLD's rollback rule: the large model keeps what the small one wrote until a token surprises it.

Source: Kim et al. 2023, arXiv:2302.07863.
"""

from dataclasses import dataclass
from math import exp
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import take
from decant.types import PAD, Draft, Siblings, Verdict


@final
@dataclass(frozen=True, slots=True)
class Threshold:
    """Keep a guess x while -log p(x) <= surprise; where one surprises more, and behind the last, the target draws.

    surprise: nats, 0 or more. At 0 only certain guesses stand, and the text is the target's; at inf it is the draft's,
        one token of the target after each.

    The paper thinks of p at temperature 1 (2 to 5 nats are its settings). Here p is warped: behind a greedy warp it is
    0 or 1, and every finite threshold is exact. Compose it with temperature 1 to have the paper's rule; its target then
    writes its likeliest token, ours draws. Chains only. Raises BadInput.
    """

    surprise: float = 3.0

    exact: ClassVar[bool] = False
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"fixed", "independent", "without_replacement", "greedy_multi"})
    trees: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.surprise >= 0:
            raise BadInput(f"surprise is 0 nats or more, 0 being exact; got {self.surprise}")

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """The start of the chain up to the first surprise, then the target's own draw."""
        tokens_BN = draft.tokens_BN
        kept_BN = (take(target_BMV[:, :-1], tokens_BN) >= exp(-self.surprise)) & (tokens_BN != PAD)
        accepted_B = kept_BN.long().cumprod(-1).sum(-1)
        requests_B = torch.arange(len(tokens_BN), device=tokens_BN.device)
        last_B = noise.draw(target_BMV[requests_B, accepted_B], accepted_B)
        return Verdict.of_chain(tokens_BN, accepted_B, last_B)

"""No n-gram twice: what would complete a run of `size` tokens that was said before, in the prompt too, is forbidden.

Source: Paulus et al. 2017, arXiv:1705.04304.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from decant.errors import BadInput
from decant.numerics import append, echoes, forbidden
from decant.types import Draft, Scores, Verdict


@final
@dataclass(frozen=True, slots=True)
class NoRepeatNGram:
    """size: of the runs that may come once, in tokens; 1 forbids every token that was said.

    Where everything would be forbidden nothing is: the row stays as it was. The state is the text. O(M T) comparisons
    a step. Raises BadInput for a size below 1.
    """

    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 1:
            raise BadInput(
                f"no-repeat-ngram needs a size of at least 1 token, got {self.size}; leave it out to allow all"
            )

    def start(self, prompt_BT: Tensor) -> Tensor:
        """The text so far, right-padded."""
        return prompt_BT

    def adjust(self, state: Tensor, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """-inf at what followed the same `size` - 1 tokens before."""
        request_K, row_K, token_K, alike_K, _ = echoes(state, draft, self.size - 1, logits_BMV.shape[-1])
        whole_K = alike_K == self.size - 1
        return forbidden(logits_BMV, request_K[whole_K], row_K[whole_K], token_K[whole_K])

    def observe(self, state: Tensor, verdict: Verdict, scores: Scores) -> Tensor:
        """The text with what was committed."""
        return append(state, verdict.tokens_BC)

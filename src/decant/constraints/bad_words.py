"""Bad words: sequences of tokens that are never completed; their beginnings may come, in the prompt too.

Source: the `bad_words_ids` of transformers.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import append, forbidden, latest, tails
from decant.types import PAD, Draft, Scores, Verdict


@final
@dataclass(frozen=True, slots=True)
class BadWords:
    """sequences: of ids. A word that can be spelt in several ways, as behind a space, is as many sequences.

    The state is the end of the text, as long as the longest sequence. O(M (V + words x length)) a step. Raises BadInput
    for no sequence, an empty one or a negative id; at the first step for an id that the model does not have; and once
    nothing but the end of a bad word could be said.
    """

    sequences: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.sequences or not all(self.sequences):
            raise BadInput(f"bad-words needs sequences of at least one token, got {self.sequences!r}; leave it out")
        if min(map(min, self.sequences)) < 0:
            raise BadInput(f"bad-words names token {min(map(min, self.sequences))}; ids begin with 0")

    def start(self, prompt_BT: Tensor) -> Tensor:
        """The end of the text so far, right-padded."""
        return append(latest(prompt_BT, (prompt_BT != PAD).sum(-1), self._width), prompt_BT[:, :0])

    def adjust(self, state: Tensor, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """-inf at the last token of every sequence whose others were just said."""
        vocab = logits_BMV.shape[-1]
        largest = max(map(max, self.sequences))
        if largest >= vocab:
            raise BadInput(f"bad-words names token {largest}, but the model has {vocab}; leave it out")
        begun_BMS, last_S = self._begun(state, draft)
        request_K, row_K, word_K = begun_BMS.nonzero(as_tuple=True)  # sync: few words have begun
        return forbidden(logits_BMV, request_K, row_K, last_S[word_K])

    def observe(self, state: Tensor, verdict: Verdict, scores: Scores) -> Tensor:
        """The end of the text with what was committed."""
        begun_BMS, last_S = self._begun(state, Draft(verdict.tokens_BC))
        said_BCS = begun_BMS[:, :-1] & (verdict.tokens_BC[..., None] == last_S)
        if said_BCS.any():  # sync: a row of which nothing was left stayed as it was
            word = self.sequences[int(said_BCS.flatten(0, 1).any(0).long().argmax())]
            raise BadInput(f"nothing was allowed but the end of the bad word {list(word)}; forbid less")
        return append(latest(state, (state != PAD).sum(-1), self._width), verdict.tokens_BC)

    @property
    def _width(self) -> int:
        return max(map(len, self.sequences))

    def _begun(self, state: Tensor, draft: Draft) -> tuple[Tensor, Tensor]:
        """begun_BMS: whether all of a sequence but its last token is what a row's history ends with; last_S."""
        width = self._width - 1
        # Newest first, as `tails` has it; PAD is anything.
        heads = [[*word[-2::-1], *[PAD] * (width + 1 - len(word))] for word in self.sequences]
        head_SW = torch.tensor(heads, dtype=torch.int64, device=state.device).view(len(heads), width)
        last_S = torch.tensor([word[-1] for word in self.sequences], device=state.device)
        begun_BMS = (tails(state, draft, width)[:, :, None] == head_SW) | (head_SW == PAD)
        return begun_BMS.all(-1), last_S

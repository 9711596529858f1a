"""Every constraint obeys the law of constraints."""

from dataclasses import dataclass

import pytest
import torch

from decant.constraints.bad_words import BadWords
from decant.constraints.dry import DRY
from decant.constraints.frequency_penalty import FrequencyPenalty
from decant.constraints.logit_bias import LogitBias
from decant.constraints.mirostat import Mirostat
from decant.constraints.no_repeat_ngram import NoRepeatNGram
from decant.constraints.presence_penalty import PresencePenalty
from decant.constraints.repetition_penalty import RepetitionPenalty
from decant.constraints.several import Several
from decant.constraints.unconstrained import Unconstrained
from decant.numerics import append, chain_parents
from decant.testing.laws import check_constraint
from decant.types import PAD, Draft

PROMPT_BT = torch.tensor([[0, 1, 2], [3, 1, PAD], [2, PAD, PAD]])
CHAIN = Draft(torch.tensor([[0, 1, 3], [2, 0, PAD], [1, 0, 1]]))
TREE = Draft(
    torch.tensor([[0, 1, 3, 1, 2], [2, 0, 1, PAD, 3], [1, 3, 0, 3, 2]]), torch.tensor([[PAD, PAD, 0, 1, 2]] * 3)
)


@dataclass(frozen=True)
class NoEcho:
    """A token may not be said twice in a row: the smallest constraint with a history. With a hook for one mistake."""

    mistake: str = ""

    def start(self, prompt_BT):
        return prompt_BT

    def adjust(self, state, draft, logits_BMV):
        if self.mistake == "counts its calls":
            object.__setattr__(self, "mistake", "forgets the path")
        end_B1 = (state != PAD).sum(-1, keepdim=True) - 1
        rows_BM = torch.cat([state.gather(1, end_B1), draft.tokens_BN], 1).clamp_min(0)
        if self.mistake == "forgets the path":
            rows_BM = rows_BM[:, :1].expand_as(rows_BM)
        if self.mistake == "takes a tree for a chain" and draft.branches:
            above_BN = chain_parents(draft.tokens_BN) + 1
            rows_BM = torch.cat([rows_BM[:, :1], rows_BM.gather(1, above_BN)], 1)
        if self.mistake == "looks at the neighbour":
            rows_BM = rows_BM.roll(1, 0)
        if self.mistake == "writes into the logits":
            return logits_BMV.scatter_(-1, rows_BM[..., None], -torch.inf)
        return logits_BMV.scatter(-1, rows_BM[..., None], -torch.inf)

    def observe(self, state, verdict, scores):
        return state if self.mistake == "forgets what was committed" else append(state, verdict.tokens_BC)


CONSTRAINTS = [
    Unconstrained(),
    NoEcho(),
    Several((NoEcho(), Unconstrained())),
    RepetitionPenalty(1.5),
    PresencePenalty(),
    FrequencyPenalty(),
    DRY(allowed_length=1),
    DRY(1.0, 2.0, 1, breakers=(2,), window=3),
    NoRepeatNGram(1),
    NoRepeatNGram(2),
    LogitBias(((1, 3.0), (0, -100.0))),
    BadWords(((0, 1), (2,))),
    Several((RepetitionPenalty(), BadWords(((3, 0),)), NoRepeatNGram(2))),
    Mirostat(1.3, 0.7),
    Mirostat(1.3, 0.7, version=1, heat=0.8),
]
MISTAKES = [
    "forgets the path",
    "takes a tree for a chain",
    "looks at the neighbour",
    "writes into the logits",
    "forgets what was committed",
    "counts its calls",
]


@pytest.mark.parametrize("draft", [CHAIN, TREE, Draft.nothing(3)], ids=["chain", "tree", "nothing"])
@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=repr)
def test_constraint(constraint, draft: Draft) -> None:
    check_constraint(constraint, PROMPT_BT, draft, vocab=4)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_bug_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError):
        check_constraint(NoEcho(mistake), PROMPT_BT, TREE, vocab=4)

"""A model with another tokenizer: it reads the student's texts in tokens of its own.

A text is its bytes. What is learnt is the answer; a chunk of text counts where all its student tokens have a weight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.distill.chunks import Chunks, Shared, Side, Spans
from decant.distill.texts import Positions, Text, TextBatch
from decant.models.student import read
from decant.models.teacher import Teacher
from decant.types import PAD
from decant.vocab.crossing import Crossing, behind, cross
from decant.vocab.vocabulary import Vocabulary

Prompts = Callable[[list[int]], list[int]]
"""A prompt's ids in the student's tokens -> the ids that the teacher is to read in its place."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Across:
    """model: frozen. student, teacher: whose tokens; shared: what they share.

    prompts: where the models' chat templates differ. The answer is then written behind what it gives. None: the teacher
             reads the prompt's bytes, and of its controls those that it knows.
    """

    model: Teacher
    student: Vocabulary
    teacher: Vocabulary
    shared: Shared
    prompts: Prompts | None = None

    gives: ClassVar[frozenset[str]] = frozenset({"spans"})

    @classmethod
    def of(cls, model: Teacher, student: Vocabulary, teacher: Vocabulary, prompts: Prompts | None = None) -> "Across":
        """Looks up once what the vocabularies share."""
        return cls(model, student, teacher, Shared.of(student, teacher), prompts)

    @torch.no_grad()
    def signal(self, batch: TextBatch, at: Positions) -> Spans:
        """One forward pass, over the teacher's own tokens."""
        device = batch.ids_BT.device
        texts = [batch.text(row) for row in range(len(batch))]
        crossings = [self.crossing(text) for text in texts]
        spots = zip(at.row_N.tolist(), at.at_N.tolist(), strict=True)  # sync: texts are aligned on the host
        mine = {spot: number for number, spot in enumerate(spots)}
        paired = [
            _Paired(row, span.first - 1, span.stop - 1, span.other_first - 1, span.other_stop - 1, control)
            for row, (text, crossing) in enumerate(zip(texts, crossings, strict=True))
            for span in crossing.chunks
            if span.other_first and all((row, place) in mine for place in range(span.first - 1, span.stop - 1))
            for control in [text.ids[span.first] in self.student.names]
        ]
        theirs = sorted({(one.row, place) for one in paired for place in range(one.p_first, one.p_after + 1)})
        its = {spot: number for number, spot in enumerate(theirs)}
        row_M, at_M = torch.tensor(theirs, dtype=torch.int64).reshape(-1, 2).T
        ids_BT = _laid([crossing.ids for crossing in crossings])
        place = self.model.device
        return Spans(
            chunks=Chunks(
                q=_side([(one.row, one.q_first, one.q_after) for one in paired], mine, device),
                p=_side([(one.row, one.p_first, one.p_after) for one in paired], its, device),
                row_C=torch.tensor([one.row for one in paired], dtype=torch.int64, device=device),
                control_C=torch.tensor([one.control for one in paired], dtype=torch.bool, device=device),
            ),
            states=read(self.model.network, ids_BT[:, :-1].to(place), row_M.to(place), at_M.to(place)),
            label_M=ids_BT[row_M, at_M + 1].to(place),
            shared=self.shared.to(device),
        )

    def crossing(self, text: Text) -> Crossing:
        """A text in the teacher's tokens, and its chunks."""
        if self.prompts is None or not text.prompt:
            return cross(text.ids, self.student, self.teacher)
        answer = cross(text.ids[text.prompt :], self.student, self.teacher, begins=False)
        return behind(self.prompts(text.ids[: text.prompt]), text.prompt, answer)


@final
@dataclass(frozen=True, slots=True)
class _Paired:
    """A chunk: the positions that say its first token and what follows it, in the student's text and the teacher's."""

    row: int
    q_first: int
    q_after: int
    p_first: int
    p_after: int
    control: bool


def _side(ends: Sequence[tuple[int, int, int]], numbers: dict[tuple[int, int], int], device: torch.device) -> Side:
    """ends: row, first position, position behind."""
    found = [
        (numbers[row, first], numbers[row, after - 1], numbers.get((row, after), PAD)) for row, first, after in ends
    ]
    first_C, last_C, after_C = torch.tensor(found, dtype=torch.int64, device=device).reshape(-1, 3).T.contiguous()
    return Side(first_C, last_C, after_C)


def _laid(rows: list[list[int]]) -> Tensor:
    """Padded on the right with 0, and a column more: a label behind the end, which no chunk uses."""
    width = max(1, *map(len, rows)) + 1
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.int64)

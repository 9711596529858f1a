"""Sequence-level distillation: the texts are the teacher's own answers, written beforehand (`answers.py`).

Ids are kept as the teacher wrote them, its end token among what is learnt; an answer that was cut short is dropped, for
it would teach to stop in the middle.
Source: Kim & Rush 2016, arXiv:1606.07947.
"""

from collections.abc import Sequence

from decant.distill.answers import Answer
from decant.distill.texts import Text
from decant.errors import BadInput


def teacher_samples(
    answers: Sequence[Answer], ends: frozenset[int], domains: Sequence[int] | None = None
) -> list[Text]:
    """Texts for a `Dataset`, numbered by prompt. ends: ids that end an answer; none known: every answer is kept.

    Raises BadInput where no answer has ended.
    """
    found = []
    for number, answer in enumerate(answers):
        places = range(answer.start, len(answer.ids))
        stop = next((at + 1 for at in places if answer.ids[at] in ends), 0 if ends else len(answer.ids))
        if stop > answer.start:
            domain = 0 if domains is None else domains[number]
            found.append(Text.answer(answer.ids[:stop], answer.start, number, domain))
    if not found:
        raise BadInput(f"none of {len(answers)} answers has ended; let the teacher write longer ones")
    return found

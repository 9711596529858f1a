"""Does a text obey what was demanded of it? Asked of somebody else than the constraint that was to see to it."""

import json
import re
from typing import Any, Final

import torch

from decant.apps.constraining import bound
from decant.constraints.grammar import Choice, Description, Grammar, Json, Regex
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded
from decant.prove.constrained import Judge, Obedience
from decant.types import Scores, Verdict

USUAL: Final = Json(
    {
        "type": "object",
        "properties": {
            "kind": {"enum": ["question", "answer", "other"]},
            "sure": {"type": "boolean"},
            "score": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["kind", "sure", "score"],
        "additionalProperties": False,
    },
    compact=True,
)
"""What is demanded where nobody demanded anything: JSON whose every text is short."""


def judge_of(description: Description, target: Loaded) -> Judge:
    """JSON is read by Python's json, and against its schema where jsonschema is installed; a regular expression by
    Python's re where that knows its syntax; choices are compared. Else, and of texts that were cut, a second reader of
    the grammar is asked. Raises as `constraining.bound` does."""
    grammar = bound(description, target)

    def judge(prompt: list[int], output: list[int]) -> Obedience:
        if not output or output[-1] not in target.ends:
            return "open" if _may_go_on(grammar, output) else "wrong"
        return "whole" if _obeys(description, target.after(prompt)(output), grammar, output) else "wrong"

    return judge


def _obeys(description: Description, text: str, grammar: Grammar, output: list[int]) -> bool:
    if isinstance(description, Json):
        return _is_json(description, text)
    if isinstance(description, Choice):
        return text in description.strings
    if isinstance(description, Regex):
        try:
            return re.fullmatch(description.pattern, text) is not None
        except re.error:  # the crate's syntax, which Python does not know
            return grammar.whole(output)
    return grammar.whole(output)


def _is_json(description: Json, text: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    try:
        from jsonschema.validators import validator_for
    except ImportError:
        return True
    schema = json.loads(description.text)
    checker: Any = validator_for(schema)
    return checker(schema).is_valid(found)


def _may_go_on(grammar: Grammar, output: list[int]) -> bool:
    state = grammar.start(torch.zeros(1, 1, dtype=torch.int64))
    try:
        for token in output:
            said = Verdict(torch.tensor([[token]]), torch.tensor([[-1]]))
            state = grammar.observe(state, said, Scores(torch.zeros(1, 0, 0)))
    except (IncompatibleParts, BadInput):
        return False
    return True

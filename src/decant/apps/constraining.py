"""From a description of what may be said to the constraint that holds a loaded model to it."""

from functools import lru_cache
from typing import Any

from decant.constraints.grammar import Description, Grammar, Tokens
from decant.errors import BadInput
from decant.models.load import Loaded
from decant.models.spelling import vocabulary


def bound(description: Description, target: Loaded) -> Grammar:
    """The grammar of a description, over the target's tokens.

    Raises MissingExtra without llguidance, BadInput for a description that cannot be compiled, satisfied or spelt, and
    for a model without a tokenizer or end tokens.
    """
    if target.tokenizer is None:
        raise BadInput(f"{target.name} has no tokenizer files; put tokenizer.json beside the weights")
    return Grammar(description, _tokens(target.tokenizer, target.ends, target.model.vocab))


@lru_cache(maxsize=4)
def _tokens(tokenizer: Any, ends: frozenset[int], vocab: int) -> Tokens:
    return Tokens(vocabulary(tokenizer), ends, vocab)

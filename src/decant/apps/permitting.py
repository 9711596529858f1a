"""From a grammar to what a loaded model that fills in masks may settle."""

from decant.errors import BadInput, IncompatibleParts
from decant.grammars.gaps import Gaps
from decant.grammars.language import Language
from decant.grammars.shipped import SHIPPED
from decant.models.load import Loaded
from decant.models.spelling import vocabulary


def permits_of(grammar: str, target: Loaded) -> Gaps:
    """grammar: a name (json, c-toy), or a grammar in text (`grammars/grammar.py` says how it is written).

    Raises IncompatibleParts for a model that speaks from left to right, BadInput for a grammar that cannot be read and
    for a model without a tokenizer.
    """
    if target.masked is None:
        raise IncompatibleParts(
            f"grammars with open places are for models that fill in masks, and {target.name} speaks from left to "
            f"right; give it a JSON schema, a regular expression or a Lark grammar"
        )
    if target.tokenizer is None:
        raise BadInput(f"{target.name} has no tokenizer files; put tokenizer.json beside the weights")
    if grammar not in SHIPPED and ":" not in grammar:
        raise BadInput(f"no grammar is called {grammar!r}; take {' or '.join(SHIPPED)}, or give its rules, name: ...")
    language = Language.of(SHIPPED.get(grammar, grammar))
    return Gaps.of(language, vocabulary(target.tokenizer), target.masked.vocab, target.masked.mask, target.ends)

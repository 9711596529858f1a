"""Models that fill in masks, held to a grammar; of a template the whole text is."""

import json

import pytest

from decant.apps.api import generate
from decant.apps.infilling import Infill
from decant.apps.obeying import Behind
from decant.errors import BadInput, IncompatibleParts


class Even:
    """Fits where the sum of what is settled is even; the mask is 0."""

    kind_V = "kinds"

    def fits(self, canvas_L):
        return sum(canvas_L) % 2 == 0

    def implied(self, canvas_L):
        return {place: sum(canvas_L) for place, token in enumerate(canvas_L) if token == 0}

    def rescue(self, canvas_L, place):
        return 100 * place + len(canvas_L)


def test_behind_a_text_places_are_counted_from_the_canvas():
    behind = Behind(Even(), (1, 2))
    assert [behind.fits([1, 0]), behind.fits([0, 2])] == [True, False]
    assert behind.implied([5, 0, 0]) == {1: 8, 2: 8}
    assert behind.rescue([5, 0], 1) == 304
    assert behind.kind_V == "kinds"


@pytest.mark.parametrize("template", ['{"a": [MASK:4], "b": [MASK:3]}', "[[MASK:6]", "[MASK:4]: 1}"])
@pytest.mark.parametrize("seed", range(2))
def test_the_whole_of_a_template_follows_the_grammar(filler, template, seed):
    said = generate(filler, Infill(template), fill_grammar="json", temperature=1.0, seed=seed)
    assert isinstance(json.loads(said.text), dict | list)
    free = generate(filler, Infill(template), temperature=1.0, seed=seed)
    assert free.text != said.text, "without the grammar it is the same: this shows little"


def test_the_answer_to_a_prompt_follows_the_grammar(filler):
    said = generate(filler, "Take 1, then", fill_grammar="json", temperature=1.0, max_tokens=6)
    json.loads(said.text)


def test_who_obeys_no_grammar_says_so(filler, target):
    with pytest.raises(IncompatibleParts, match="grammars with open places are for models that fill in masks"):
        generate(target, "Take 1", fill_grammar="json")
    with pytest.raises(BadInput, match="no grammar is called 'jsno'; take json or c-toy"):
        generate(filler, "Take 1", fill_grammar="jsno")
    with pytest.raises(BadInput, match="no text of the grammar fits a canvas"):
        generate(filler, Infill("Take[MASK:2]"), fill_grammar="json")
    with pytest.raises(BadInput, match="templates that begin differently cannot share a grammar"):
        generate(filler, [Infill("[[MASK:2]"), Infill("{[MASK:2]")], fill_grammar="json")
    several = generate(filler, [Infill("[[MASK:2]"), Infill("[[MASK:3]")], fill_grammar="json", temperature=0)
    assert all(isinstance(json.loads(one.text), list) for one in several)

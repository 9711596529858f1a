import re
from dataclasses import dataclass
from typing import Literal

import pytest

from decant.apps.knobs import Spec, build, knobs_of, split
from decant.errors import BadInput


@dataclass(frozen=True)
class Toy:
    model: object
    depth: int = 4
    share: float = 0.5
    eager: bool = False
    kind: Literal["wide", "deep"] = "wide"
    budget: int | None = None
    inner: tuple[int, ...] = ()


GIVEN = {"model": "a model"}


def test_a_name_alone():
    assert split("prompt-lookup") == Spec("prompt-lookup", {})


def test_every_type_is_converted():
    spec = split("toy:depth=7:share=0.25:eager=on:kind=deep:budget=12")
    assert build(spec, Toy, knobs_of(Toy, GIVEN), GIVEN) == Toy("a model", 7, 0.25, True, "deep", 12)


def test_none_is_a_value_where_it_is_allowed():
    assert build(split("toy:budget=none"), Toy, knobs_of(Toy, GIVEN), GIVEN).budget is None


def test_dashes_stand_for_underscores():
    assert split("prompt-lookup:min-ngram=2").knobs == {"min_ngram": "2"}


def test_what_is_given_and_what_text_cannot_spell_is_no_knob():
    assert set(knobs_of(Toy, GIVEN)) == {"depth", "share", "eager", "kind", "budget"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("toy:dept=7", "toy has no knob 'dept'; did you mean depth?"),
        ("toy:model=x", "toy has no knob 'model'; did you mean"),
        ("toy:depth=many", "toy's depth is a whole number, got 'many'"),
        ("toy:depth=1.5", "toy's depth is a whole number, got '1.5'"),
        ("toy:share=much", "toy's share is a number, got 'much'"),
        ("toy:eager=maybe", "toy's eager is on or off, got 'maybe'"),
        ("toy:kind=tall", "toy's kind is one of wide, deep, got 'tall'"),
        ("toy:budget=few", "toy's budget is a whole number, got 'few'"),
    ],
)
def test_a_knob_that_does_not_fit_is_refused(spec, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        build(split(spec), Toy, knobs_of(Toy, GIVEN), GIVEN)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("toy:depth", "holds 'depth', which sets nothing; write toy:knob=value"),
        ("toy:depth=", "holds 'depth=', which sets nothing"),
        ("toy:=4", "holds '=4', which sets nothing"),
        ("toy:depth=1:depth=2", "sets depth twice"),
        (":depth=1", "names nothing"),
        ("", "names nothing"),
    ],
)
def test_a_spec_that_cannot_be_read_is_refused(spec, message):
    with pytest.raises(BadInput, match=message):
        split(spec)


def test_a_part_without_knobs_says_so():
    with pytest.raises(BadInput, match="coupled has no knobs, but 'depth' was set; leave it out"):
        build(split("coupled:depth=1"), lambda: None, {})


def test_knobs_part_between_a_drafter_and_its_policy():
    mine, rest = split("toy:depth=7:share=0.1").parted({"share": float}, {"depth": int})
    assert (mine.knobs, rest.knobs) == ({"share": "0.1"}, {"depth": "7"})


def test_a_knob_of_neither_names_the_nearest_of_both():
    with pytest.raises(BadInput, match=r"toy has no knob 'dpth'; did you mean depth\?"):
        split("toy:dpth=7").parted({"share": float}, {"depth": int})


def test_a_house_model_is_one_value():
    assert split("toy:start=house:draft:depth=2") == Spec("toy", {"start": "house:draft", "depth": "2"})


def test_later_knobs_win():
    assert split("fixed:depth=4:width=2").joined(split("x:depth=9")) == Spec("fixed", {"depth": "9", "width": "2"})

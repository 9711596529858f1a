"""Which method a race speaks for, and what is said of each."""

import pytest

from decant.pages import fastest, report
from decant.pages.ranking import command, kept, verdict, winner
from tests.pages.facts import race, row
from tests.pages.markup import Markup

LOSSY = {"promise": None, "identical": None, "knobs": {"lenience": 0.7}}


def test_the_fastest_that_loses_nothing_wins():
    assert (winner(race()) or {})["name"] == "draft-model"
    said = "Use draft-model: it is 1.80 times as fast as plain decoding (1.60 to 2.00), and says the same tokens."
    assert verdict(race()) == said
    assert command(race()) == "decant serve house:target --method draft-model --draft house:draft"


def test_off_where_the_interval_holds_one():
    noise = race(row("draft-model", (1.8, 0.99, 2.0)))
    assert winner(noise) is None
    assert verdict(noise).startswith("Leave it off: the fastest method that loses nothing, draft-model, is 1.80 times")
    assert command(noise) == "decant serve house:target --method plain"


def test_off_where_nothing_was_raced():
    assert verdict(race(row("threshold", (2.0, 2.0, 2.0), promise=None))).startswith("Leave it off: no method")


@pytest.mark.parametrize("fault", [{"promise": None}, {"differs": {"near_ties": 0, "unexplained": 1}}])
def test_what_loses_something_never_wins(fault):
    assert fastest(race(row("fast", (9.0, 8.0, 10.0), **fault), row("slow", (1.2, 1.1, 1.3))))["name"] == "slow"


def test_what_the_repeats_do_not_tell_apart_is_named():
    close = race(row("one", (1.8, 1.6, 2.0)), row("two", (1.5, 1.2, 1.7)), row("three", (1.2, 1.1, 1.5)))
    assert verdict(close).endswith("These repeats do not tell it from two.")


def test_a_distribution_is_not_called_tokens():
    law = {"promise": "distribution", "identical": None, "differs": {"near_ties": None, "unexplained": None}}
    assert "samples from the same distribution" in verdict(race(row("rejection", (1.8, 1.6, 2.0), **law)))


def test_what_makes_numbers_less_is_said():
    found = race(row("one", (1.8, 1.8, 1.8), flag="repetitive text"))
    found["machine"]["load"], found["finished"]["repeats"] = 1.5, 1
    words = Markup(report({"race": found})).words
    assert "The machine was busy (load 1.5 on 2 cores)" in words
    assert "There is one repeat" in words
    assert "The race was interrupted after 1 repeat." in words
    assert "one: repetitive text." in words


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ({"agreement": 0.9, "nats": 0.1}, "lossy: 90% of tokens agree, +0.100 nats a token, lenience 0.7"),
        ({"agreement": None, "nats": -0.1}, "lossy: -0.100 nats a token, lenience 0.7"),
        ({"agreement": 0.9, "nats": None}, "lossy: 90% of tokens agree, lenience 0.7"),
    ],
)
def test_what_was_lost_at_which_setting(lost, said):
    one = row("draft-model", (1.8, 1.6, 2.0), **LOSSY, lost=lost)
    assert kept(one) == said
    assert said in report({"race": race(one)})


def test_only_what_can_be_compared_has_a_place_on_the_frontier():
    alone = row("lenient", (1.8, 1.6, 2.0), **LOSSY, lost={"agreement": None, "nats": 0.1})
    assert "Quality and speed" not in report({"race": race(alone)})
    beside = row("ead", (1.5, 1.4, 1.6), promise=None, identical=False, lost={"agreement": 0.5, "nats": 0.1})
    words = Markup(report({"race": race(alone, beside)})).words
    assert "ead: 1.50 times the speed" in words
    assert "lenient: 1.80" not in words

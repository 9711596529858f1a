import re

import pytest

from decant.apps.catalog import DEFAULT_VERIFIER, DRAFTERS, METHODS, POLICIES, VERIFIERS, check, pick
from decant.apps.knobs import knobs_of
from decant.errors import UnknownMethod


def test_a_knob_is_either_the_drafter_s_or_the_policy_s():
    for recipe in METHODS.values():
        if recipe.drafter is not None:
            mine = set(knobs_of(DRAFTERS[recipe.drafter].get()))
            for policy in POLICIES.values():
                assert not mine & set(knobs_of(policy.get()))


def test_the_default_verifier_judges_every_draft():
    judge = VERIFIERS[DEFAULT_VERIFIER].get()
    assert judge.exact
    assert judge.seeded
    assert judge.trees


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prompt-lokup", "no method is called 'prompt-lokup'; did you mean prompt-lookup?"),
        ("draft_model", "no method is called 'draft_model'; did you mean draft-model"),
        ("zzz", "no method is called 'zzz'; there are ada-block, adadec"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, message):
    with pytest.raises(UnknownMethod, match=re.escape(message)):
        pick(METHODS, name, "method")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["plain", "draft-modle:depth=3"],), "no method is called 'draft-modle'; did you mean draft-model"),
        (([], "copuled"), "no verifier is called 'copuled'; did you mean coupled?"),
        (([], None, "aditive:up=3"), "no policy is called 'aditive'; did you mean additive?"),
    ],
)
def test_names_are_checked_before_anything_is_loaded(arguments, message):
    with pytest.raises(UnknownMethod, match=re.escape(message)):
        check(*arguments)

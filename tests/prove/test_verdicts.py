"""A check that could not have told a fault neither holds nor fails, wherever it is told."""

import pytest

from decant.apps.cli import certificates
from decant.pages.certificate import verdict
from decant.prove.verdicts import judged


def check(holds: bool, p_value: float | None, caught: bool | None) -> dict:
    return {"name": "law", "holds": holds, "p_value": p_value, "planted_fault_caught": caught, "doubt": 1e-3}


@pytest.mark.parametrize(
    ("found", "unsure", "sentence"),
    [
        (check(True, 0.5, True), False, "none failed"),
        (check(False, 1e-6, True), False, "law"),
        (check(False, 1e-6, False), False, "law"),
        (check(False, None, None), False, "law"),
        (check(False, 0.5, False), True, "nothing failed, but a fault would not have shown in law"),
    ],
)
def test_what_a_check_came_to(found: dict, unsure: bool, sentence: str) -> None:
    assert judged(found)["unsure"] == unsure
    report = {"checks": [judged(found)]}
    for said in (certificates.verdict(report), verdict(report)):
        assert sentence in said
        assert ("nothing failed" in said) == unsure

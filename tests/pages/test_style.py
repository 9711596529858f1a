"""Colours can be told from their ground, in either scheme: WCAG 2's contrast, 4.5 for text."""

import re
from importlib.resources import files
from itertools import product

import pytest

SHEETS = {
    "pages": files("decant.pages") / "templates" / "page.css",
    "playground": files("decant.apps") / "server" / "playground" / "style.css",
}
TEXT, GROUND = ("ink", "quiet", "accent", "warm", "cool", "bad"), ("paper", "raised")
MARKED = ("drafted", "corrected", "bonus")
ENOUGH = 4.5


def schemes(sheet):
    """The variables of each scheme, light first."""
    blocks = re.findall(r":root \{(.*?)\}", sheet.read_text(encoding="utf-8"), re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in blocks]


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_is_right():
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", SHEETS)
def test_text_can_be_read_in_every_scheme(name):
    found = schemes(SHEETS[name])
    assert len(found) >= 2
    for scheme in found:
        pairs = [*product(TEXT, GROUND), *product(("ink", "quiet"), MARKED), ("on-accent", "accent")]
        for text, ground in pairs:
            if text in scheme and ground in scheme:
                assert contrast(scheme[text], scheme[ground]) >= ENOUGH, (text, ground)


@pytest.mark.parametrize("name", SHEETS)
def test_both_schemes_name_the_same_colours(name):
    light, dark, *others = schemes(SHEETS[name])
    assert set(light) == set(dark)
    assert all(set(other) == set(light) for other in others)


def test_origins_differ_without_their_colours():
    sheet = SHEETS["pages"].read_text(encoding="utf-8")
    lines = [re.search(rf"\.{origin} \{{.*border-bottom: \d+px (\w+)", sheet) for origin in MARKED]
    assert len({found[1] for found in lines if found}) == len(MARKED)

"""Images on a page are pictures that lie in it, and the first sentence is about who needs one forward."""

import pytest

from decant.pages import report
from tests.pages import facts
from tests.pages.markup import Markup


def test_images_are_pictures_in_the_page_with_their_numbers_beside() -> None:
    found = Markup(report({"images": facts.IMAGES, "model": {"name": "house:digits-ar"}}))
    assert [one["src"] for one in found.named("img")] == [f"data:image/png;base64,{facts.PNG}"] * 4
    assert "16 forwards an image, distance 1.5, 98.0 % taken for what was asked" in found.words
    assert "1 forward an image, distance 2.25, 97.0 % taken" in found.words
    assert "None" not in found.words


def test_the_headline_names_the_nearest_of_one_forward() -> None:
    said = "In one forward dd2-1 comes nearest to real images: a Frechet distance of 2.25, against 1.5 of plain in 16"
    assert said in Markup(report({"images": facts.IMAGES})).words
    slow = [one for one in facts.IMAGES if one["forwards"] != 1]
    assert "No method was measured that makes an image in one forward." in Markup(report({"images": slow})).words
    assert "comes nearest" not in Markup(report({"images": facts.IMAGES, "race": facts.race()})).words


@pytest.mark.parametrize("text", ["javascript:alert(1)", "https://elsewhere/x.png", "PHN2Zz48L3N2Zz4=", ""])
def test_what_is_no_png_file_is_not_shown(text: str) -> None:
    page = report({"images": [{**facts.IMAGES[0], "png_base64": text}]})
    assert not Markup(page).named("img")
    assert "elsewhere" not in page

"""The heads of the house: recipes that exist, and a target that names what is shipped beside it."""

import json

import pytest

from decant.apps.catalog import METHODS, NEEDS_HEAD, RECIPES
from decant.apps.catalog.recipes import HEAD
from decant.apps.teaching import recipe_of
from decant.house import HOME
from decant.house.heads import LESSONS, SHIPPED, ship
from decant.models.heads import folder as heads


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.kind)
def test_every_lesson_is_a_recipe_with_knobs_that_exist(lesson) -> None:
    assert recipe_of(lesson.recipe).kind == lesson.kind


def test_every_kind_of_head_is_taught() -> None:
    assert {lesson.kind for lesson in LESSONS} == {name for name, recipe in RECIPES.items() if recipe.by == HEAD}


def test_a_head_is_shipped_beside_the_target_that_names_it(tmp_path) -> None:
    out, made = tmp_path / "house", tmp_path / "shop" / "eagle"
    made.mkdir(parents=True)
    for name in (*SHIPPED, "training"):
        (made / name).write_text(name)
    (out / "target").mkdir(parents=True)
    (out / "target" / "decant.json").write_text('{"draft": "house:draft"}')
    ship(made, out)
    said = json.loads((out / "target" / "decant.json").read_text())
    assert said == {"draft": "house:draft", "heads": {"eagle": "house:eagle"}}
    assert sorted(path.name for path in (out / "eagle").iterdir()) == sorted(SHIPPED)


@pytest.mark.skipif(not (HOME / "eagle").is_dir(), reason="no heads are shipped yet")
def test_what_is_shipped_fits_the_target_and_seven_mebibytes() -> None:
    kinds = {recipe.head or recipe.drafter for recipe in METHODS.values() if recipe.needs == NEEDS_HEAD}
    assert kinds
    folders = [HOME / lesson.kind for lesson in LESSONS]
    assert all(heads.kind_of(folder) == folder.name for folder in folders)
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) < 7 * 2**20

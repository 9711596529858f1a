"""The catalogue and the folders hold the same methods, and say the same of them."""

import ast
import inspect
import re
import runpy
from pathlib import Path

import pytest

from decant.apps import catalog
from decant.apps.knobs import build, knobs_of, split
from decant.apps.wiring import NAMES, wired
from decant.errors import UnknownMethod
from decant.models.heads.folder import NETS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "decant"
ROOMS = {
    "drafters": catalog.DRAFTERS,
    "verifiers": catalog.VERIFIERS,
    "policies": catalog.POLICIES,
    "samplers": catalog.SAMPLERS,
    "constraints": catalog.CONSTRAINTS,
    "unmaskers": catalog.UNMASKERS,
    "schedules": catalog.SCHEDULES,
    "caches": catalog.CACHES,
}
PARTS = [(room, part) for room, table in ROOMS.items() for part in table.values()]
PARTS += [("decoders", part) for part in catalog.DECODERS.values()]
PART_IDS = [f"{room}/{part.name}" for room, part in PARTS]


@pytest.mark.parametrize("room", ROOMS)
def test_every_method_file_is_in_the_catalogue(room: str) -> None:
    files = {file.stem.replace("_", "-") for file in (PACKAGE / room).glob("[a-z]*.py")}
    assert files
    assert files == set(ROOMS[room])


@pytest.mark.parametrize(("room", "part"), PARTS, ids=PART_IDS)
def test_every_row_leads_to_its_file(room: str, part: catalog.Part) -> None:
    file = Path(inspect.getfile(part.get()))
    assert file == PACKAGE / room / f"{part.name.replace('-', '_')}.py"


@pytest.mark.parametrize(("room", "part"), PARTS, ids=PART_IDS)
def test_a_row_cites_what_its_file_cites(room: str, part: catalog.Part) -> None:
    docstring = ast.get_docstring(ast.parse(Path(inspect.getfile(part.get())).read_text())) or ""
    source = docstring.partition("Source:")[2]
    assert part.source
    assert set(re.findall(r"\d{4}\.\d{5}", part.source)) <= set(re.findall(r"\d{4}\.\d{5}", source))


@pytest.mark.parametrize("method", catalog.METHODS.values(), ids=lambda method: method.name)
def test_every_method_is_made_of_parts_that_exist(method: catalog.Recipe) -> None:
    if method.drafter is None:
        assert method.decoder in catalog.DECODERS or method.name == "plain"
        return
    assert method.needs == catalog.DRAFTERS[method.drafter].needs
    policy = split(method.policy)
    made = catalog.POLICIES[policy.name].get()
    assert isinstance(build(policy, made, knobs_of(made), dict.fromkeys(wired(made))), made)


def test_every_decoder_is_a_method() -> None:
    assert {method.decoder for method in catalog.METHODS.values()} - {None} == set(catalog.DECODERS)


def test_every_drafter_is_a_method() -> None:
    assert {method.drafter for method in catalog.METHODS.values()} - {None} == set(catalog.DRAFTERS)


def test_a_head_of_its_own_is_known_and_taught() -> None:
    named = {method.head for method in catalog.METHODS.values()} - {None}
    painting = {method.head for method in catalog.METHODS.values() if method.paints}
    assert named <= set(catalog.RECIPES)
    assert named - painting <= set(NETS)
    for method in catalog.METHODS.values():
        assert method.head is None or method.paints or method.needs == catalog.NEEDS_HEAD


@pytest.mark.parametrize("recipe", catalog.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_recipe_has_its_runner_and_cites_its_file(recipe: catalog.Part) -> None:
    assert list(inspect.signature(recipe.runner()).parameters) == ["asked", "told"]
    docstring = ast.get_docstring(ast.parse(Path(inspect.getfile(recipe.get())).read_text())) or ""
    assert set(re.findall(r"\d{4}\.\d{5}", recipe.source)) <= set(re.findall(r"\d{4}\.\d{5}", docstring))


def test_a_trained_part_is_read_from_a_folder_that_a_knob_names() -> None:
    assert catalog.knobs_for(catalog.METHODS["r2r"])[0] == {"threshold": float | None, "router": str}
    assert catalog.knobs_for(catalog.METHODS["eagle"])[0]["head"] is str
    assert catalog.knobs_for(catalog.METHODS["rasd"])[0] == {"top": int, "nodes": int, "store": str}
    assert set(catalog.FOLDERS.values()) <= NAMES


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownMethod, match="no method is called 'prompt_lokup'; did you mean prompt-lookup"):
        catalog.pick(catalog.METHODS, "prompt_lokup", "method")


def test_the_page_of_methods_is_up_to_date() -> None:
    lines = runpy.run_path(str(ROOT / "docs" / "methods.py"))["page"]()
    assert (ROOT / "docs" / "methods.md").read_text() == "\n".join(lines) + "\n", "run `make docs`"

"""pyproject.toml, constraints.txt and the contracts agree with one another and with the folders."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from decant.apps.cli import env

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ASKED = [
    Requirement(line)
    for lines in (
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        PROJECT["build-system"]["requires"],
    )
    for line in lines
]
PINS = {
    canonicalize_name(line.split("==")[0]): Version(line.split("==")[1])
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
}
LATE = {  # extras, where they are used
    "ray": {"spreading.py", "fleet.py", "replica.py"},
    "peft": {"lora.py"},
    "llguidance": {"matching.py"},
    "matplotlib": {"parallel.py", "gallery.py"},
    "gguf": {"gguf_words.py"},
    "sklearn": {"pictures.py"},
    "jsonschema": {"judging.py"},
    "fastapi": {"serve.py", "gate.py", "routes.py", "streaming.py", "passing.py"},
    "starlette": {"gate.py", "routes.py", "streaming.py", "passing.py", "replica.py"},  # fastapi's own
    "pydantic": {"wire.py", "schemas.py"},  # likewise
    "uvicorn": {"lifecycle.py", "serve.py"},
    "prometheus_client": {"metrics.py", "serve.py", "routes.py", "gathered.py"},
}
ALLOWED_CORE = {
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "typer", "rich", "pydantic"),
    *("jinja2", "markupsafe"),  # torch brings them
}


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
def test_every_dependency_is_pinned_within_its_range(asked: Requirement) -> None:
    assert PINS[canonicalize_name(asked.name)] in asked.specifier


def test_pins_name_no_build() -> None:
    assert not [name for name, pin in PINS.items() if pin.local], "a pin like 2.13.0+cpu installs from one index only"


def test_the_core_stays_small() -> None:
    assert {Requirement(line).name for line in PROJECT["project"]["dependencies"]} <= ALLOWED_CORE


def test_the_core_is_what_is_imported() -> None:
    imported: dict[str, set[str]] = {}
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                imported.setdefault(name.split(".")[0], set()).add(file.name)
    foreign = imported.keys() - sys.stdlib_module_names - {"decant"}
    assert foreign - LATE.keys() == {Requirement(line).name for line in PROJECT["project"]["dependencies"]}
    assert {name: imported[name] for name in LATE} == LATE


def test_the_report_of_the_environment_names_these_extras() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert {extra: set(names) for extra, names in env.EXTRAS.items()} == {
        extra: {Requirement(line).name for line in lines} for extra, lines in extras.items()
    }


def test_every_contract_names_every_room_that_it_is_about() -> None:
    rooms = {folder.name for folder in (ROOT / "src" / "decant").iterdir() if (folder / "__init__.py").exists()}
    modules = {file.stem for file in (ROOT / "src" / "decant").glob("[a-z]*.py")}
    contracts = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    barred = {name.split(".")[1] for name in contracts["only models/ knows transformers"]["source_modules"]}
    assert barred == (rooms | modules) - {"models"}
    strangers = contracts["one method does not import another"]["modules"]
    apart = {name.split(".")[1] for name in strangers if name.count(".") == 2}
    chosen = {
        name.split(".")[1] for name in contracts["decoders compose parts, they do not choose them"]["forbidden_modules"]
    }
    assert apart == chosen - {"models"}
    taught = ROOT / "src" / "decant" / "distill"
    parts = {folder.name for folder in taught.iterdir() if (folder / "__init__.py").exists()}
    assert {name.split(".")[2] for name in strangers if name.count(".") == 3} == parts - {
        "heads",
        "diffusion",
        "images",
    }

"""What `import decant` promises: few names, all real, and quick to import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import decant

HEAVY = ("torch", "transformers", "tokenizers", "numpy", "rich")


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `statement`."""
    script = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    paths = {**os.environ, "PYTHONPATH": str(Path(decant.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=paths)
    return set(done.stdout.split("\n")[-2].split())


def test_few_names() -> None:
    assert 0 < len(decant.__all__) <= 24
    assert len(set(decant.__all__)) == len(decant.__all__)


@pytest.mark.parametrize("name", decant.__all__)
def test_every_public_name_is_real(name: str) -> None:
    assert getattr(decant, name) is not None
    assert name in dir(decant)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="absent"):
        decant.absent  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not modules_after("import decant") & set(HEAVY)


def test_importing_the_command_line_does_not_import_torch() -> None:
    assert not modules_after("import decant.apps.cli") & {"torch", "transformers"}

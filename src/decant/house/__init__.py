"""The small models that we trained ourselves and ship, so that everything runs offline: `house:target`, `house:draft`,
`house:diffusion`, which fills in masks, and `house:digits-ar` and `house:digits-var`, which draw digits.

The folders hold Hugging Face models; `prompts` holds held-out questions for them. `build`, `heads`, `diffusion`,
`digits` and `digits_students` make all of it again.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Final

from decant.errors import BadInput, UnknownMethod

HOME: Final = Path(__file__).parent
MODELS: Final = ("target", "draft", "diffusion")
IMAGES: Final = ("digits-ar", "digits-var")
PROMPTS: Final = ("tasks", "code", "copy")


def folder(name: str) -> Path:
    """The model folder of `house:NAME`, given with or without the prefix."""
    return _there(HOME / _known(name, MODELS + IMAGES, "model"))


def prompts(name: str) -> Path:
    """The JSONL file of `house:NAME` prompts, given with or without the prefix."""
    return _there(HOME / "prompts" / f"{_known(name, PROMPTS, 'prompts file')}.jsonl")


def _known(name: str, names: tuple[str, ...], kind: str) -> str:
    bare = name.removeprefix("house:")
    if bare in names:
        return bare
    near = get_close_matches(bare, names) or names
    raise UnknownMethod(f"no house {kind} is called {name!r}; did you mean {' or '.join(f'house:{n}' for n in near)}?")


def _there(path: Path) -> Path:
    if not path.exists():
        raise BadInput(f"{path} is missing from this installation; `python -m decant.house.build` makes it")
    return path

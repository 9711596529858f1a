"""From what a user typed to a model folder: a path, `house:NAME`, or a Hub id; and what stands beside the weights."""

import json
import re
from pathlib import Path
from typing import Any, Final

from decant.errors import BadInput, IncompatibleParts

PICTURES: Final = {
    "NextScaleForImages": "draws images scale by scale, with `decant generate NAME --label CLASS`",
    "DistilledDecoding1": "is a student that makes images; give it as --draft of its teacher",
    "DistilledDecoding2": "is a student that makes images; give it as --draft of its teacher",
    "JudgeOfImages": "judges images; decant.json of their models names it",
}
"""What config.json calls what is no language model, and what it is."""
HOUSE: Final = Path(__file__).parents[1] / "house"  # found by its path: models never import the house


def find(name: str) -> str:
    """A folder that exists, or a Hub id. Raises BadInput."""
    if name.startswith("house:"):
        folder = HOUSE / name.removeprefix("house:")
        if not (folder / "config.json").is_file():
            known = ", ".join(sorted(f"house:{path.parent.name}" for path in HOUSE.glob("*/config.json")))
            raise BadInput(f"no house model is called {name!r}; there are {known or 'none in this installation'}")
        name = str(folder)
    folder = Path(name).expanduser()
    if folder.is_dir():
        _refuse_broken(folder, name)
        return str(folder)
    if folder.exists():
        raise BadInput(f"{name} is a file; give the folder that holds config.json and the weights")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith((".", "/", "~")):
        raise BadInput(f"no folder {name!r}, and it is not a Hub id (owner/model) or house:NAME either")
    return name


def of_images(name: str) -> dict[str, Any]:
    """What the decant.json of a model of images says of them, by the model's name; nothing of any other model."""
    folder = HOUSE / name.removeprefix("house:") if name.startswith("house:") else Path(name).expanduser()
    try:
        return json.loads((folder / "decant.json").read_text(encoding="utf-8")).get("images") or {}
    except (OSError, ValueError, AttributeError):
        return {}  # whoever loads the model says what is wrong


def _refuse_broken(folder: Path, name: str) -> None:
    config = folder / "config.json"
    if not config.is_file():
        raise BadInput(f"{name} holds no config.json; give a model folder in Hugging Face format")
    try:
        json.loads(config.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{config} cannot be read: {error}") from error
    if not list(folder.glob("*.safetensors")):
        if list(folder.glob("*.bin")) + list(folder.glob("*.pt")) + list(folder.glob("*.pth")):
            raise BadInput(
                f"{name} has pickle weights only, which can run code when they are read; convert them once with "
                f"transformers: AutoModelForCausalLM.from_pretrained(...).save_pretrained(folder)"
            )
        raise BadInput(f"{name} holds no *.safetensors file; give a model folder in Hugging Face format")


def refuse_pictures(folder: str, name: str) -> None:
    """Raises IncompatibleParts for a folder that holds a part of a model of images and no language model."""
    config = Path(folder) / "config.json"
    if not config.is_file():
        return  # of the Hub
    for architecture in json.loads(config.read_text(encoding="utf-8")).get("architectures") or ():
        if architecture in PICTURES:
            raise IncompatibleParts(f"{name} says no tokens one by one: it {PICTURES[architecture]}")


def named_draft(folder: str | None) -> str | None:
    """The draft that decant.json beside the weights names; a relative path counts from there."""
    file = Path(folder or "") / "decant.json"
    if folder is None or not file.is_file():
        return None
    try:
        draft = json.loads(file.read_text()).get("draft")
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    if draft and not draft.startswith("house:") and (file.parent / draft).is_dir():
        return str(file.parent / draft)
    return draft

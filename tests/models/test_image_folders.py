"""What holds no language model says what it is, before anything is loaded."""

import json
from pathlib import Path

import pytest

from decant.errors import IncompatibleParts
from decant.models.folder import PICTURES, refuse_pictures


@pytest.mark.parametrize("architecture", PICTURES)
def test_a_part_of_a_model_of_images_is_no_language_model(architecture: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    with pytest.raises(IncompatibleParts, match="digits says no tokens one by one: it "):
        refuse_pictures(str(tmp_path), "digits")


def test_a_language_model_and_a_name_of_the_hub_pass(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    refuse_pictures(str(tmp_path), "digits")
    (tmp_path / "config.json").write_text("{}")
    refuse_pictures(str(tmp_path), "digits")
    refuse_pictures("owner/model", "owner/model")

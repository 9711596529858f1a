"""The model that is exported, read once for all formats."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from decant.errors import BadInput
from decant.models import rounded
from decant.models.folder import find, named_draft
from decant.models.load import stored
from decant.models.masked.convention import Convention

LICENCE = re.compile(r"\A---\n.*?^license: *(\S+)$.*?^---$", re.MULTILINE | re.DOTALL)
HUB = re.compile(r"[\w.-]+/[\w.-]+")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """name: as the user typed it. folder: where it lies; None for a model of the Hub. network: as transformers has it.

    tokenizer: None for a folder without one.
    """

    name: str
    network: Any
    tokenizer: Any
    folder: Path | None = None
    revision: str | None = None

    @classmethod
    def open(cls, name: str, revision: str | None = None, trust_remote_code: bool = False) -> "Source":
        """Read it. Raises BadInput for one that is in eight bits already, or that fills in masks."""
        network, tokenizer = stored(name, revision, trust_remote_code)
        if rounded.holds(network):
            raise BadInput(f"{name} cannot be exported: it is int8 already; give the original")
        if Convention.of(network.config) is not None:
            raise BadInput(f"{name} cannot be exported: it fills in masks, which none of these formats knows")
        folder = Path(find(name))
        return cls(name, network, tokenizer, folder if folder.is_dir() else None, revision)

    @property
    def config(self) -> Any:
        """Of the language model."""
        return self.network.config.get_text_config()

    @property
    def title(self) -> str:
        """Its last word: house:target is target."""
        return re.split(r"[:/]", self.name.rstrip("/"))[-1] or "model"

    @property
    def hub(self) -> str | None:
        """owner/model, of a model of the Hub."""
        return self.name if self.folder is None and HUB.fullmatch(self.name) else None

    @property
    def licence(self) -> str | None:
        """What its own card says."""
        card = None if self.folder is None else self.folder / "README.md"
        if card is None or not card.is_file():
            return None
        said = LICENCE.match(card.read_text("utf-8", errors="replace"))
        return said[1] if said else None

    def named(self) -> dict[str, Any]:
        """The draft and the heads that its decant.json names, to be found from anywhere. Raises BadInput for a file
        that cannot be read."""
        file = Path() if self.folder is None else self.folder / "decant.json"
        draft = None if self.folder is None else named_draft(str(self.folder))
        heads = (json.loads(file.read_text("utf-8")).get("heads") or {}) if file.is_file() else {}
        found = {
            kind: place if place.startswith("house:") else str(file.parent.joinpath(place).resolve())
            for kind, place in heads.items()
        }
        return {name: said for name, said in (("draft", draft), ("heads", found)) if said}

    def facts(self) -> dict[str, str]:
        """What a card says of it, in words."""
        config = self.config
        count = sum(weight.numel() for weight in self.network.parameters())
        shape = f"hidden {config.hidden_size}, {config.num_hidden_layers} layers, {config.num_attention_heads} heads"
        return {
            "architecture": f"{type(self.network).__name__}, {count:,} parameters",
            "shape": shape,
            "vocabulary": f"{config.vocab_size:,} ids",
            "positions": f"{getattr(config, 'max_position_embeddings', 0):,}",
        }

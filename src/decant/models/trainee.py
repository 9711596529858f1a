"""A model to be trained in float32, and its folder in Hugging Face format when it has learnt."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import nn
from transformers import PreTrainedModel

from decant.disk import KEPT, writing
from decant.errors import BadInput
from decant.models.load import ends_of, stored
from decant.models.masked.convention import Convention
from decant.models.masked.naming import write_words
from decant.models.speller import Speller


@final
@dataclass(frozen=True, slots=True, eq=False)
class Trainee:
    """network: float32. kept: the type that its weights are stored in. ends: ids that end a text."""

    name: str
    network: PreTrainedModel
    speller: Speller
    ends: frozenset[int]
    kept: torch.dtype

    @classmethod
    def open(cls, name: str, device: str = "cpu") -> "Trainee":
        """A folder, `house:NAME` or a Hub id. Raises BadInput, also for a model without a tokenizer."""
        network, tokenizer = stored(name)
        if tokenizer is None:
            raise BadInput(f"{name} has no tokenizer files; put tokenizer.json beside the weights")
        kept = next(network.parameters()).dtype
        nn.Module.to(network, device=torch.device(device), dtype=torch.float32)
        return cls(name, network, Speller(name, tokenizer), ends_of(network, tokenizer), kept)

    def export(self, folder: Path) -> None:
        """Weights in their stored type, configuration and tokenizer, for plain transformers.

        Raises BadInput where the folder cannot be written.
        """
        rounded = copy.deepcopy(self.network)
        nn.Module.to(rounded, dtype=self.kept, device=torch.device("cpu"))
        rounded.config.dtype = self.kept
        with writing(folder, KEPT):
            rounded.save_pretrained(folder)
            write_words(self.speller.tokenizer, Convention.of(self.network.config), folder)
            for file in folder.glob("*.safetensors"):
                file.chmod(0o644)  # transformers leaves it to the owner alone

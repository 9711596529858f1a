"""Low-rank adapters: the student's matrices are frozen, and two thin ones beside each of them are learnt.

A wrapped student is still a model of transformers, so all that reads it reads it as before. peft comes with the extra
`[lora]`.
Source: Hu et al. 2021, arXiv:2106.09685.
"""

import copy
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn
from transformers import PreTrainedModel

from decant.errors import BadInput, MissingExtra

NAME = "student"


@final
@dataclass(frozen=True, slots=True)
class Adapters:
    """rank: of the change of a matrix. alpha: it is scaled by alpha / rank. targets: names that modules end in;
    "all-linear" is every matrix but the output's. dropout: of what the adapters read."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ("all-linear",)
    dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise BadInput(f"rank must be at least 1, got {self.rank}")
        if not self.targets:
            raise BadInput("adapters need targets: names of modules, or all-linear")


def wrap(student: PreTrainedModel, adapters: Adapters) -> PreTrainedModel:
    """The same model with adapters put in, which alone have gradients; it says what it said before. Raises MissingExtra
    without peft, BadInput for targets that it does not have."""
    lora = _peft()
    every = adapters.targets == ("all-linear",)
    config = lora.LoraConfig(
        r=adapters.rank,
        lora_alpha=adapters.alpha,
        lora_dropout=adapters.dropout,
        target_modules=adapters.targets[0] if every else list(adapters.targets),
    )
    with torch.random.fork_rng():
        torch.manual_seed(adapters.seed)
        try:
            lora.inject_adapter_in_model(config, student, NAME)
        except ValueError as error:
            linear = sorted(
                {name.rpartition(".")[2] for name, part in student.named_modules() if isinstance(part, nn.Linear)}
            )
            raise BadInput(
                f"no module's name ends in {', '.join(adapters.targets)}; there are {', '.join(linear)}, or all-linear"
            ) from error
    return student


def merged(student: PreTrainedModel) -> PreTrainedModel:
    """A copy without adapters, their changes added to its matrices: for folders, and for decoding. `student` can be
    trained on."""
    lora: Any = _peft().tuners.lora.LoraLayer
    found = copy.deepcopy(student)
    parts: list[tuple[str, Any]] = list(found.named_modules())
    for name, part in parts:
        if isinstance(part, lora):
            part.merge(safe_merge=True)
            above, _, last = name.rpartition(".")
            setattr(found.get_submodule(above), last, part.get_base_layer())
    if hasattr(found, "peft_config"):
        del found.peft_config
    return found.requires_grad_(True)


def _peft() -> Any:
    try:
        import peft  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError as error:
        raise MissingExtra("peft is not installed: pip install 'decant[lora]'") from error
    return peft

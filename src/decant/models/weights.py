"""Which weights were asked for, and where rounded ones cannot be had."""

from typing import Literal, get_args

import torch
from transformers import PreTrainedModel

from decant.errors import BadInput, IncompatibleParts
from decant.models import rounded
from decant.models.fast.int4 import InInt4, unpacks
from decant.models.fast.int8 import InInt8, multiplies
from decant.models.fast.products import AsStored, Layout
from decant.models.fast.reading import why_not
from decant.models.machine import instruction_sets

Rounding = Literal["auto", "int8", "int4"]
WEIGHTS: tuple[str, ...] = get_args(Rounding)


def layouts(weights: str, dtype: torch.dtype) -> tuple[Layout, Layout]:
    """Of all matrices but the last, and of that one."""
    if weights == "auto":
        return AsStored(), AsStored()
    return InInt8(dtype) if weights == "int8" else InInt4(), InInt8(dtype)


def settled(weights: Rounding, name: str, network: PreTrainedModel, widen: str | None) -> Rounding:
    """What was asked for, or what a folder of rounded weights is. Raises BadInput for what it cannot become."""
    if not rounded.holds(network):
        return weights
    if weights == "int4":
        raise BadInput(f"{name} holds int8 weights already; take weights auto, or int4 of the model it was made from")
    if widen is not None:
        raise BadInput(f"{name} holds int8 weights, which cannot be widened; widen the model it was made from")
    return "int8"


def refuse_rounding(weights: str, network: PreTrainedModel, place: torch.device, lean: bool) -> None:
    """Rounded weights are read by our own forward pass alone, on CPUs that multiply them.

    Raises BadInput for a model that is not `lean`, IncompatibleParts for a machine that cannot.
    """
    instead = "the model it was made from" if rounded.holds(network) else "weights auto"
    reason = why_not(network) if lean else f"this {type(network).__name__} runs through transformers"
    if reason is not None:
        raise BadInput(f"{weights} weights are for decant's own forward pass, but {reason}; take {instead}")
    if place.type != "cpu":
        raise IncompatibleParts(f"{weights} weights are multiplied on CPUs, not {place}; take device cpu, or {instead}")
    if not multiplies() or (weights == "int4" and not unpacks()):
        raise IncompatibleParts(
            f"{weights} weights need torch with oneDNN and a CPU with VNNI or AMX; torch {torch.__version__} on this "
            f"one ({', '.join(instruction_sets()) or 'no vector extensions that it names'}) does not multiply them; "
            f"take {instead}"
        )

"""The model card of an exported folder: how it was made, how to load it, what rounding cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from decant.models.loaded import Loaded
from decant.models.machine import machine

SAMPLE: Final = """\
---
library_name: transformers
pipeline_tag: text-generation
---
# {title} in eight bits

Made from `{name}` ({architecture}, {parameters:,} parameters, {dtype}) by decant {version}:

    decant export {name} --weights int8 --out {folder}

Every matrix but the embedding and the output matrix holds whole numbers from -127 to 127 and a step for each output
channel, the largest weight of the channel over 127. Activations are rounded at run time, with a step for each token.
No text was needed to make it. The format is compressed-tensors' `int-quantized` (W8A8, dynamic).

## Load it

    decant generate {folder} "..."

decant multiplies the whole numbers on CPUs (VNNI or AMX), and rounds the output matrix too when it loads: the text is
that of `decant generate {name} --weights int8`. transformers reads the folder where the package compressed-tensors is
installed (tried with 0.20); vLLM documents the same layout (not tried). Both keep the output matrix as stored.

## What it costs

It is another model than the original. On {tokens:,} tokens that the original wrote at temperature 1, token by token:

| | |
|---|---|
| KL(original, this) | {nats:.4f} nats a token |
| the same likeliest token | {same:.1%} |

That is the sum of rounding weights, activations and output matrix, as decant runs it. The licence is the original's.
"""


@final
@dataclass(frozen=True, slots=True)
class Cost:
    """What rounding costs, token by token, on text that the original wrote.

    nats: KL(original || rounded), mean. same: share of positions with the same likeliest token.
    """

    tokens: int
    nats: float
    same: float


def text(original: Loaded, cost: Cost, folder: Path) -> str:
    """README.md."""
    facts = original.facts()
    return SAMPLE.format(
        title=Path(original.name).name,
        name=original.name,
        architecture=facts["architecture"],
        parameters=facts["parameters"],
        dtype=facts["dtype"],
        version=machine()["decant"],
        folder=folder,
        tokens=cost.tokens,
        nats=cost.nats,
        same=cost.same,
    )

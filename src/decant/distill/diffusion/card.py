"""README.md of a model that was taught to fill in masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

CARD: Final = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [masked-diffusion, decant]
---
# {student}, taught to fill in masks

Made with decant {version} by the recipe `{recipe}`:

    {command}

| | |
|---|---|
| texts | {texts} |
| steps | {steps:,} |
| peak learning rate | {peak:g} |
| seconds | {seconds:,} |
| mask | id {mask}, row i of the logits predicts token {predicts} |

## Measured on texts that it was not taught on

{masked:,} masked places. nats: of a place of an answer, an upper bound. Certain: right, with an entropy of at most 0.5
nats.

| | before | after |
|---|---|---|
{rows}

## Load it

    decant generate {folder} "..." --method threshold

The weights are a {family} model in Hugging Face format, which reads {reads};
config.json says so under `masked_diffusion`. Plain transformers reads it from left to right, which it is not made for.
The licence is that of {student}.
"""

NAMES: Final = {"nats": "nats a place", "right": "likeliest id is the text's", "certain": "right and certain"}


def card(student: str, report: Mapping[str, Any], out: Path) -> str:
    """report: recipe.json."""
    before, after, masks = report["before"], report["after"], report["masked_diffusion"]
    return CARD.format(
        student=student,
        recipe=report["asked"]["recipe"],
        version=report["versions"]["decant"],
        command=report["command"],
        folder=out,
        texts=report["data"],
        steps=report["steps"],
        peak=report["peak"],
        seconds=report["seconds"],
        mask=masks["mask_token_id"],
        predicts="i + 1" if masks["shift"] else "i",
        reads=_reads(masks),
        family=report["family"],
        masked=after["masked"],
        rows="\n".join(f"| {text} | {before[name]:.4f} | {after[name]:.4f} |" for name, text in NAMES.items()),
    )


def _reads(masks: Mapping[str, Any]) -> str:
    """masks: the fields of a `Convention`."""
    if not masks["causal_prompt"]:
        return "every place from both sides"
    block = masks["block"]
    answer = "all of its answer" if block is None else f"its answer in blocks of {block} places"
    return f"its prompt from left to right and {answer} from both sides"

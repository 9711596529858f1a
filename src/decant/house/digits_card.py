"""Model cards of the image models, from numbers measured on the written folder."""

from dataclasses import dataclass
from typing import final

from decant.distill.images.tokenizing import Fidelity
from decant.models.images.folder import ImageModel

CARD = """\
---
license: apache-2.0
pipeline_tag: unconditional-image-generation
tags: [image-generation, {tag}]
---
# {name}

A small model of handwritten digits, for measuring how images made of codes are sampled in few passes. {order}

| | |
|---|---|
| images | {side}x{side}, grey, of a class: {classes} |
| codes | {codes} of {channels} numbers, {places} an image in {units} units |
| tokenizer | {pixels:,} parameters, {looks:,} steps |
| model | {parameters:,} parameters: {layers} layers of width {hidden}; {reads:,} steps, class dropout 0.1 |
| draws with | guidance {guidance:g}, temperature {temperature:g}, top-k {top_k}, top-p {top_p:g} |
| made by | `{command}` |

## Measured on {held:,} images that training never saw

| | |
|---|---|
| squared error of a pixel, rebuilt from its codes | {error:.5f} (variance {variance:.4f}) |
| codes in use | {used} of {codes}, perplexity {perplexity:.1f} |
| nats a code, behind its class | {nats:.3f} ({trained:.3f} on training images) |
| nats a code, without a class | {without:.3f} |

## Data and licence

{data} The weights are licensed under Apache-2.0.
"""
ORDERS = {
    "raster": "It is a Llama that says code after code, row after row; ids behind the codes are classes, and none.",
    "scales": "It says scale after scale, {sides} codes a side, all codes of a scale at once.",
}
SOURCES = {
    "digits": "Trained on scikit-learn's copy of the Optical Recognition of Handwritten Digits data set (E. Alpaydin "
    "and C. Kaynak 1998, CC BY 4.0); every fifth image is held out.",
    "mnist": "Trained on the 60,000 training images of MNIST (Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0).",
}


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """fidelity: of the tokenizer. nats: a code of held-out images, behind its class; trained: of training images;
    without: of held-out ones without a class. held: how many images.
    """

    fidelity: Fidelity
    nats: float
    trained: float
    without: float
    held: int


def write_card(name: str, model: ImageModel, measured: Measured, looks: int, reads: int) -> None:
    """README.md of a written folder. looks, reads: steps of the tokenizer and of the teacher."""
    spec, layout, seen = model.network.body.spec, model.tokenizer.layout, measured.fidelity
    codes_VC = model.tokenizer.codes_VC
    text = CARD.format(
        name=title(name),
        command=command(name),
        tag="autoregressive" if model.kind == "raster" else "next-scale",
        order=ORDERS[model.kind].format(sides=", ".join(map(str, layout.sides))),
        side=model.tokenizer.decode(codes_VC[:1].expand(1, layout.places, -1)).shape[-1],
        classes=", ".join(model.classes),
        codes=len(codes_VC),
        channels=codes_VC.shape[1],
        places=layout.places,
        units=layout.units,
        pixels=_parameters(model.tokenizer),
        looks=looks,
        parameters=_parameters(model.network),
        layers=spec.layers,
        hidden=spec.hidden,
        reads=reads,
        guidance=model.drawing.guidance,
        temperature=model.drawing.temperature,
        top_k=model.drawing.top_k or "off",
        top_p=model.drawing.top_p,
        held=measured.held,
        error=seen.error,
        variance=seen.variance,
        used=seen.used,
        perplexity=seen.perplexity,
        nats=measured.nats,
        trained=measured.trained,
        without=measured.without,
        data=SOURCES[name.partition("-")[0]],
    )
    (model.folder / "README.md").write_text(text, encoding="utf-8")


def title(name: str) -> str:
    """What a user calls the model: only digits are shipped, and found by their name alone."""
    return f"house:{name}" if name.startswith("digits-") else name


def command(name: str) -> str:
    """What makes the model."""
    return "python -m decant.house.digits" + ("" if name.startswith("digits-") else " --mnist mnist.npz")


def _parameters(network: object) -> int:
    return sum(weight.numel() for weight in network.parameters())  # pyright: ignore[reportAttributeAccessIssue]

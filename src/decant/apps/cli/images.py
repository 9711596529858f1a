"""`decant generate` of image models: labels in, one picture of all images out."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import typer

from decant.apps.cli import options
from decant.apps.cli.choosing import FLAGS, Flags
from decant.apps.cli.output import check_writable, note, write_json
from decant.apps.cli.start import quieten, use_threads
from decant.errors import BadInput
from decant.models.folder import find, of_images

if TYPE_CHECKING:
    from decant.apps.painting import Painted, Painter
    from decant.models.images.folder import ImageModel

COUNT: Final = 64
FOLLOWED: Final = ("top_k", "top_p", "guidance")
PAINTING: Final = ("label", "n", "out")
SPEAKING: Final = (
    *("prompt", "prompts", "limit", "cache_mb", "chat", "infill", "fill_grammar", "max_tokens", "logprobs"),
    *("processed_logprobs", "stop", "draft_store", "draft_store_mb", "verifier", "policy", "plan", "dtype", "weights"),
    *("device", "revision", "trust_remote_code", "exact", "widen", "watch", "explain"),
)


@final
@dataclass(frozen=True, slots=True)
class Order:
    """What `generate` was asked for. labels: names of classes; none: all in turn. count: images, of the labels by
    turns. batch: images at a time, None: as many as is usual. drawing: how the teacher shall draw, as it was said."""

    model: str
    labels: list[str]
    count: int
    method: str
    student: str | None
    seed: int
    batch: int | None
    drawing: Mapping[str, Any]


def makes_images(model: str) -> bool:
    """Whether a folder is an image model's; read without torch. Raises BadInput for a folder that does not exist."""
    find(model)
    return bool(of_images(model))


def paints(ctx: typer.Context, model: str) -> bool:
    """Whether this `generate` makes images. Raises BadInput for options of texts with images, and the other way."""
    painting = makes_images(model)
    wrong = options.given(ctx, *SPEAKING, *(name for name in FLAGS if name not in FOLLOWED)) if painting else []
    if painting and wrong:
        named = [name if name.startswith("-") else name.upper() for name in wrong]
        raise BadInput(
            f"{', '.join(named)}: of texts, and {model} makes images; leave it out, and say what you want with --label"
        )
    if not painting and (wrong := options.given(ctx, *PAINTING)):
        raise BadInput(
            f"{', '.join(wrong)}: of images, and {model} writes texts; take house:digits-ar, or leave it out"
        )
    return painting


def drawing_of(temperature: float | None, flags: Flags) -> dict[str, Any]:
    """What was said of how the teacher shall draw."""
    return {"temperature": temperature, **{name: getattr(flags, name) for name in FOLLOWED}}


def draw(order: Order, out: Path | None, quiet: bool, json: str | None, threads: int | None) -> None:
    """Make the images and write them. Raises BadInput where nobody would see them."""
    if out is None and json is None:
        raise BadInput("images need a place: give --out FILE.png, or --json FILE for their codes")
    if out is not None:
        check_writable(str(out), "--out")
        if out.suffix.lower() != ".png":
            raise BadInput(f"--out {out} is no PNG file; give a name that ends in .png")
    quieten(order.model, quiet)
    use_threads(threads)

    from decant.apps.painting import BATCH, Palette, painter
    from decant.models.images.folder import read_images

    palette = Palette(**order.drawing)
    model = read_images(order.model)
    named = [model.label(name) for name in order.labels] or list(range(len(model.classes)))
    made = painter(order.method, model, palette, order.student)
    painted = made.paint([named[at % len(named)] for at in range(order.count)], order.seed, order.batch or BATCH)
    if out is not None:
        _write(painted, out)
    note(_summary(made, painted), quiet)
    write_json(_report(order, model, made, painted), json)


def _write(painted: "Painted", out: Path) -> None:
    from decant.apps.gallery import strip_of

    try:
        out.write_bytes(strip_of(painted.images_NYX, math.ceil(math.sqrt(len(painted.images_NYX)))))
    except OSError as error:
        raise BadInput(f"--out {out} cannot be written: {error.strerror}") from error


def _summary(made: "Painter", painted: "Painted") -> str:
    count = len(painted.images_NYX)
    law = {"tokens": "the teacher's own images of this seed", "distribution": "the teacher's distribution"}
    kept = law.get(made.method.promise or "", "not the teacher's distribution")
    passes = f"{painted.forwards:g} forward{'' if painted.forwards == 1 else 's'} each"
    return (
        f"{count} image{'' if count == 1 else 's'} in {count * painted.seconds:.2f} s, "
        f"{1000 * painted.seconds:.2f} ms and {passes}; {made.method.name}: {kept}"
    )


def _report(order: Order, model: "ImageModel", made: "Painter", painted: "Painted") -> dict[str, Any]:
    from decant.models.machine import machine

    return {
        "machine": machine(),
        "model": {"name": model.name, "kind": model.kind, "classes": list(model.classes)},
        "settings": {"method": order.method, "seed": order.seed, **asdict(made.drawing)},
        "promise": made.method.promise,
        "forwards": painted.forwards,
        "seconds": painted.seconds * len(painted.images_NYX),
        "seconds_an_image": painted.seconds,
        "images": [
            {"label": model.classes[label], "codes": codes}
            for label, codes in zip(painted.labels_N.tolist(), painted.ids_NL.tolist(), strict=True)
        ],
    }

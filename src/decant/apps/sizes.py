"""The sizes of a model as the user names it: a folder, house:NAME or a Hub id, of which config.json alone is read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

from decant.apps.opening import Opening
from decant.errors import BadInput
from decant.models.folder import HOUSE, named_draft
from decant.models.heads.folder import kind_of
from decant.tune.shape import Shape


def config_of(name: str, revision: str | None = None) -> Path:
    """The config.json of a model, which needs no weights beside it. Raises BadInput."""
    folder = HOUSE / name.removeprefix("house:") if name.startswith("house:") else Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder / "config.json"
    if folder.is_file() and folder.suffix == ".json":
        return folder
    if name.startswith("house:") or folder.exists() or name.count("/") != 1:
        raise BadInput(f"{name} holds no config.json; give a model folder, a config.json, a Hub id or house:target")
    from decant.models.hub import config_file

    return config_file(name, revision)


def shape_of(
    name: str,
    dtype: str = "auto",
    weights: str = "auto",
    widen: str | None = None,
    layers: Literal["grow", "keep"] = "grow",
) -> Shape:
    """Raises BadInput where the file cannot be read, or describes a model whose passes are not predicted."""
    file = config_of(name)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    shape = Shape.of(config, name, dtype, weights)
    return shape if widen is None else widened(shape, widen, layers)


def shapes_of(model: str, draft: str | None, opening: Opening) -> tuple[Shape, Shape | None]:
    """Of a target and its draft model: the one given, unless that is a trained head, else the one that its decant.json
    names."""
    target = shape_of(model, opening.dtype, opening.weights, opening.widen, opening.layers)
    given = draft is not None and kind_of(Path(draft).expanduser()) is None
    chosen = draft if given else named_draft(str(config_of(model).parent))
    return target, None if chosen is None else shape_of(chosen, opening.dtype, "auto", opening.widen_draft)


def widened(shape: Shape, size: str, layers: Literal["grow", "keep"] = "grow") -> Shape:
    """The sizes that `--widen` gives it. Raises BadInput for a size below the model's."""
    from decant.models import widen

    old = widen.Shape(shape.width, shape.feed_forward, shape.layers, shape.heads, shape.kv_heads)
    wanted = widen.parameters(size)
    if wanted <= shape.parameters:
        raise BadInput(f"size {size!r} is not above the {shape.parameters:,} parameters that {shape.name} has")
    new = widen.choose(widen.Anatomy(old, shape.vocab, shape.head_size, shape.tied), wanted, layers)
    return replace(
        shape,
        width=new.hidden,
        feed_forward=new.intermediate,
        layers=new.layers,
        heads=new.heads,
        kv_heads=new.kv_heads,
    )

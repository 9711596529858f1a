"""`bench --suite images`: what methods make of the same labels, beside real images and beside the teacher's own.

Every method makes equally many images of every class, for several seeds; distances of fewer images are larger.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final, final

import torch
from torch import Tensor

from decant.apps.catalog import METHODS, pick
from decant.apps.knobs import split
from decant.apps.painting import BATCH, SCALES, Painted, Painter, Palette, painter, spoken
from decant.bench.images import Seen, frechet_distance, scores
from decant.errors import BadInput, DecantError
from decant.images.picture import grid, png
from decant.models.folder import find as place_of
from decant.models.heads.folder import find, kind_of
from decant.models.images import judge as judges
from decant.models.images.folder import ImageModel
from decant.models.images.judge import Judge
from decant.noise import sample_seed

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""

PLAIN: Final = "plain"
EACH: Final = 100  # images of a class
ROWS: Final = 2  # of the samples that are shown, an image a class in each
SIDE: Final = 48  # pixels that an image is shown in, at least
MEASURED: Final = ("frechet_distance", "frechet_to_teacher", "precision", "recall", "class_accuracy", "seconds")
OTHER: Final = 1_000_003  # the seed of the teacher's own images, to which distances are taken


@final
@dataclass(frozen=True, slots=True)
class Suite:
    """each: images of a class. repeat: seeds. batch: images at a time."""

    each: int = EACH
    repeat: int = 3
    seed: int = 0
    batch: int = BATCH


@final
@dataclass(frozen=True, slots=True, eq=False)
class Show:
    """An image model, who judges it, and how it is asked to draw. student: the folder of one, for methods of its kind;
    None: those of decant.json."""

    model: ImageModel
    judge: Judge
    palette: Palette = Palette()  # noqa: RUF009  (frozen)
    student: str | None = None

    def painters(self, specs: Sequence[str] | str) -> tuple[list[Painter], list[dict[str, str]]]:
        """Plain decoding first, then the others; "all": whatever can run here, and why the rest cannot."""
        target = spoken(self.model) if self.model.kind == "raster" else None
        made, skipped = [painter(PLAIN, self.model, self.palette, None, target)], []
        for spec in suited(self.model) if isinstance(specs, str) else specs:
            if split(spec).name in (PLAIN, SCALES):
                continue
            try:
                made.append(painter(spec, self.model, self.palette, self._student(spec), target))
            except DecantError as error:
                if not isinstance(specs, str):
                    raise
                skipped.append({"method": spec, "reason": str(error)})
        return made, skipped

    def _student(self, spec: str) -> str | None:
        """The folder that was given, for methods of its kind."""
        kind = None if self.student is None else kind_of(Path(place_of(self.student)))
        return self.student if kind is not None and kind == pick(METHODS, split(spec).name, "method").head else None


def suited(model: ImageModel) -> list[str]:
    """Methods for images, and of those for text the one that is."""
    own = [name for name, recipe in METHODS.items() if recipe.paints and name != SCALES]
    return [*(["sjd"] if model.kind == "raster" else []), *own]


def judge_of(model: ImageModel) -> Judge:
    """The one that decant.json names. Raises BadInput where it names none, or one of other classes."""
    folder = find(model.name, "judge")
    if folder is None:
        raise BadInput(
            f'{model.name} names no judge: put "judge" and its folder among the heads of decant.json; python -m '
            f"decant.house.digits trains one"
        )
    judge = judges.read(folder)
    if judge.net.spec.classes != model.classes:
        raise BadInput(f"the judge in {folder} knows other classes than {model.name}; train one on the same images")
    return judge


def run(
    show: Show,
    specs: Sequence[str] | str,
    suite: Suite,
    progress: Progress = lambda done, total, text: None,
) -> dict[str, Any]:
    """The report, JSON-ready. Raises what a method that was named cannot do."""
    made, skipped = show.painters(specs)
    real = _seen(show.judge, show.judge.images_NYX)
    labels = [label for _ in range(suite.each) for label in range(len(show.model.classes))]
    own = made[0].paint(labels, suite.seed + OTHER, suite.batch)
    teacher = _seen(show.judge, own.images_NYX)
    rows = []
    for done, one in enumerate(made):
        progress(done, len(made), one.method.name)
        rows.append(_row(one, show.judge, labels, (real, teacher), suite))
    progress(len(made), len(made), "done")
    pictures = [{"method": "real images", "png_base64": _strip(_first(show.judge, ROWS)), **_nothing(real, show.judge)}]
    pictures += [
        {"method": row["name"], "png_base64": row.pop("strip")}
        | {key: row[key] for key in ("forwards", "frechet_distance", "class_accuracy")}
        for row in rows
    ]
    return {"methods": rows, "floors": _floors(show.judge, real, len(labels)), "skipped": skipped, "images": pictures}


def strip_of(images_NYX: Tensor, columns: int) -> bytes:
    """A PNG file of images side by side, each at least `SIDE` pixels wide."""
    return png(grid(images_NYX, columns, max(1, -(-SIDE // images_NYX.shape[-1]))))


def _row(one: Painter, judge: Judge, labels: list[int], others: tuple[Seen, Seen], suite: Suite) -> dict[str, Any]:
    """One method over all seeds: means, and the lowest and highest of the repeats."""
    one.paint(labels[: suite.batch], suite.seed, suite.batch)  # whatever is made at the first call is not timed
    real, teacher = others
    found: list[dict[str, float]] = []
    first: Painted | None = None
    for repeat in range(suite.repeat):
        painted = one.paint(labels, sample_seed(suite.seed, repeat), suite.batch)
        first = first or painted
        seen = _seen(judge, painted.images_NYX)
        apart = frechet_distance(seen.features_ND, teacher.features_ND)
        measured = {**scores(seen, painted.labels_N, real), "frechet_to_teacher": apart, "seconds": painted.seconds}
        found.append({**measured, "forwards": painted.forwards})
    assert first is not None
    shown = ROWS * len(judge.net.spec.classes)
    return {
        "name": one.method.name,
        "exact": one.method.exact or one.method.name == PLAIN,
        "promise": one.method.promise,
        "forwards": fmean(each["forwards"] for each in found),
        **{name: fmean(each[name] for each in found) for name in MEASURED},
        "spread": {name: [min(each[name] for each in found), max(each[name] for each in found)] for name in MEASURED},
        "repeats": len(found),
        "images": len(labels),
        "strip": _strip(first.images_NYX[:shown], len(judge.net.spec.classes)),
    }


def _floors(judge: Judge, real: Seen, images: int) -> dict[str, Any]:
    """How near sets of one kind come: halves of the real images, by turns of each class."""
    turn_N = torch.zeros_like(judge.labels_N)
    for label in range(len(judge.net.spec.classes)):
        mine_N = judge.labels_N == label
        turn_N[mine_N] = torch.arange(int(mine_N.sum())) % 2
    halves = [real.features_ND[turn_N == half] for half in (0, 1)]
    return {
        "real_halves": frechet_distance(*halves),
        "real_halves_images": len(halves[0]),
        "reference_images": len(real),
        "images": images,
    }


def _seen(judge: Judge, images_NYX: Tensor) -> Seen:
    return Seen(*judge.net.look(images_NYX))


def _nothing(real: Seen, judge: Judge) -> Mapping[str, Any]:
    right = float((real.classes_N == judge.labels_N).double().mean())
    return {"forwards": None, "frechet_distance": None, "class_accuracy": right}


def _first(judge: Judge, rows: int) -> Tensor:
    """The first real images of each class, row by row."""
    classes = range(len(judge.net.spec.classes))
    at = [(judge.labels_N == label).nonzero()[row, 0] for row in range(rows) for label in classes]
    return judge.images_NYX[torch.stack(at)]


def _strip(images_NYX: Tensor, columns: int | None = None) -> str:
    return base64.b64encode(strip_of(images_NYX, columns or len(images_NYX) // ROWS)).decode()

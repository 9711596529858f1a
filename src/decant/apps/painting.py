"""From labels to images: an image model with a method in place.

A raster teacher speaks its codes, so whatever decodes text decodes it. Other methods have loops of their own, whose
fields are filled by name (`Easel`), as `wiring` does it for text.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor

from decant.apps.catalog import METHODS, Recipe, knobs_for, loop_of, pick, preset
from decant.apps.choosing import choose
from decant.apps.compose import compose
from decant.apps.guidance import Guide
from decant.apps.knobs import Spec, build, knobs_of, split
from decant.apps.opening import Opening
from decant.apps.sampling import Sampling
from decant.decoders.generate import right_pad
from decant.decoders.method import Method
from decant.distill.images.rule import teacher_of
from decant.errors import BadInput, IncompatibleParts
from decant.images import marginals as tables
from decant.images.marginals import Marginals
from decant.images.prompts import prompt_of
from decant.images.seams import AnyTeacher
from decant.models.folder import find as place_of
from decant.models.guided import guided
from decant.models.heads.folder import find
from decant.models.images import jump as jumps
from decant.models.images import velocity as velocities
from decant.models.images.folder import Drawing, ImageModel
from decant.models.loaded import Loaded
from decant.models.other_prompts import Instead
from decant.noise import Noise, sample_seed
from decant.types import PAD, select_rows

BATCH: Final = 128
SCALES: Final = "next-scale"
"""What plain decoding is for models that draw scale by scale."""
STUDENTS: Final = {"dd1": jumps.read, "dd2": velocities.read}
"""Kind of student -> what reads its folder."""


@final
@dataclass(frozen=True, slots=True)
class Palette:
    """How the teacher draws, each None as its folder says. Raises BadInput for values out of range."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None

    def __post_init__(self) -> None:
        Sampling(self.temperature, self.top_k, self.top_p)

    @property
    def given(self) -> dict[str, float]:
        """What was said."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in said.items() if value is not None}

    def over(self, drawing: Drawing) -> Drawing:
        """The model's own settings where nothing was said."""
        return replace(drawing, **self.given)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """Images of some labels. vectors_NLC: what they were decoded from, which need not be codes; ids_NL: the codes.

    forwards: passes of a network for one image, their mean; the pass without a class, which guidance adds to a batch,
    is not counted apart. seconds: for one image, as many as were painted at a time.
    """

    labels_N: Tensor
    ids_NL: Tensor
    vectors_NLC: Tensor
    images_NYX: Tensor
    forwards: float
    seconds: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class Painter:
    """An image model with a method in place. drawing: the teacher's settings that it follows."""

    model: ImageModel
    method: Method
    drawing: Drawing

    def paint(self, labels: Sequence[int], seed: int, batch: int = BATCH) -> Painted:
        """One image a label, at most `batch` at a time. An image depends on seed and place in the list, not on its
        neighbours."""
        begun = time.perf_counter()
        seeds = [sample_seed(seed, at) for at in range(len(labels))]
        parts = [
            self._together(labels[first : first + batch], seeds[first : first + batch])
            for first in range(0, len(labels), batch)
        ]
        ids_NL, vectors_NLC, images_NYX, passes_N = (torch.cat(each) for each in zip(*parts, strict=True))
        seconds = (time.perf_counter() - begun) / len(labels)
        forwards = float(passes_N.double().mean())
        return Painted(torch.tensor(labels), ids_NL, vectors_NLC, images_NYX, forwards, seconds)

    @torch.inference_mode()
    def _together(self, labels: Sequence[int], seeds: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """ids_BL, vectors_BLC, images_BYX, passes_B."""
        codes_VC, places = self.model.tokenizer.codes_VC, self.model.tokenizer.layout.places
        decoder = self.method.decoder
        state = decoder.start(right_pad([prompt_of(label, len(codes_VC)) for label in labels]), Noise.of(seeds))
        ids_BL = torch.full((len(labels), places), PAD)
        passes_B = torch.zeros(len(labels), dtype=torch.int64)
        running_R = torch.arange(len(labels))
        while True:
            state, step = decoder.step(state)
            passes_B[running_R] += 1
            # A draft may reach behind the last place.
            row_X, slot_X = ((step.tokens_BC != PAD) & (step.positions_BC < places)).nonzero(as_tuple=True)  # sync: ids
            ids_BL[running_R[row_X], step.positions_BC[row_X, slot_X]] = step.tokens_BC[row_X, slot_X]
            open_R = (ids_BL[running_R] == PAD).any(-1)
            if not open_R.any():  # sync: whether all is said
                break
            if not open_R.all():  # sync: who is left
                state, running_R = select_rows(state, open_R.nonzero()[:, 0]), running_R[open_R]
        forwards = getattr(decoder, "forwards", None)
        if forwards is not None:
            passes_B.fill_(forwards)
        # Vectors that are no codes are kept by loops that say a whole image at once.
        whole = getattr(state, "vectors_BLC", None) if len(running_R) == len(labels) else None
        vectors_BLC = codes_VC[ids_BL] if whole is None else whole
        return ids_BL, vectors_BLC, self.model.tokenizer.decode(vectors_BLC), passes_B


def painter(
    spec: str,
    model: ImageModel,
    palette: Palette = Palette(),
    student: str | None = None,
    target: Loaded | None = None,
) -> Painter:
    """The method `spec`, which is `name` or `name:knob=value:...`, on an image model.

    student: the folder of one; None: the one that decant.json names. target: the raster teacher, if it is loaded.
    Raises UnknownMethod, BadInput for a knob or a setting, IncompatibleParts for methods of other models.
    """
    wanted = split(spec)
    recipe = pick(METHODS, wanted.name, "method")
    drawing = palette.over(model.drawing)
    if recipe.fills:
        raise IncompatibleParts(
            f"{recipe.name} is for models that fill in masks, and {model.name} makes images; take plain"
        )
    if student is not None and recipe.head not in STUDENTS:
        raise BadInput(f"{recipe.name} asks no student; leave {student} (--draft) out, or take dd1-1 or dd2-1")
    if model.kind == "scales" and recipe.name == "plain":
        recipe, wanted = METHODS[SCALES], Spec(SCALES, wanted.knobs)
    if recipe.paints:
        return Painter(model, _looped(spec, wanted, recipe, Easel(recipe, model, palette, student)), drawing)
    if model.kind == "scales":
        raise IncompatibleParts(
            f"{recipe.name} is for models that speak code by code, and {model.name} draws whole scales; take plain, or "
            f"a method that makes images (decant methods)"
        )
    return Painter(model, _spoken(spec, model, drawing, target), drawing)


def _spoken(spec: str, model: ImageModel, drawing: Drawing, target: Loaded | None) -> Method:
    """The raster teacher decoded like any language model, under its own guidance and settings."""
    target = target or spoken(model)
    chosen = choose(
        Sampling(drawing.temperature, drawing.top_k, drawing.top_p),
        target,
        target.defaults,
        guide=_guide(model, drawing),
    )
    return compose(spec, target, None, chosen.warp, constraint=chosen.constraint, guide=chosen.guide)


def spoken(model: ImageModel) -> Loaded:
    """A raster teacher as a language model, on the CPU, in float32."""
    return Opening(dtype="float32", device="cpu").target(str(model.folder))


def _guide(model: ImageModel, drawing: Drawing) -> Guide | None:
    """Away from what is said without a class, whose id is the last."""
    none = len(model.tokenizer.codes_VC) + len(model.classes)
    if drawing.guidance == 1:
        return None

    def led(target: Loaded) -> Loaded:
        return replace(target, model=guided(target.model, drawing.guidance, Instead((none,))))

    return Guide("guidance", f"{drawing.guidance:g}", led)


def _looped(spec: str, wanted: Spec, recipe: Recipe, easel: "Easel") -> Method:
    """A method with a loop of its own."""
    loop, kinds = loop_of(recipe), knobs_for(recipe)[0]
    decoder = build(preset(recipe).joined(wanted), loop, kinds, easel.given(loop))
    # A pass and no more is a student's, or a table's.
    if easel.palette.given and (not hasattr(decoder, "teacher") or getattr(decoder, "forwards", 0) == 1):
        settings = ", ".join(f"--{name.replace('_', '-')}" for name in easel.palette.given)
        raise BadInput(
            f"{spec} draws as its teacher drew when it was made, whatever {settings} says; leave it out, or take a "
            f"method that asks the teacher (plain)"
        )
    return Method(spec, decoder, "tokens" if getattr(loop, "exact", False) else None)


@final
@dataclass(frozen=True, slots=True)
class Easel:
    """What there is to give to loops that make images; each method is the name of a field."""

    recipe: Recipe
    model: ImageModel
    palette: Palette
    folder: str | None

    def given(self, loop: Any) -> dict[str, Any]:
        """Values of its fields that are no knobs. Raises BadInput and IncompatibleParts for what is missing."""
        return {field.name: getattr(self, field.name)() for field in fields(loop) if field.name not in knobs_of(loop)}

    def teacher(self) -> AnyTeacher:
        """Under the settings that were asked for."""
        return teacher_of(self.model, self.palette.over(self.model.drawing))

    def marginals(self) -> Marginals:
        """Of the teacher, under its own settings."""
        return tables.read(self.model.folder, self.model.tokenizer.codes_VC)

    def jump(self) -> Any:
        """A student of Distilled Decoding 1."""
        return self.student()

    def student(self) -> Any:
        """The network that was taught for this method: the one given, else the one that decant.json names."""
        kind = str(self.recipe.head)
        folder = find(self.model.name, kind) if self.folder is None else Path(place_of(self.folder))
        if folder is None:
            raise BadInput(
                f"{self.recipe.name} needs a student and {self.model.name} names none; teach one with decant distill "
                f"{kind} --teacher {self.model.name}, and give its folder as --draft"
            )
        student = STUDENTS[kind](folder)
        codes_VC = self.model.tokenizer.codes_VC
        if student.layout != self.model.tokenizer.layout or not torch.equal(student.codes_VC, codes_VC):
            raise IncompatibleParts(
                f"the student in {folder} was taught on other codes than those of {self.model.name}; teach one with "
                f"decant distill {kind} --teacher {self.model.name}"
            )
        return student

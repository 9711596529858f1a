"""The law of a teacher: its guidance, temperature and truncation as one object."""

from decant.images.law import Guided
from decant.models.images.folder import Drawing, ImageModel
from decant.models.images.teacher import CodeTeacher
from decant.protocols import Warp
from decant.samplers.chain import chain
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.samplers.top_p import top_p


def rule_of(model: ImageModel, drawing: Drawing | None = None) -> Guided:
    """drawing: None is the model's own. In next-scale order guidance grows with the scale."""
    drawing = model.drawing if drawing is None else drawing
    warps: list[Warp] = []
    if drawing.temperature != 1:
        warps.append(temperature(drawing.temperature))
    if drawing.top_k:
        warps.append(top_k(drawing.top_k))
    if drawing.top_p < 1:
        warps.append(top_p(drawing.top_p))
    units = model.tokenizer.layout.units if model.kind == "scales" else None
    return Guided(chain(*warps), drawing.guidance, units)


def teacher_of(model: ImageModel, drawing: Drawing | None = None) -> CodeTeacher:
    """The teacher under its rule; without guidance nothing is asked for beside the class."""
    rule = rule_of(model, drawing)
    return model.teacher(rule, guided=rule.weight != 1)

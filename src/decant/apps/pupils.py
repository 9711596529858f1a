"""What `decant distill dd1` and `dd2` need before they teach: a teacher of images, and no flag that they ignore."""

from typing import Any

from decant.apps.knobs import split
from decant.apps.teaching import STUDENTS, Asked, place, recipe_of
from decant.distill.images.imitating import Run
from decant.distill.images.rule import teacher_of
from decant.errors import BadInput
from decant.models.images.folder import read_images
from decant.models.images.teacher import CodeTeacher


def opened(asked: Asked) -> tuple[Any, CodeTeacher, Run]:
    """The recipe, its teacher and where to write. Raises BadInput, or IncompatibleParts for a teacher of texts."""
    name = split(asked.recipe).name
    asked.refuse("the teacher makes its own data", "limit", "length", "max_tokens")
    if asked.texts:
        raise BadInput(f"--data {asked.texts} is not for {name}: the teacher makes its own data; leave it out")
    asked.refuse("a student of its own is made of the teacher", "student", *STUDENTS)
    asked.refuse("it takes steps", "minutes")
    asked.refuse("the teacher draws as its decant.json says", "temperature")
    if not asked.teacher:
        raise BadInput(f"{name} needs --teacher, a model of images: house:digits-ar, or a folder of one")
    recipe = recipe_of(asked.recipe)
    teacher = teacher_of(read_images(asked.teacher))
    device = place(asked.device)
    teacher.network.to(device)
    teacher.tokenizer.to(device)  # pyright: ignore[reportAttributeAccessIssue]
    return recipe, teacher, Run(asked.teacher, asked.out, asked.origin(), asked.batch, asked.seed)

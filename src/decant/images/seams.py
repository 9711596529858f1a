"""What tokenizers of images, teachers and students answer to."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from torch import Tensor

from decant.images.layout import Layout

State = TypeVar("State")

Law = Callable[[Tensor, Tensor, int], Tensor]
"""(logits_XV of a class, logits_XV without one, unit) -> logp_XV, normalised: guidance, temperature and truncation in
one object, which teachers, flows, students' targets and drafters share."""


class ImageTokenizer(Protocol):
    """Images as code vectors, and back."""

    @property
    def layout(self) -> Layout: ...

    @property
    def codes_VC(self) -> Tensor:
        """The codebook."""
        ...

    def encode(self, images_BYX: Tensor) -> Tensor:
        """ids_BL."""
        ...

    def decode(self, vectors_BLC: Tensor) -> Tensor:
        """images_BYX in 0 ... 1; vectors need not be codes. Differentiable."""
        ...

    def carried(self, vectors_BLC: Tensor) -> Tensor:
        """inputs_BLC: what a place reads of the units before its own: the vector before it in raster order, the image
        so far at its own scale in next-scale order; 0 in the first unit. Differentiable."""
        ...


class ImageTeacher(Protocol[State]):
    """A model that settles unit after unit, under one law."""

    @property
    def layout(self) -> Layout: ...

    @property
    def codes_VC(self) -> Tensor: ...

    @property
    def classes(self) -> int: ...

    def start(self, labels_B: Tensor) -> State:
        """Nothing is settled."""
        ...

    def law(self, state: State) -> Tensor:
        """logp_BKV of the next unit, after guidance, temperature and truncation."""
        ...

    def follow(self, state: State, ids_BK: Tensor) -> State:
        """The unit is settled."""
        ...

    def laws(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        """logp_BLV of every place, each behind the *vectors* of earlier units, which need not be codes; the same laws
        as `law` where they are. One pass, or two under guidance; without gradients."""
        ...


AnyTeacher = ImageTeacher[Any]

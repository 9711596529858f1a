"""How a class is asked for: one id behind the codes, which the raster teacher's vocabulary holds too."""

from torch import Tensor


def prompt_of(label: int, codes: int) -> list[int]:
    """The prompt of a class, counted from 0, of a model with so many codes."""
    return [codes + label]


def labels_of(prompt_BT: Tensor, codes: int) -> Tensor:
    """labels_B of such prompts."""
    return prompt_BT[:, -1] - codes

"""How a masked diffusion model reads its canvas, as its config.json says.

| family | in config.json | its row i predicts |
|---|---|---|
| LLaDA | `model_type` llada, `mask_token_id` | token i |
| Dream | `model_type` Dream, `mask_token_id` | token i + 1, as the autoregressive model did that it comes from |
| ours | any that transformers knows, and `masked_diffusion`: the fields of `Convention` | as `shift` says |

Source: Nie et al. 2025, arXiv:2502.09992 (LLaDA); Ye et al. 2025, arXiv:2508.15487 (Dream).
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, final

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from decant.errors import BadInput

OURS: Final = "masked_diffusion"
SHIFTED: Final = {"llada": False, "Dream": True}


@final
@dataclass(frozen=True, slots=True)
class Convention:
    """mask_token_id: the id of a place that is still open. shift: whether row i predicts token i + 1.

    causal_prompt: whether a row of the prompt reads only what stands in front of it, so that it is computed once. Under
        the shift the prompt's last row speaks for the first place, and is read as the canvas is.
    block: places of a block of the canvas. The block that is asked about is read from both sides, and nothing behind
        it; what stands in front of it as the prompt, from left to right, and so computed once. None: the canvas is one
        block. A canvas with places that are given is read as one block whatever this says. Needs a causal prompt.
    """

    mask_token_id: int
    shift: bool = False
    causal_prompt: bool = False
    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None and (self.block < 1 or not self.causal_prompt):
            raise BadInput(
                f"a model that reads block by block needs a causal prompt and blocks of at least one place, not "
                f"causal_prompt {self.causal_prompt} and block {self.block}"
            )

    def groups(self, prompt: int, places: int, whole: bool) -> Tensor:
        """group_S of the rows of a prompt and a canvas: 0 for those that read only what stands in front of them, then
        1 for those that speak for the first block, 2 for the second ... whole: whether the canvas is one block."""
        if not self.causal_prompt:
            return torch.ones(prompt + places, dtype=torch.int64)
        place_S = torch.arange(prompt + places) - prompt + int(self.shift)
        if whole or self.block is None:
            return (place_S >= 0).long()
        return (place_S.div(self.block, rounding_mode="floor") + 1).clamp_min(0)

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "Convention | None":
        """None for a model that is no masked one. Raises BadInput for one whose mask is not told."""
        said: dict[str, Any] | None = getattr(config, OURS, None)
        if said is not None:
            return cls(**said)
        if config.model_type not in SHIFTED:
            return None
        return cls.told(config.model_type, getattr(config, "mask_token_id", None))

    @classmethod
    def told(cls, family: str, mask: int | None) -> "Convention":
        """Of a family of `SHIFTED`. Raises BadInput without a mask."""
        if mask is None:
            raise BadInput(f"config.json of a {family} model names no mask_token_id; add the mask's id")
        return cls(int(mask), SHIFTED[family])

    def write(self, config: PreTrainedConfig) -> None:
        """Into a configuration of ours."""
        setattr(config, OURS, asdict(self))

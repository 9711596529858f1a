"""Settings of the sampler: what the user gave, else what the model's generation_config.json says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of the sampler; None is "not given", and everywhere means "does nothing" once `settled`.

    temperature: 0 is greedy.
    top_k:       0 keeps all tokens.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        tau = self.temperature
        if tau is not None and not (tau >= 0 and math.isfinite(tau)):
            raise BadInput(f"temperature is 0 (greedy) or more, got {tau}; 1 samples from the model as it is")
        if self.top_k is not None and self.top_k < 0:
            raise BadInput(f"top_k is 0 (keep all tokens) or more, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise BadInput(f"top_p lies in (0, 1], got {self.top_p}; 1 keeps every token")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise BadInput(f"min_p lies in [0, 1], got {self.min_p}; 0 keeps every token")

    def settled(self, defaults: Mapping[str, Any]) -> "Sampling":
        """What was given; the rest from `defaults`, a generation config, which counts only where it samples.

        A setting of the sampler without a temperature asks for sampling: at temperature 1.
        """
        samples = bool(defaults.get("do_sample"))
        theirs = defaults if samples else {}
        asked = any(value is not None for value in (self.top_k, self.top_p, self.min_p))
        fallback = 1.0 if samples or asked else 0.0
        return Sampling(
            temperature=_first(self.temperature, theirs.get("temperature"), fallback),
            top_k=_first(self.top_k, theirs.get("top_k"), None),
            top_p=_first(self.top_p, theirs.get("top_p"), None),
            min_p=_first(self.min_p, theirs.get("min_p"), None),
        )

    def facts(self) -> dict[str, float | int | None]:
        """For reports."""
        return {"temperature": self.temperature or 0.0, "top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)

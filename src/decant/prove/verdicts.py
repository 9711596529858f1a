"""Whether a check that does not hold has failed, or could not have told."""

from collections.abc import Mapping
from typing import Any


def judged(check: Mapping[str, Any]) -> dict[str, Any]:
    """With `unsure`: nothing was refused, but neither was the planted fault, so a fault would not have shown either."""
    chance = check.get("p_value")
    blind = check.get("planted_fault_caught") is False and chance is not None and chance >= check["doubt"]
    return {**check, "unsure": blind}

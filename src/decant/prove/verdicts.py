"""What a check came to, in a word."""

from collections.abc import Mapping
from typing import Any


def judged(check: Mapping[str, Any]) -> dict[str, Any]:
    """With `verdict`: holds, FAILS, or UNSURE. UNSURE: nothing was refused, neither was the planted fault, so a fault
    would not have shown either."""
    chance = check.get("p_value")
    blind = check.get("planted_fault_caught") is False and chance is not None and chance >= check["doubt"]
    return {**check, "verdict": "holds" if check["holds"] else "UNSURE" if blind else "FAILS"}

"""What a plan says for a model here: `generate --plan` and `serve --plan`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from decant.apps.opening import Opening
from decant.tune.identity import machine_identity, model_identity
from decant.tune.plan import Choice, Plan


def planned(
    folder: str | Path, model: Any, opening: Opening, *, batch: int = 1, temperature: float | None = None
) -> Choice:
    """The choice of the plan in `folder` nearest to this batch and temperature; its `why` says what was not measured.

    model: as `generate` takes it; one that is loaded already is not loaded again.
    Raises BadInput where there is no plan, and, with what differs, where it was made for another model or machine.
    """
    plan = Plan.load(folder)
    target = opening.target(model)
    here = model_identity(target)
    plan.refuse(here, machine_identity(target))
    chosen = plan.choice(batch, temperature)
    if plan.model.get("exact") == here["exact"]:
        return chosen
    said = "in" if plan.model.get("exact") else "out of"
    return replace(chosen, why=f"it was measured {said} exact mode, which this is not; {chosen.why}")

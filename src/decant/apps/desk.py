"""Where a tuning stands: what was asked, the models, and a notebook on disk that outlives an interrupt."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from decant.apps.candidates import Host, hosts
from decant.apps.opening import Opening
from decant.apps.prompts import Prompt, encode
from decant.bench.keeping import Kept, fingerprint
from decant.decoders.workload import Workload
from decant.errors import BadInput
from decant.models.load import Loaded
from decant.tune.identity import machine_identity, model_identity
from decant.tune.plan import Objective

PROGRESS: Final = "progress.json"
FEW: Final = 3  # prompts

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What is tuned for. source: where the prompts came from. budget: seconds, the certificate's included; train:
    beside it, for a head. methods: specs, or "all"."""

    source: str
    prompts: Sequence[Prompt]
    out: Path
    budget: float = 600.0
    drafts: tuple[str, ...] = ()
    methods: Sequence[str] | str = "all"
    objective: Objective = "latency"
    batches: tuple[int, ...] = (1,)
    temperatures: tuple[float, ...] = (0.0,)
    max_tokens: int = 64
    seed: int = 0
    train: float | None = None

    def __post_init__(self) -> None:
        if not self.budget > 0 or min(self.batches, default=0) < 1 or min(self.temperatures, default=-1) < 0:
            raise BadInput(
                f"tune needs a budget above 0, batches of 1 or more and temperatures of 0 or more; got {self.budget:g} "
                f"s, {list(self.batches)} and {list(self.temperatures)}"
            )

    def facts(self) -> dict[str, Any]:
        """For the plan and the report; JSON-ready."""
        return {
            "source": self.source,
            "prompts": len(self.prompts),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "budget_seconds": self.budget,
            "methods": self.methods if isinstance(self.methods, str) else list(self.methods),
            "drafts": list(self.drafts),
            "batches": list(self.batches),
            "temperatures": list(self.temperatures),
            "objective": self.objective,
        }


@final
@dataclass(slots=True)
class Desk:
    """Everything in place: models, prompts, and a notebook that outlives an interrupt.

    ids: of the prompts. question: what the notebook belongs to. begun: when this run did, less what earlier ones took.
    """

    asked: Asked
    target: Loaded
    there: list[Host]
    ids: list[list[int]]
    model: Mapping[str, Any]
    machine: Mapping[str, Any]
    kept: Kept
    question: Mapping[str, Any]
    notes: dict[str, Any]
    told: Progress
    begun: float

    @property
    def elapsed(self) -> float:
        """Seconds, those of earlier runs included."""
        return time.monotonic() - self.begun

    @property
    def few(self) -> list[list[int]]:
        """Prompts to look at first, from all over the file."""
        return self.ids[:: max(1, len(self.ids) // FEW)][:FEW]

    def note(self) -> None:
        """Write the notebook."""
        self.notes["elapsed"] = self.elapsed
        self.kept.keep(self.question, self.notes)

    def tell(self, text: str) -> None:
        """How far it has come, by the clock."""
        self.told(min(int(self.elapsed), int(self.asked.budget)), int(self.asked.budget), text)

    def workload(self, batch: int, ids: list[list[int]] | None = None) -> Workload:
        """The prompts, or some of them."""
        network = self.target.model.network
        asked = self.asked
        chosen = self.ids if ids is None else ids
        return Workload(chosen, asked.max_tokens, batch, asked.seed, self.target.ends, network.device)


def opened(model: Any, asked: Asked, opening: Opening, told: Progress = lambda done, total, text: None) -> Desk:
    """Load, and open the notebook. Raises what the user can mend; BadInput where the folder holds another tuning."""
    target = opening.target(model)
    if target.masked is not None:
        raise BadInput(
            f"{target.name} fills in masks, and tune races methods that speak from left to right; compare its methods "
            f"with decant bench {target.name} --suite parallel"
        )
    ids = encode(list(asked.prompts), target, asked.max_tokens)
    here, there = model_identity(target), machine_identity(target)
    question = {
        "model": here["fingerprint"],
        "machine": there["fingerprint"],
        "prompts": fingerprint(ids),
        "settings": asked.facts(),
    }
    kept = Kept(asked.out / PROGRESS)
    notes = kept.begin(question)
    begun = time.monotonic() - notes.get("elapsed", 0.0)
    return Desk(
        asked, target, hosts(target, asked.drafts, opening), ids, here, there, kept, question, notes, told, begun
    )

"""What was decided, on disk: `plan.json`, which says for which model and machine it holds."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, final

from decant.errors import BadInput

FILE: Final = "plan.json"
FORMAT: Final = 1
Objective = Literal["latency", "throughput"]
BESIDE: Final = frozenset(
    {"fingerprint", "name", "load", "memory_gib", "python", "transformers", "decant", "note", "exact_note"}
)
SAME: Final = ("processor", "cores", "threads", "device", "torch")
"""Of a machine's facts, those that a plan depends on."""


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """How requests are decoded at one batch and temperature.

    method:   as `--method` takes it; "plain" where nothing pays.
    draft, verifier, policy: as the options of these names take them; None: the model's or the method's own.
    speedup:  over plain decoding: median, low, high; None of plain decoding itself.
    why:      a sentence.
    """

    batch: int
    temperature: float
    method: str
    draft: str | None = None
    verifier: str | None = None
    policy: str | None = None
    speedup: Mapping[str, float | None] | None = None
    why: str = ""

    @property
    def options(self) -> list[str]:
        """Words of a command line that decodes so."""
        said = {"--method": self.method, "--draft": self.draft, "--verifier": self.verifier, "--policy": self.policy}
        return [word for name, value in said.items() if value is not None for word in (name, value)]


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """Choices, and where they hold.

    decant:   the version that decided.
    model, machine: facts, with a fingerprint under that name.
    settings: what was measured on: prompts, tokens, seed, budget.
    """

    decant: str
    model: Mapping[str, Any]
    machine: Mapping[str, Any]
    objective: Objective
    choices: tuple[Choice, ...]
    settings: Mapping[str, Any]

    def facts(self) -> dict[str, Any]:
        """JSON-ready; what `save` writes."""
        return {
            "format": FORMAT,
            "decant": self.decant,
            "model": dict(self.model),
            "machine": dict(self.machine),
            "objective": self.objective,
            "choices": [asdict(choice) for choice in self.choices],
            "settings": dict(self.settings),
        }

    def save(self, folder: Path) -> Path:
        """Into `plan.json` of the folder, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / FILE
        part = folder / f"{FILE}.{os.getpid()}"
        part.write_text(json.dumps(self.facts(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(file)
        return file

    @classmethod
    def load(cls, place: str | Path) -> "Plan":
        """Of a folder that `decant tune` wrote, or the file itself. Raises BadInput where there is no plan."""
        file = Path(place).expanduser()
        file = file / FILE if file.is_dir() else file
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            if said["format"] != FORMAT:
                raise BadInput(
                    f"{file} is a plan of format {said['format']}, and this decant reads format {FORMAT}; tune again "
                    f"with decant tune"
                )
            choices = tuple(Choice(**one) for one in said["choices"])
            found = cls(
                said["decant"], said["model"], said["machine"], said["objective"], choices, said.get("settings", {})
            )
        except FileNotFoundError:
            raise BadInput(f"there is no plan at {file}; make one with decant tune MODEL --out DIR") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{file} is no plan ({type(error).__name__}: {error}); tune again with decant tune"
            ) from None
        if not found.choices:
            raise BadInput(f"{file} holds no choice: it was interrupted; run the same decant tune again")
        return found

    def refuse(self, model: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
        """Raises BadInput, with what differs, unless both are what the plan was made for.

        model, machine: as `identity` says them.
        """
        for name, mine, theirs in (("model", self.model, model), ("machine", self.machine, machine)):
            if mine.get("fingerprint") != theirs.get("fingerprint"):
                raise BadInput(
                    f"the plan was made for another {name}: {_apart(mine, theirs)}; what is fastest here may be "
                    f"another method: tune again here with decant tune, or leave --plan out"
                )

    def choice(self, batch: int = 1, temperature: float | None = None) -> Choice:
        """Of the nearest temperature that was measured, the nearest batch; the smaller of two as near. `why` says so
        where it is not the very one. temperature: None is the first that was measured."""
        heats = sorted({one.temperature for one in self.choices})
        heat = self.choices[0].temperature if temperature is None else temperature
        nearest = min(heats, key=lambda one: (abs(one - heat), one))
        there = [one for one in self.choices if one.temperature == nearest]
        chosen = min(there, key=lambda one: (abs(one.batch - batch), one.batch))
        said = [] if chosen.batch == batch else [f"batch {batch} was not measured; this is for batch {chosen.batch}"]
        if nearest != heat:
            said.append(f"temperature {heat:g} was not measured; this is for {nearest:g}")
        return replace(chosen, why="; ".join([*said, chosen.why])) if said else chosen


def _apart(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What differs, in words; facts that do not count are left out."""
    names = [name for name in mine if name in theirs and mine[name] != theirs[name] and name not in BESIDE]
    return ", ".join(f"{name} was {mine[name]} and is {theirs[name]}" for name in names) or "the weights differ"

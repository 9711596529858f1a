"""One method in one repeat of a race: what it said, and what its clock says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch

from decant.bench.acceptance import by_position
from decant.bench.clock import timed
from decant.bench.ledger import Ledger
from decant.decoders.method import Method
from decant.decoders.workload import Group, warmed

COUNTED: Final = ("draft", "target", "prefill", "first", "calls", "turns", "asked")
"""Of a ledger, what is kept on disk."""


@final
@dataclass(slots=True)
class Lap:
    """One method in one repeat. A drafter that learns starts cold, and is warmed by the prompts before."""

    decoder: Any
    ledger: Ledger
    wall: float = 0.0
    outputs: list[list[int]] = field(default_factory=list)
    positions: list[float] | None = None  # of a lap that was kept on disk, in place of its rounds

    @classmethod
    def of(cls, method: Method, device: torch.device) -> "Lap":
        """Cold."""
        ledger = Ledger(device)
        return cls(timed(method.decoder, ledger), ledger)

    def decode(self, group: Group) -> None:
        """One more group."""
        begin = self.ledger.now()
        turn = group.decode(self.decoder)
        self.wall += self.ledger.now() - begin
        self.decoder = warmed(self.decoder, turn.state)
        self.outputs += [output.tokens for output in turn.outputs]

    @classmethod
    def kept(cls, said: Mapping[str, Any], device: torch.device) -> "Lap":
        """A finished lap, as `numbers` wrote it."""
        # Rounds that were kept before request-calls were counted: alone, a request that steps as often as it calls.
        asked = said["turns"] if said["turns"] == said["calls"] else 0
        ledger = Ledger(device, **{name: said.get(name, asked) for name in COUNTED})
        return cls(None, ledger, said["wall"], said["outputs"], said["positions"])

    def numbers(self) -> dict[str, Any]:
        """All that a report needs of it; JSON-ready."""
        counted = {name: getattr(self.ledger, name) for name in COUNTED}
        return {**counted, "wall": self.wall, "outputs": self.outputs, "positions": self.by_position}

    @property
    def by_position(self) -> list[float]:
        """See `acceptance.by_position`."""
        return by_position(self.ledger.rounds) if self.positions is None else self.positions

    @property
    def tokens(self) -> int:
        """Generated so far."""
        return sum(map(len, self.outputs))

    @property
    def decoding(self) -> float:
        """Seconds after prefill."""
        return self.wall - self.ledger.prefill

"""What was measured and proved of what is exported: a certificate of `decant prove`, a choice of `decant tune`."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from decant.errors import BadInput

FILE: Final = "certificate.json"


@final
@dataclass(frozen=True, slots=True)
class Evidence:
    """certificate: its file. proved: what that says. choice: of a plan, as plan.json has it, with its `machine`."""

    certificate: Path | None = None
    proved: Mapping[str, Any] | None = None
    choice: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, certificate: Path | None, choice: Mapping[str, Any] | None = None) -> "Evidence":
        """Raises BadInput for a file that is no certificate."""
        if certificate is None:
            return cls(choice=choice)
        try:
            proved = json.loads(certificate.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"--certificate {certificate} cannot be read: {error}") from error
        if not isinstance(proved, dict) or not isinstance(proved.get("checks"), list):
            raise BadInput(f"--certificate {certificate} holds no checks; give what decant prove --json wrote")
        return cls(certificate, proved, choice)

    def copy(self, out: Path) -> None:
        """The certificate beside what it is about."""
        if self.certificate is not None and self.certificate.resolve() != (out / FILE).resolve():
            shutil.copyfile(self.certificate, out / FILE)

    def section(self) -> str:
        """Of a card; empty where nothing is known."""
        parts = [*self._chosen(), *self._proved()]
        return "\n## Measured\n\n" + "\n".join(parts) + "\n" if parts else ""

    def _chosen(self) -> list[str]:
        if self.choice is None:
            return []
        speed = self.choice.get("speedup") or {}
        if speed.get("median"):
            said = f"{speed['median']:.2f} times plain decoding ({speed['low']:.2f} to {speed['high']:.2f})"
        else:
            said = "plain decoding was fastest"
        where = f"batch {self.choice['batch']}, temperature {self.choice['temperature']:g}"
        return [
            f"`decant tune` chose `{self.choice['method']}` for {where}: {said}, in decant on the machine of the plan."
        ]

    def _proved(self) -> list[str]:
        if self.proved is None:
            return []
        verdict = "holds" if self.proved.get("holds") else "does NOT hold"
        bad = {True: "UNSURE", False: "FAILS"}
        rows = [
            f"| {check['name']} | {'holds' if check['holds'] else bad[check.get('unsure', False)]} |"
            for check in self.proved["checks"]
        ]
        lines = [f"\nThe certificate `{FILE}` {verdict}. It is about decant, not about other engines.\n"]
        lines += ["| check | |", "|---|---|", *rows]
        missing = [f"- {sentence}" for sentence in self.proved.get("not_covered") or ()]
        return lines + (["\nNot covered:\n", *missing] if missing else [])

"""A certificate run again from itself: what was typed, and marks of what it was typed about."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from decant.errors import BadInput

AGAIN: Final = "again"
"""Under this name a certificate keeps {"typed": ..., "marks": {what: fingerprint}}."""

FILES: Final = ("json_schema", "grammar")
"""Options whose files are read anew, and must be the same."""


def read(path: str) -> dict[str, Any]:
    """A certificate. Raises BadInput for what is none, or says too little to be run again."""
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"--again {path} cannot be read: {error.strerror}; give what prove --json wrote") from None
    except ValueError:
        raise BadInput(f"--again {path} is not JSON; give a file that prove --json wrote") from None
    kept = report.get(AGAIN) if isinstance(report, dict) else None
    if not isinstance(kept, dict) or not {"typed", "marks"} <= kept.keys() or "checks" not in report:
        raise BadInput(f"--again {path} does not say how it was made; give a file that `decant prove --json` wrote")
    return report


def record(typed: Mapping[str, Any], marks: Mapping[str, str | None]) -> dict[str, Any]:
    """What a certificate keeps of itself."""
    return {"typed": {name: _plain(value) for name, value in typed.items()}, "marks": {**marks, **_of_files(typed)}}


def refuse_change(report: Mapping[str, Any], marks: Mapping[str, str | None], path: str) -> None:
    """Raises BadInput where prompts, model or a file are not those of the certificate."""
    then = report[AGAIN]["marks"]
    for what, mark in marks.items():
        if then.get(what) != mark:
            raise BadInput(
                f"the {what} changed since {path} was written (then {then.get(what)}, now {mark}); nothing can be said "
                f"of it again: prove anew, without --again"
            )


def marks_of_files(typed: Mapping[str, Any]) -> dict[str, str | None]:
    """Fingerprints of what the options' files hold."""
    return _of_files(typed)


def same_verdict(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Whether each check has the verdict that it had. machine: whether it is the same processor and torch."""
    before, after = ({check["name"]: check["holds"] for check in one["checks"]} for one in (then, now))
    differ = [
        {"name": name, "then": before.get(name), "now": after.get(name)}
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    facts = ("processor", "device", "torch", "threads")
    machine = all(then["machine"].get(name) == now["machine"].get(name) for name in facts)
    return {"same": not differ and then["holds"] == now["holds"], "differ": differ, "same_machine": machine}


def mark(things: Any) -> str:
    """Of what can be written as JSON."""
    return hashlib.sha256(json.dumps(things, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _of_files(typed: Mapping[str, Any]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in FILES:
        if (path := typed.get(name)) is not None:
            try:
                found[f"file of {name}"] = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:24]
            except OSError as error:
                raise BadInput(f"{path} cannot be read: {error.strerror}; it belongs to the certificate") from None
    return found


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value

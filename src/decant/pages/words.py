"""Numbers and facts in words."""

import math
from collections.abc import Iterator, Mapping
from typing import Any


def count(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def spread(found: Mapping[str, float | None], digits: int = 2) -> str:
    """Median (low to high); the median alone where nothing is spread, or a bound is not known."""
    median, low, high = found["median"], found["low"], found["high"]
    said = f"{median:.{digits}f}"
    return said if low is None or high is None or low == high else f"{said} ({low:.{digits}f} to {high:.{digits}f})"


def listed(names: list[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def table(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of what may be nested, in the order given; what is None is left out."""
    return [(name.replace("_", " "), said) for name, said in _rows("", facts)]


def grids(facts: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Name, columns and rows of each list of facts; `table` leaves those out."""
    found = []
    for name, said in facts.items():
        if isinstance(said, list) and said and all(isinstance(one, Mapping) for one in said):
            rows = [dict(table(one)) for one in said]
            columns = list(dict.fromkeys(column for row in rows for column in row))
            found.append(
                (name.replace("_", " "), columns, [[row.get(column, "") for column in columns] for row in rows])
            )
    return found


def value(said: Any) -> str:
    """One value in words."""
    if isinstance(said, bool):
        return "yes" if said else "no"
    if isinstance(said, float):
        return f"{said:,.6g}" if math.isfinite(said) else str(said)
    if isinstance(said, int):
        return f"{said:,}" if abs(said) >= 10_000 else str(said)
    if isinstance(said, list | tuple):
        return ", ".join(map(value, said))
    return str(said)


def _rows(prefix: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, said in facts.items():
        if isinstance(said, Mapping):
            yield from _rows(f"{prefix}{name} · ", said)
        elif said is not None and said not in ([], ""):
            flat = isinstance(said, list | tuple) and any(isinstance(one, Mapping) for one in said)
            if not flat:
                yield f"{prefix}{name}", value(said)

"""A bench report as rows of text, for any table."""

from typing import Any


def rows(report: dict[str, Any]) -> list[dict[str, str]]:
    """One row a method: headings and cells. Spreads are `median (low to high)`."""
    return [_row(method) for method in report["methods"]]


def text(table: list[dict[str, str]]) -> str:
    """The rows as aligned plain text."""
    if not table:
        return ""
    widths = {name: max(len(name), *(len(row[name]) for row in table)) for name in table[0]}
    lines = [{name: name for name in widths}, *table]
    return "\n".join("  ".join(line[name].ljust(width) for name, width in widths.items()).rstrip() for line in lines)


def _row(method: dict[str, Any]) -> dict[str, str]:
    if method["skipped"] is not None:
        return {"method": method["name"], **dict.fromkeys(HEADINGS, ""), "notes": f"skipped: {method['skipped']}"}
    seconds = method["seconds"]
    total = sum(seconds.values())
    split = " / ".join(f"{seconds[part] / total:.0%}" for part in ("draft", "target", "other"))
    return {
        "method": method["name"],
        "tokens/s": _spread(method["tokens_per_second"], ".1f"),
        "speed-up": _spread(method["speedup"], ".2f"),
        "tokens a call": "" if method["acceptance_length"] is None else f"{method['acceptance_length']:.2f}",
        "draft / target / other": split,
        "distinct": "" if method["distinct_4grams"] is None else f"{method['distinct_4grams']:.2f}",
        "equal to plain": _equality(method),
        "notes": method["flag"] or "",
    }


HEADINGS = ("tokens/s", "speed-up", "tokens a call", "draft / target / other", "distinct", "equal to plain", "notes")


def _spread(spread: dict[str, float], form: str) -> str:
    median, low, high = (format(spread[name], form) for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def _equality(method: dict[str, Any]) -> str:
    if method["identical"] is None:
        return "same law" if method["exact"] else "lossy"
    if method["identical"]:
        return "yes"
    parts = [f"{count} {cause.replace('_', '-')}" for cause, count in method["differs"].items() if count]
    return "no: " + (", ".join(parts) or "repeats differ")

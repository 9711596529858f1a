"""Races as text: the numbers are the JSON's."""

from collections.abc import Mapping
from typing import Any, Final

from decant.apps.cli.output import facts_table, show, write

BUSY: Final = 0.5  # load a core from which on times are not to be trusted


def show_race(report: Mapping[str, Any]) -> None:
    """A header, the table, and what is to be said of single rows."""
    from rich.table import Table

    show(facts_table(header(report)))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("method", overflow="fold")
    for title in ("tokens/s", "speedup", "tokens\na call", "draft/\ntarget/\nother %"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("identical\nto plain")
    ran = [row for row in report["methods"] if row["skipped"] is None]
    for row in ran:
        table.add_row(
            _named(row),
            spread_text(row["tokens_per_second"], 1),
            spread_text(row["speedup"], 2),
            "-" if row["acceptance_length"] is None else f"{row['acceptance_length']:.2f}",
            _split(row["seconds"]),
            identical(row),
        )
    write("\n")
    show(table)
    for row in report["methods"]:
        if row["skipped"] is not None:
            write(f"{row['name']} was skipped: {row['skipped']}\n")
        elif row["flag"]:
            write(f"{row['name']}: {row['flag']}\n")


def header(report: Mapping[str, Any]) -> dict[str, str]:
    """The machine, the models and the work, a line each."""
    settings = report["settings"]
    rounds = f", median of {settings['repeat']}" if settings.get("repeat", 1) > 1 else ""
    work = (
        f"{settings['prompts']} prompts of {settings['source']}, up to {settings['max_tokens']} new tokens, batch "
        f"{settings['batch']}, temperature {settings['temperature']:g}, seed {settings['seed']}{rounds}"
    )
    named = {role: settings[role] for role in ("verifier", "policy") if settings.get(role)}
    return {**subject(report), **named, "work": work}


def subject(report: Mapping[str, Any]) -> dict[str, str]:
    """The machine and the models, a line each."""
    lines = {"machine": _machine(report["machine"]), "model": _model(report["model"])}
    if report["settings"].get("draft"):
        lines["draft"] = _model(report["settings"]["draft"])
    lines["exact"] = report["model"]["exact_note"]
    if report["model"].get("note"):
        lines["note"] = report["model"]["note"]
    return lines


def identical(row: Mapping[str, Any]) -> str:
    """Whether a row's text is plain decoding's, and why not where it is not."""
    if row["promise"] == "distribution":
        return "the distribution is"
    if row["identical"]:
        return "yes"
    if row["lost"]:
        agreement, nats = row["lost"]["agreement"], row["lost"]["nats"]
        said = [] if agreement is None else [f"{agreement:.0%} agree"]
        said += [] if nats is None else [f"{nats:+.3f} nats a token"]
        return f"lossy: {', '.join(said)}" if said else "lossy"
    differs = row["differs"]
    return f"no: {count(differs['near_ties'], 'near-tie')}, {differs['unexplained']} unexplained"


def _named(row: Mapping[str, Any]) -> str:
    """The method, and below it what makes it as lossy as it is."""
    knobs = " ".join(f"{knob}={value}" for knob, value in (row["knobs"] or {}).items())
    return f"{row['name']}\n  {knobs}" if knobs else row["name"]


def _machine(facts: Mapping[str, Any]) -> str:
    place = "" if facts["device"] == "cpu" else f", {facts['device']}"
    load = facts["load"]
    busy = load is not None and load > BUSY * (facts["cores"] or 1)
    said = "" if load is None else f", load {load:g}{' (busy: expect spread)' if busy else ''}"
    return f"{facts['processor']}{place}, {facts['cores']} cores, {count(facts['threads'], 'thread')}{said}"


def _model(facts: Mapping[str, Any]) -> str:
    widened = f", widened to {facts['widen']}" if facts["widen"] else ""
    return (
        f"{facts['name']}, {facts['architecture']}, {facts['parameters'] / 1e6:.3g}M parameters{widened}, "
        f"{facts['dtype']} on {facts['device']}"
    )


def spread_text(found: Mapping[str, float], digits: int) -> str:
    """Median (low-high)."""
    return f"{found['median']:.{digits}f} ({found['low']:.{digits}f}-{found['high']:.{digits}f})"


def _split(seconds: Mapping[str, float]) -> str:
    total = sum(seconds.values()) or 1.0
    return "/".join(f"{100 * seconds[part] / total:.0f}" for part in ("draft", "target", "other"))


def count(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

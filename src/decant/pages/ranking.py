"""Which method a race speaks for, and whether it speaks for any. Never for a winner inside the noise."""

import shlex
from collections.abc import Mapping
from typing import Any, Final

from decant.pages.words import count, listed, spread

PLAIN: Final = "plain"
BUSY: Final = 0.5  # load a core from which on times are not to be trusted

Row = Mapping[str, Any]


def ran(race: Mapping[str, Any]) -> list[Row]:
    """The rows of methods that were not skipped, fastest first."""
    rows = [row for row in race["methods"] if row["skipped"] is None]
    return sorted(rows, key=lambda row: -row["speedup"]["median"])


def lossless(row: Row) -> bool:
    """It promises plain decoding's tokens or law, and no text of the race speaks against it."""
    return row["promise"] is not None and not (row["differs"] or {}).get("unexplained")


def fastest(race: Mapping[str, Any]) -> Row | None:
    """Of the methods beside plain decoding that lose nothing."""
    return next((row for row in ran(race) if row["name"] != PLAIN and lossless(row)), None)


def winner(race: Mapping[str, Any]) -> Row | None:
    """The fastest method that loses nothing; None where plain decoding is not slower beyond the spread."""
    row = fastest(race)
    return row if row is not None and row["speedup"]["low"] > 1 else None


def verdict(race: Mapping[str, Any]) -> str:
    """What to do, in a sentence or two."""
    best, row = winner(race), fastest(race)
    if row is None:
        return "Leave it off: no method that loses nothing could be raced against plain decoding here."
    if best is None:
        return (
            f"Leave it off: the fastest method that loses nothing, {row['name']}, {faster(row)}, which is not "
            f"beyond the spread of the repeats."
        )
    kept = {"tokens": "says the same tokens", "distribution": "samples from the same distribution"}[best["promise"]]
    said = f"Use {best['name']}: it {faster(best)}, and {kept}."
    rivals = [
        one["name"]
        for one in ran(race)
        if one is not best
        and lossless(one)
        and one["speedup"]["high"] >= best["speedup"]["low"]
        and one["name"] != PLAIN
    ]
    return f"{said} These repeats do not tell it from {listed(rivals)}." if rivals else said


def faster(row: Row) -> str:
    """How its speed compares, bounds included."""
    median, _, bounds = spread(row["speedup"]).partition(" ")
    return f"is {median} times as fast as plain decoding{f' {bounds}' if bounds else ''}"


def cautions(race: Mapping[str, Any]) -> list[str]:
    """What makes the numbers less than they seem."""
    machine, done = race["machine"], race.get("finished", {"repeats": race["settings"].get("repeat", 1)})
    said = []
    load, cores = machine.get("load"), machine.get("cores") or 1
    if load is not None and load > BUSY * cores:
        said.append(f"The machine was busy (load {load:g} on {count(cores, 'core')}), so times spread.")
    if done["repeats"] == 1:
        said.append("There is one repeat, so how far its numbers spread is not known.")
    if done["repeats"] < race["settings"].get("repeat", 1):
        said.append(f"The race was interrupted after {count(done['repeats'], 'repeat')}.")
    return said + [f"{row['name']}: {row['flag']}." for row in ran(race) if row["flag"]]


def kept(row: Row) -> str:
    """What became of plain decoding's text, in a few words."""
    if row["promise"] == "distribution":
        return "the same distribution"
    if row["promise"] == "tokens" and row["identical"]:
        return "the same tokens"
    if row["lost"]:
        agreement, nats = row["lost"]["agreement"], row["lost"]["nats"]
        said = [] if agreement is None else [f"{agreement:.0%} of tokens agree"]
        said += [] if nats is None else [f"{nats:+.3f} nats a token"]
        said += [f"{knob} {value}" for knob, value in (row.get("knobs") or {}).items()]
        return f"lossy: {', '.join(said)}"
    differs = row["differs"]
    return f"differs: {count(differs['near_ties'], 'near-tie')}, {differs['unexplained']} unexplained"


def command(race: Mapping[str, Any]) -> str:
    """What serves the model as the race advises."""
    words = ["decant", "serve", race["model"]["name"]]
    best = winner(race)
    if best is None:
        return shlex.join([*words, "--method", PLAIN])
    draft = race["settings"].get("draft")
    return shlex.join([*words, "--method", best["name"], *(["--draft", draft["name"]] if draft else [])])

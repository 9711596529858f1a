"""A folder that starts an engine: speculative.json, launch.sh and the README that says what was checked."""

import json
from pathlib import Path
from typing import Final

from decant.export import model_card
from decant.export.evidence import Evidence
from decant.export.names import TITLES
from decant.export.source import Source
from decant.export.speculation import PLAIN, Launch, Speculation

SETTINGS: Final = "speculative.json"
SCRIPT: Final = "launch.sh"


def write(launch: Launch, out: Path) -> None:
    """Beside the weights that are there already."""
    (out / SETTINGS).write_text(json.dumps(dict(launch.settings), indent=2) + "\n", "utf-8")
    script = out / SCRIPT
    script.write_text(f'#!/bin/sh\ncd "$(dirname "$0")" && exec {" ".join(launch.command)} "$@"\n', "utf-8")
    script.chmod(0o755)


def card(target: Source, to: str, asked: Speculation, launch: Launch, evidence: Evidence) -> str:
    """README.md."""
    title = TITLES[to]
    drafted = "without drafting" if asked.method == PLAIN else f"drafting with {asked.method}"
    remarks = "".join(f"- {remark}\n" for remark in launch.remarks)
    differs = f"\n## What differs from decant\n\n{remarks}" if remarks else ""
    checked = "".join(f"- {sentence}\n" for sentence in launch.checked)
    return f"""{model_card.front(target, None, (to, "speculative-decoding"))}# {target.title} for {title}, {drafted}

{model_card.made(target, to)}
    ./{SCRIPT}

runs, in this folder,

    {" ".join(launch.command)}

Words behind `{SCRIPT}` go to {title}. `{SETTINGS}` holds the settings of the drafting alone.

## What was checked

{checked}{differs}{evidence.section()}"""

"""What the files in benchmarks/ share: their options, the line that names the machine, where results go."""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from decant.models.machine import fast_bfloat16, machine


def options(question: str, repeat: int = 5) -> argparse.ArgumentParser:
    """--quick, --json, --threads and --repeat; `question` is the file's docstring."""
    parser = argparse.ArgumentParser(description=question, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? tiny settings, numbers without meaning")
    parser.add_argument("--json", type=Path, help="where the results go (default: benchmarks/results/NAME-DATE.json)")
    parser.add_argument("--threads", type=int, help="threads of one forward (default: torch's own choice)")
    parser.add_argument("--repeat", type=int, default=repeat, help="repeats that alternate; the median is reported")
    return parser


def begin(chosen: argparse.Namespace) -> dict[str, Any]:
    """Set the threads; say which machine this is."""
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    if chosen.quick:
        chosen.repeat = 1
    return dict(machine())


def working_dtype() -> str:
    """The dtype in which this machine decodes fastest: bfloat16 where it multiplies that in hardware."""
    return "bfloat16" if fast_bfloat16() or torch.cuda.is_available() else "float32"


def heading(facts: Mapping[str, Any]) -> str:
    """The machine in one line, its load included: a busy machine measures itself."""
    sets = ", ".join(facts["instruction_sets"]) or "no vector extensions that it names"
    return (
        f"{facts['processor']}, {facts['cores']} cores ({sets}), {facts['threads']} threads, load {facts['load']}, "
        f"{facts['device']}, torch {facts['torch']}, transformers {facts['transformers']}"
    )


def slowest(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Of races by name: the method that loses most against plain decoding; None where no other ran."""
    ran = [
        {"method": row["name"], "cell": cell, **row["speedup"]}
        for cell, report in reports.items()
        for row in report["methods"]
        if row["skipped"] is None and row["name"] != "plain"
    ]
    return min(ran, key=lambda row: row["median"], default=None)


def save(report: Mapping[str, Any], script: str, chosen: argparse.Namespace) -> Path:
    """Write the results; returns where. A quick run writes only where it was told to. Results travel: the folder of
    outside data is written as $DECANT_DATA."""
    file = result_file(script, chosen)
    if chosen.json is not None or not chosen.quick:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=1, allow_nan=False) + "\n"
        outside = os.environ.get("DECANT_DATA")
        file.write_text(text.replace(outside.rstrip("/"), "$DECANT_DATA") if outside else text)
    return file


def result_file(script: str, chosen: argparse.Namespace) -> Path:
    """The file given, else benchmarks/results/NAME-DATE.json beside the script."""
    here = Path(script)
    return chosen.json or here.parent / "results" / f"{here.stem}-{time.strftime('%Y-%m-%d')}.json"

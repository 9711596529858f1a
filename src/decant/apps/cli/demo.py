"""`decant demo`: the shipped pair of models decodes held-out prompts, is raced, and is proved to lose nothing."""

import time
from typing import Final

import typer

from decant.apps.cli import options
from decant.apps.cli.certificates import show_checks, verdict
from decant.apps.cli.exits import FAILED, sentences
from decant.apps.cli.output import check_writable, note, write, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.reports import show_race
from decant.apps.cli.start import quieten, use_threads
from decant.apps.prompts import read

MODEL: Final = "house:target"
PROMPTS: Final = "house:tasks"
# Sized for two minutes on two slow cores, loading included.
RACED: Final = 5
PROVED: Final = 8
MAX_TOKENS: Final = 64
REPEAT: Final = 3


@sentences()
def demo(
    threads: options.Threads = None,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Show what decant does, with the models that it ships: a sample, a race, a certificate. Under two minutes."""
    check_writable(json)
    begin = time.monotonic()
    asked = read(PROMPTS, PROVED)
    quieten(MODEL, quiet)
    use_threads(threads)

    from decant.apps.demonstration import Demonstration

    note(f"loading {MODEL}", quiet)
    shown = Demonstration.load(MODEL, asked, PROMPTS, MAX_TOKENS, seed)
    told = (lambda text: None) if json == "-" else write
    told(f"A model of {shown.facts['parameters'] / 1e6:.1f}M parameters, trained by us and shipped with the package.\n")
    told(f"\n> {asked[0].messages[-1]['content']}\n\n")
    for piece in shown.sample():
        told(piece)
    told("\n")
    told(f"\nA race on {RACED} held-out prompts: plain decoding, then guesses that one target call checks.\n\n")
    with progress(quiet) as watch:
        race = shown.race(RACED, REPEAT, watch)
    if json != "-":
        show_race(race)
    certificates = []
    for temperature in (0.0, 1.0):
        told(f"\nIs anything lost? {len(asked)} prompts at temperature {temperature:g}, seed {seed}.\n\n")
        with progress(quiet) as watch:
            certificates.append(shown.certify(temperature, watch))
        if json != "-":
            show_checks(certificates[-1], shown.spell)
            told(f"{verdict(certificates[-1])}\n")
    told(f"\n{time.monotonic() - begin:.0f} seconds. With your model: decant bench MODEL --prompts FILE\n")
    write_json({"bench": race, "certificates": certificates}, json)
    if not all(certificate["holds"] for certificate in certificates):
        raise typer.Exit(FAILED)

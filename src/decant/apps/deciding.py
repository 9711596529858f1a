"""A whole tuning, from the first measurement to the files in its folder."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from decant import __version__
from decant.apps import investing, tuned, tuning
from decant.apps.candidates import composed, listed
from decant.apps.choosing import choose
from decant.apps.desk import Asked, Desk, Progress, opened
from decant.apps.opening import Opening
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, prepare
from decant.apps.tuning import Scene
from decant.decoders.method import PLAIN
from decant.errors import BadInput, DecantError
from decant.tune.plan import Choice, Plan

PROVED: Final = (2, 32)  # prompts of a certificate, at least and at most
SAMPLES: Final = 1000  # where a law is promised
REPORT: Final = "report.json"
CERTIFICATE: Final = "certificate.json"


@final
@dataclass(frozen=True, slots=True)
class Found:
    """plan: saved in the folder; what failed its certificate is off in it. report: JSON-ready. certificate: of the
    first choice that is not off, if any."""

    plan: Plan
    report: dict[str, Any]
    certificate: Mapping[str, Any] | None


def tune(
    model: Any,
    asked: Asked,
    opening: Opening,
    told: Progress = lambda done, total, text: None,
    command: Callable[[Plan], str] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Found:
    """Decide, and write plan.json, report.json and certificate.json, with pages to read, into `asked.out`.

    command: what serves the model as the plan says, for the report. say: gets what is expected of training before it
        begins.
    Raises what the user can mend; interrupted, the same question goes on from what is in the folder.
    """
    asked, taught = investing.parted(asked)
    desk = opened(model, asked, opening, told)
    costs = tuning.priced(desk)
    fields = [tuning.probed(desk, asked.temperatures[0], costs)]
    bet = investing.foretold(desk, fields[0])
    if asked.train is not None:
        say(bet.sentence(asked.train))
        if bet.pays:
            tuning.joined(desk, fields[0], investing.taught(desk, fields[0], taught, opening))
    fields += [tuning.probed(desk, heat, costs) for heat in asked.temperatures[1:]]
    scenes = [tuning.raced(desk, there, batch) for there in fields for batch in asked.batches]
    plan = Plan(
        __version__, desk.model, desk.machine, asked.objective, tuple(scene.choice for scene in scenes),
        {**asked.facts(), "prompts_fingerprint": desk.question["prompts"]},
    )  # fmt: skip
    proved, unproved = _certified(desk, plan, scenes, opening)
    if unproved is not None:
        plan = without(plan, unproved)
    found = tuned.report(desk, costs, scenes, plan, proved)
    found |= {"command": None if command is None else command(plan), "training": bet.facts()}
    plan.save(asked.out)
    _write(asked.out, found, proved)
    told(int(asked.budget), int(asked.budget), "done")
    return Found(plan, found, proved)


def sketch(model: Any, asked: Asked, opening: Opening) -> dict[str, Any]:
    """What `tune` would try, and in which time; nothing is measured or written. JSON-ready."""
    asked, _ = investing.parted(asked)
    desk = opened(model, asked, opening, lambda done, total, text: None)
    names, refused = [], []
    chosen = choose(Sampling(temperature=asked.temperatures[0]), desk.target, {"do_sample": False})
    for one in listed(asked.methods, desk.there):
        try:
            if composed(one, desk.there, chosen).promise is None:
                raise BadInput(tuning.LOSSY)
            names.append(one.name)
        except DecantError as error:
            refused.append([one.name, str(error)])
    rest = 1 - tuning.COSTING - tuning.PROBING - tuning.PROVING - tuning.SLACK
    shares = {"costs": tuning.COSTING, "probes": tuning.PROBING, "races": rest, "certificate": tuning.PROVING}
    return {
        "candidates": names,
        "refused": refused,
        "races": [{"batch": batch, "temperature": heat} for heat in asked.temperatures for batch in asked.batches],
        "seconds": {name: round(share * asked.budget, 1) for name, share in shares.items()} | {"train": asked.train},
    }


def without(plan: Plan, failed: Choice) -> Plan:
    """Off wherever the plan decodes like `failed`, whose certificate does not hold."""
    parts = failed.method, failed.draft, failed.verifier, failed.policy
    said = f"{failed.method} was faster, but its certificate does not hold: see {CERTIFICATE}"
    choices = (
        Choice(one.batch, one.temperature, PLAIN, why=said)
        if (one.method, one.draft, one.verifier, one.policy) == parts
        else one
        for one in plan.choices
    )
    return replace(plan, choices=tuple(choices))


def _certified(
    desk: Desk, plan: Plan, scenes: list[Scene], opening: Opening
) -> tuple[Mapping[str, Any] | None, Choice | None]:
    """Of the first choice that is not off, over as many prompts as time allows, kept in the notebook; and that choice
    where it does not hold."""
    chosen = next((one for one in plan.choices if one.method != PLAIN), None)
    if chosen is None:
        return None, None
    key = json.dumps([chosen.method, chosen.draft, chosen.verifier, chosen.policy, chosen.batch, chosen.temperature])
    known: dict[str, Any] = desk.notes.setdefault("certificates", {})
    if key not in known:
        desk.tell(f"proving {chosen.method}")
        known[key] = _prove(desk, chosen, scenes, opening)
        desk.note()
    return known[key], chosen if known[key]["holds"] is False else None


def _prove(desk: Desk, chosen: Choice, scenes: list[Scene], opening: Opening) -> dict[str, Any]:
    asked = desk.asked
    rate = next(one.field.plainly.rate for one in scenes if one.field.heat == chosen.temperature)
    left = max(asked.budget - desk.elapsed, tuning.PROVING * asked.budget)
    count = int(left * rate / (4 * asked.max_tokens))  # plain decoding, the method, planted faults
    prompts = list(asked.prompts)[: min(max(count, PROVED[0]), PROVED[1])]
    question = Question(
        [chosen.method], asked.source, chosen.draft, chosen.verifier, chosen.policy,
        asked.max_tokens, chosen.batch, asked.seed,
    )  # fmt: skip
    trial = prepare(desk.target, question, prompts, Sampling(temperature=chosen.temperature), opening)
    return trial.certify(SAMPLES, lambda done, total, text: desk.tell(f"proving: {text}"))


def _write(out: Path, found: Mapping[str, Any], proved: Mapping[str, Any] | None) -> None:
    """JSON, and the pages that are made of it."""
    from decant.pages import certificate, report

    _replace(out / REPORT, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    _replace(out / "report.html", report(found))
    if proved is not None:
        _replace(out / CERTIFICATE, json.dumps(proved, indent=1, ensure_ascii=False) + "\n")
        _replace(out / "certificate.html", certificate(proved))


def _replace(file: Path, text: str) -> None:
    """Whole or not at all."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(file)

"""`decant tune --simulate`: the ranking that the cost model predicts for machines which nobody has here.

Which guesses stand is measured (a race's report, an earlier simulation, or a probe here); what a pass costs there is
computed from the sizes of the models and the machine's numbers. Nothing runs there.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from decant.apps.catalog import METHODS, NEEDS_DRAFT, pick
from decant.apps.desk import PROGRESS
from decant.apps.guessing import Guesser
from decant.apps.knobs import split
from decant.apps.trial import Trial
from decant.decoders.method import PLAIN
from decant.errors import BadInput, DecantError
from decant.tune.carried import NO_GUESSES, Guesses, Known, moved, of_profile, of_race
from decant.tune.hardware import Hardware
from decant.tune.predict import Passes, Profile, best_depth, predict
from decant.tune.probe import Probe, probe
from decant.tune.shape import Shape
from decant.tune.simulate import passes, refuse_large

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""

CONTEXT: Final = 1024
DEPTHS: Final = range(1, 13)  # of chains, which are tried on each machine
CHAINS: Final = frozenset(
    {"draft-model", "online", "shared-vocabulary", "omnidraft", "prompt-lookup", "jacobi", "early-exit"}
)
"""Methods that guess chains, unless another policy paces them."""
CHAIN_POLICIES: Final = frozenset({"fixed", "additive", "confidence"})
COSTED: Final = frozenset({"cost-aware", "sequoia"})
BY_COST: Final = "its policy follows the costs of the machine that it was measured on; there it would guess otherwise"


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What is predicted. context: tokens of each request in front of what is new."""

    target: Shape
    draft: Shape | None
    machines: Sequence[Hardware]
    batches: Sequence[int] = (1,)
    context: int = CONTEXT


@final
@dataclass(frozen=True, slots=True)
class Place:
    """One machine at one batch, and what passes of the target cost there."""

    machine: Hardware
    batch: int
    passes: Passes


def acceptance(place: str | Path) -> Known:
    """What is known of guesses: of a report of `bench --json`, of an earlier simulation's, or of a folder in which
    `tune` measured. Raises BadInput."""
    file = Path(place).expanduser()
    file = file / PROGRESS if file.is_dir() else file
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"--acceptance {place} cannot be read: {error}; write one with decant bench --json") from error
    if not isinstance(said, dict):
        raise BadInput(f"--acceptance {place} holds no JSON object; write one with decant bench --json")
    if isinstance(said.get("acceptance"), dict):
        return _kept(said["acceptance"], str(place))
    if isinstance(said.get("kept"), dict):
        return _looked(said["kept"], str(place))
    paced = (said.get("settings") or {}).get("policy")
    return of_race(said, CHAINS if paced is None or split(paced).name in CHAIN_POLICIES else ())


def _kept(said: Mapping[str, Any], where: str) -> Known:
    """Of an earlier simulation."""
    try:
        methods = tuple(of_profile(name, profile) for name, profile in said["profiles"].items())
        skipped = tuple((name, why) for name, why in said.get("skipped", []))
        return Known(methods, 1e-3 * said["crank_ms"], skipped)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"the acceptance in {where} cannot be read ({error}); simulate again without it") from error


def _looked(said: Mapping[str, Any], where: str) -> Known:
    """Of a notebook of `tune`, at its first temperature."""
    try:
        looks = next(iter(said["probes"].values()))
        found = {name: Probe.again(look) for name, look in looks.items()}
        return _known(found, found.pop(PLAIN).crank)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise BadInput(f"{where} holds nothing that tune has measured ({error}); run it again there") from error


def _known(found: Mapping[str, Probe], crank: float, skipped: Sequence[tuple[str, str]] = ()) -> Known:
    """Profiles of probes, where there are any. Who follows the costs of this machine would guess otherwise there."""
    methods, left_out = [], list(skipped)
    for name, one in found.items():
        method, *options = name.split(" ")
        recipe = pick(METHODS, split(method).name, "method")
        policy = options[options.index("--policy") + 1] if "--policy" in options else recipe.policy
        if one.profile is None:
            left_out.append((name, NO_GUESSES))
        elif split(policy).name in COSTED:
            left_out.append((name, BY_COST))
        else:
            methods.append(Guesses(name, one.profile))
    return Known(tuple(methods), crank, tuple(left_out))


def probed(trial: Trial, told: Progress = lambda done, total, text: None) -> Known:
    """What is known of guesses after decoding the trial's prompts here, one at a time, with every method of it."""
    one, device = replace(trial.workload, batch=1), trial.target.model.network.device
    groups, total = one.groups(), len(trial.methods) + 1
    told(0, total, PLAIN)
    crank = probe(trial.fastest_plain, groups, device).crank
    found, skipped = {}, list(trial.skipped)
    for number, method in enumerate(trial.methods):
        told(number + 1, total, method.name)
        try:
            found[method.name] = probe(method, groups, device, crank)
        except DecantError as error:
            skipped.append((method.name, str(error)))
    told(total, total, "done")
    return _known(found, crank, skipped)


def simulate(asked: Asked, known: Known, guesser: Guesser) -> dict[str, Any]:
    """The prediction, JSON-ready. A machine or batch that cannot hold the models says so instead of a ranking."""
    return {
        "prediction": "nothing was run on these machines",
        "model": asked.target.facts(),
        "draft": None if asked.draft is None else asked.draft.facts(),
        "context": asked.context,
        "acceptance": {
            "crank_ms": round(1e3 * known.crank, 6),
            "profiles": {one.method: one.profile.facts() for one in known.methods},
            "skipped": [list(one) for one in known.skipped],
        },
        "machines": [_on(machine, asked, known, guesser) for machine in asked.machines],
    }


def _on(machine: Hardware, asked: Asked, known: Known, guesser: Guesser) -> dict[str, Any]:
    """Every batch on one machine."""
    rankings = []
    for batch in asked.batches:
        try:
            rankings.append(_ranking(machine, asked, known, guesser, batch))
        except BadInput as error:
            rankings.append({"batch": batch, "refused": str(error), "methods": []})
    return {"machine": machine.facts(), "presumed": machine.presumed, "batches": rankings}


def _ranking(machine: Hardware, asked: Asked, known: Known, guesser: Guesser, batch: int) -> dict[str, Any]:
    """The methods of one batch, the fastest first, plain decoding among them."""
    models = [asked.target] if asked.draft is None else [asked.target, asked.draft]
    refuse_large(machine, models, batch, asked.context)
    place = Place(machine, batch, passes(machine, asked.target, [batch], asked.context))
    rows, skipped = [_row(PLAIN, Profile((), ()), place)], list(known.skipped)
    for one in known.methods:
        try:
            rows.append(_predicted(one, known, guesser, place))
        except DecantError as error:
            skipped.append((one.method, str(error)))
    rows.sort(key=lambda row: -row["speedup"])
    return {"batch": batch, "refused": None, "methods": rows, "skipped": [list(one) for one in skipped]}


def _predicted(one: Guesses, known: Known, guesser: Guesser, place: Place) -> dict[str, Any]:
    """One method; of a draft model's chain, at the depth that pays most."""
    method, *options = one.method.split(" ")
    spec = split(method)
    recipe = pick(METHODS, spec.name, "method")
    width = max(1.0, sum(one.profile.nodes) / max(1, one.profile.depth))
    guessing = guesser.drafting(recipe, place.machine, place.batch, width)
    profile = moved(one.profile, known, place.machine, guessing)
    if recipe.needs != NEEDS_DRAFT or recipe.name not in CHAINS or "depth" in spec.knobs or not profile.depth:
        return _row(one.method, profile, place)
    depth = best_depth(place.passes, profile, place.batch, DEPTHS)
    return _row(" ".join([f"{method}:depth={depth}", *options]), profile.to(depth), place)


def _row(name: str, profile: Profile, place: Place) -> dict[str, Any]:
    found = predict(place.passes, profile, place.batch)
    rate = found.tokens / found.seconds
    return {
        "name": name,
        **found.facts(),
        "tokens_per_second": round(rate, 3),
        "in_all": round(place.batch * rate, 3),
    }

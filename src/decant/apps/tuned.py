"""What a tuning found, as JSON: the ranking of each race, texts token by token, and all that the pages show."""

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import median
from typing import Any, Final

from decant.apps.desk import Desk
from decant.apps.tuning import Field, Scene
from decant.bench.acceptance import distinct_ngrams
from decant.bench.speed import KEYS, REPETITIVE
from decant.bench.timing import spread
from decant.decoders.method import PLAIN
from decant.decoders.parting import explain
from decant.models.load import Loaded
from decant.tune.interval import Interval
from decant.tune.plan import Plan
from decant.tune.probe import Probe
from decant.tune.race import Standing

EXPLAINED: Final = 24  # texts that differ, at most, of which it is asked why
MEANT: Final = (
    "each ratio is the geometric mean over groups of prompts, paired with plain decoding's turn; the whiskers are its "
    "95 % interval over prompts like these"
)
EVEN: Final = Interval(0.0, 0.0, 0.0)
BROKEN: Final = "\ufffd"  # a character that is not whole yet


def ranking(scene: Scene) -> list[dict[str, Any]]:
    """Of one race, the fastest first: name, speed-up, turns, why it left, and what was predicted."""
    if scene.outcome is None:
        return []
    return [
        {
            "name": one.name,
            "speedup": one.speedup.ratio(),
            "turns": one.turns,
            "left": one.left,
            "predicted": _predicted(scene, one.name),
        }
        for one in scene.outcome.standings
    ]


def facts(scene: Scene) -> dict[str, Any]:
    """One race, JSON-ready."""
    outcome = scene.outcome
    return {
        "batch": scene.batch,
        "temperature": scene.field.heat,
        "method": scene.choice.method,
        "why": scene.choice.why,
        "tied": [] if outcome is None else list(outcome.tied),
        "confirmed": None if outcome is None or outcome.speedup is None else outcome.speedup.ratio(),
        "spent_seconds": None if outcome is None else round(outcome.spent, 3),
        "reason": scene.reason,
        "ranking": ranking(scene),
        "refused": [list(one) for one in scene.field.refused.items()],
    }


def report(
    desk: Desk, priced: Mapping[str, Any], scenes: Sequence[Scene], plan: Plan, proved: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What `pages.report` shows, and `scenes` besides; JSON-ready."""
    first = scenes[0]
    name = _winner(first)
    return {
        "machine": dict(desk.machine),
        "model": dict(desk.model),
        "race": race_report(desk, first),
        "costs": dict(priced),
        "plan": plan.facts(),
        "certificate": proved,
        "texts": texts(desk, first.field, name),
        "texts_method": name,
        "predictions": [
            {"name": one["name"], "predicted": one["predicted"], "measured": _whole(one["speedup"])}
            for one in ranking(first)
            if one["predicted"] is not None
        ],
        "frontier": [],
        "command": None,
        "scenes": [facts(scene) for scene in scenes],
        "acceptance": {
            "crank_ms": round(1e3 * first.field.plainly.crank, 6),
            "profiles": {
                name: found.profile.facts() for name, found in first.field.probes.items() if found.profile is not None
            },
            "skipped": [list(one) for one in first.field.refused.items()],
        },
    }


def race_report(desk: Desk, scene: Scene) -> dict[str, Any] | None:
    """A race in the shape of `bench`'s report. Who ran a single turn has no interval, and stands among the skipped."""
    if scene.outcome is None or scene.lanes is None:
        return None
    kept = scene.lanes.kept
    turns = len(kept[PLAIN]) if kept.get(PLAIN) else 0
    rows = [_row(desk, scene, Standing(PLAIN, EVEN, turns, None))] if turns else []
    skipped = [*scene.field.refused.items()]
    for one in scene.outcome.standings:
        if isfinite(one.speedup.low):
            rows.append(_row(desk, scene, one))
        else:
            said = f"{one.left or 'it ran'} after one turn, at {one.speedup.ratio()['median']:.2f} times"
            skipped.append((one.name, said))
    return {
        "machine": dict(desk.machine),
        "model": dict(desk.model),
        "settings": {
            **desk.asked.facts(),
            "batch": scene.batch,
            "temperature": scene.field.heat,
            "repeat": turns,
            "draft": None if (draft := desk.there[0].draft) is None else draft.facts(),
        },
        "methods": rows + [{**dict.fromkeys(KEYS), "name": name, "skipped": why} for name, why in skipped],
        "finished": {"repeats": turns, "prompts": len(desk.ids)},
        "spread": MEANT,
    }


def texts(desk: Desk, there: Field, name: str) -> list[dict[str, Any]]:
    """What the probe of a method said, token by token."""
    found = there.plainly if name == PLAIN else there.probes[name]
    return [
        {"prompt": desk.target.decode(prompt), "tokens": _tokens(desk.target, prompt, text)}
        for prompt, text in zip(desk.few, found.texts, strict=False)
    ]


def _tokens(target: Loaded, prompt: list[int], text: Sequence[tuple[int, str]]) -> list[dict[str, str]]:
    """Characters that several tokens write belong to the last of them."""
    read, told, ids = target.after(prompt), 0, []
    pieces = []
    for token, origin in text:
        ids.append(token)
        said = read(ids).rstrip(BROKEN)
        pieces.append({"text": said[told:], "origin": origin})
        told = max(told, len(said))
    return pieces


def _row(desk: Desk, scene: Scene, one: Standing) -> dict[str, Any]:
    assert scene.lanes is not None
    there, timed = scene.field, scene.lanes.kept[one.name]
    method = scene.lanes.methods[one.name]
    found: Probe = there.plainly if one.name == PLAIN else there.probes[one.name]
    identical, differs = _equality(desk, scene, one.name)
    outputs = [tokens for turn in timed for tokens in turn["outputs"]]
    distinct = distinct_ngrams(outputs)
    rate = spread([turn["tokens"] / turn["seconds"] for turn in timed])
    low = distinct is not None and distinct < REPETITIVE
    return {
        **dict.fromkeys(KEYS),
        "name": one.name,
        "exact": method.exact,
        "promise": method.promise,
        "tokens_per_second": rate,
        "total_tokens_per_second": rate,
        "speedup": one.speedup.ratio(),
        "acceptance_length": round(found.tokens / found.steps, 4),
        "acceptance_by_position": [] if found.profile is None else [round(share, 4) for share in found.profile.kept],
        "seconds": found.facts()["seconds"],
        "target_calls": found.steps,
        "distinct_4grams": None if distinct is None else round(distinct, 4),
        "identical": identical,
        "differs": differs,
        "tokens": sum(map(len, outputs)),
        "ttft_seconds": round(median(turn["soonest"] for turn in timed), 6),
        "flag": f"repetitive text ({distinct:.2f} distinct 4-grams) flatters every drafter" if low else None,
    }


def _equality(desk: Desk, scene: Scene, name: str) -> tuple[bool | None, dict[str, int | None]]:
    """Whether texts are plain decoding's of the same turn; of those that are not, why."""
    assert scene.lanes is not None
    lanes = scene.lanes
    if lanes.methods[name].promise == "distribution":
        return None, {"near_ties": None, "unexplained": None}
    parted = []
    for mine, plain in zip(lanes.kept[name], lanes.kept[PLAIN], strict=False):
        for at, (tokens, wanted) in enumerate(zip(mine["outputs"], plain["outputs"], strict=True)):
            if tokens != wanted:
                parted.append((plain["first"] + at, wanted, tokens))
    decoder = scene.field.plain.decoder
    found = [explain(decoder, lanes.workload, *one) for one in parted[:EXPLAINED]]
    causes = [one.cause for one in found if one is not None]
    return not parted, {"near_ties": causes.count("near-tie"), "unexplained": causes.count("unexplained")}


def _predicted(scene: Scene, name: str) -> float | None:
    found = scene.field.prediction(name, scene.batch) if name in scene.field.probes else None
    return None if found is None else round(found.speedup, 4)


def _whole(speedup: Mapping[str, float | None]) -> Mapping[str, float | None] | float | None:
    """With both bounds, or the number alone."""
    return speedup["median"] if None in speedup.values() else speedup


def _winner(scene: Scene) -> str:
    return PLAIN if scene.outcome is None else scene.outcome.winner

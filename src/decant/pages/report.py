"""The report: what is fastest, what it costs, where its time goes, what it said. What is not given is left out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from decant.pages.certificate import sections
from decant.pages.charts.columns import columns, stacked
from decant.pages.charts.curve import curve
from decant.pages.charts.drawing import Axis
from decant.pages.charts.frontier import frontier, unbeaten
from decant.pages.charts.intervals import bounds, interval, scale
from decant.pages.pictures import nearest, pictures
from decant.pages.ranking import PLAIN, cautions, command, faster, kept, lossless, ran, verdict
from decant.pages.rendering import page
from decant.pages.texts import ORIGINS, shown
from decant.pages.words import count, listed

Facts = Mapping[str, Any]

CONFIRMED: Final = (
    "What was chosen was timed once more, alone against plain decoding, and its speed here is that of those turns: the "
    "best of many looks better than it is in the turns that it was chosen by."
)


def report(facts: Facts) -> str:
    """One HTML file that needs no network and no script.

    machine, model: facts by name; where they are missing, those of the race or of the costs.
    race, costs: reports of `decant bench`; race["spread"]: what dots and whiskers are, where they are not of repeats.
    plan: of `decant tune`. certificate: of `decant prove`.
    texts: [{"prompt", "tokens": [{"text", "origin"}]}], origins as in `texts.ORIGINS`; texts_method: who said them.
    predictions: [{"name", "predicted", "measured"}], times plain decoding's speed; measured may be None.
    frontier: [{"name", "speedup", "quality"}]; quality: what that is, in a few words.
    scenes: races at several batches and temperatures, of which `race` is the first: [{"batch", "temperature",
        "ranking": [{"name", "speedup"}], "confirmed": the speedup of what was chosen, timed once more}].
    images: [{"method", "png_base64", "forwards", "frechet_distance", "class_accuracy"}], of `decant bench --suite
        images`, whose whole report may be given; numbers are None of real images.
    command: what serves the model; else what the race advises.
    """
    race, costs, plan, images = (facts.get(name) for name in ("race", "costs", "plan", "images"))
    measured = race or costs or plan or (facts if images else {})
    model = facts.get("model") or measured.get("model") or {}
    proved = facts.get("certificate")
    return page(
        "report.html.jinja",
        name=model.get("name", "a model"),
        headline=nearest(images) if images and not (race or plan) else _headline(race, plan),
        cautions=cautions(race) if race else [],
        ranking=_ranking(race) if race else None,
        frontier=_frontier(facts, race),
        costs=_costs(costs) if costs else None,
        positions=_positions(race) if race else [],
        shares=_shares(race) if race else [],
        texts=shown(facts.get("texts") or []),
        texts_method=facts.get("texts_method"),
        origins=ORIGINS,
        predictions=_predictions(facts.get("predictions") or []),
        plan=plan,
        plan_lead=CONFIRMED if any(scene.get("confirmed") for scene in facts.get("scenes") or []) else "",
        scenes=[_scene(scene) for scene in (facts.get("scenes") or [])[1:] if scene.get("ranking")],
        images=pictures(images or []),
        certificate=sections(proved) if proved else None,
        command=facts.get("command") or (command(race) if race else None),
        machine=facts.get("machine") or measured.get("machine") or {},
        model=model,
        settings=measured.get("settings") or {},
    )


def _headline(race: Facts | None, plan: Facts | None) -> str:
    if plan and plan.get("choices"):
        first = plan["choices"][0]
        where = f"At batch {first['batch']}, temperature {first['temperature']:g}: "
        if first["method"] == PLAIN:
            return f"{where}leave it off. Nothing is faster than plain decoding beyond the noise."
        return f"{where}use {first['method']}. It {faster(first)}."
    return verdict(race) if race else "What was measured here is no race, so nothing is advised."


def _ranking(race: Facts) -> Facts:
    rows = ran(race)
    axis = Axis.ratios([bound for row in rows for bound in bounds(row["speedup"])])
    settings = race["settings"]
    repeats = (race.get("finished") or {}).get("repeats") or settings.get("repeat", 1)
    spread = (
        race.get("spread")
        or f"the dot is the median of {count(repeats, 'repeat')}, the whisker goes from the lowest to the highest"
    )
    return {
        "rows": [
            {**row, "drawn": interval(axis, row["speedup"]), "kept": kept(row), "lossless": lossless(row)}
            for row in rows
        ],
        "scale": scale(axis),
        "skipped": _skipped(race),
        "meant": f"{spread[:1].upper()}{spread[1:]}",
        "work": (
            f"{count(settings['prompts'], 'prompt')} of {settings['source']}, up to "
            f"{count(settings['max_tokens'], 'new token')}, batch {settings['batch']}, temperature "
            f"{settings['temperature']:g}"
        ),
    }


def _skipped(race: Facts) -> dict[str, str]:
    """Who was skipped, by the reason."""
    found: dict[str, list[str]] = {}
    for row in race["methods"]:
        if row["skipped"] is not None:
            found.setdefault(row["skipped"], []).append(row["name"])
    return {reason: listed(names) for reason, names in found.items()}


def _scene(scene: Facts) -> Facts:
    axis = Axis.ratios([bound for row in scene["ranking"] for bound in bounds(row["speedup"])])
    rows = [{**row, "drawn": interval(axis, row["speedup"])} for row in scene["ranking"]]
    return {**scene, "rows": rows, "scale": scale(axis)}


def _frontier(facts: Facts, race: Facts | None) -> Facts | None:
    """The points given; else, where the race has a lossy method, how far each agrees with plain decoding."""
    points, quality = list(facts.get("frontier") or []), facts.get("quality", "quality")
    if not points and race and any(row["lost"] and row["lost"]["agreement"] is not None for row in ran(race)):
        quality = "share of tokens that agree with plain decoding"
        points = [
            {
                "name": row["name"],
                "speedup": row["speedup"]["median"],
                "quality": row["lost"]["agreement"] if row["lost"] else 1.0,
            }
            for row in ran(race)
            if (row["lost"]["agreement"] is not None if row["lost"] else lossless(row))
        ]
    if not points:
        return None
    places = [(point["speedup"], point["quality"]) for point in points]
    said = ", ".join(f"{one['name']} {one['speedup']:.2f} times and {one['quality']:.3g}" for one in points)
    best = unbeaten(places)
    rows = [{**point, "unbeaten": at in best} for at, point in enumerate(points)]
    return {"drawn": frontier(places, f"{quality} over speed: {said}"), "points": rows, "quality": quality}


def _costs(costs: Facts) -> Facts:
    """A chart a batch and context; those of one batch share a scale."""
    drawn = []
    for one in costs["curves"]:
        mates = [curve for curve in costs["curves"] if curve["batch"] == one["batch"]]
        highest = max(max(point["ms"]["high"] for point in mate["points"]) for mate in mates)
        name = f"batch {one['batch']}, context {one['context']:,}"
        first, last = one["points"][0], one["points"][-1]
        said = (
            f"{name}: {first['ms']['median']:.3g} ms for one new token, {last['ms']['median']:.3g} ms for "
            f"{last['tokens']}; the floor is {one['floor_ms']:.3g} ms"
        )
        drawn.append({**one, "name": name, "drawn": curve(one["points"], one["floor_ms"], highest, said)})
    cached = any(point["floor_fraction"] > 1 for one in costs["curves"] for point in one["points"])
    return {"curves": drawn, "bandwidth": costs["bandwidth_gb_s"], "skipped": costs["skipped"], "cached": cached}


def _positions(race: Facts) -> list[Facts]:
    return [
        {
            "name": row["name"],
            "length": row["acceptance_length"],
            "drawn": columns(row["acceptance_by_position"], _said(row["acceptance_by_position"])),
        }
        for row in ran(race)
        if row["acceptance_by_position"]
    ]


def _said(shares: Sequence[float]) -> str:
    return "accepted by position: " + ", ".join(f"{at} {share:.0%}" for at, share in enumerate(shares, 1))


def _shares(race: Facts) -> list[Facts]:
    found = []
    for row in ran(race):
        seconds = [row["seconds"][part] for part in ("draft", "target", "other")]
        whole = sum(seconds) or 1.0
        shares = [one / whole for one in seconds]
        found.append({"name": row["name"], "shares": shares, "seconds": sum(seconds), "drawn": stacked(shares)})
    return found


def _predictions(predictions: Sequence[Facts]) -> Facts | None:
    """Measured as a spread or a number; the error is the prediction over the median, less 1."""
    if not predictions:
        return None
    rows: list[dict[str, Any]] = []
    for one in predictions:
        said = one.get("measured")
        if said is not None and not isinstance(said, Mapping):
            said = dict.fromkeys(("median", "low", "high"), float(said))
        error = None if said is None else one["predicted"] / said["median"] - 1
        rows.append({"name": one["name"], "predicted": one["predicted"], "measured": said, "error": error})
    ends = [bound for row in rows if row["measured"] for bound in bounds(row["measured"])]
    axis = Axis.ratios([*ends, *(row["predicted"] for row in rows)])
    for row in rows:
        row["drawn"] = interval(axis, row["measured"], row["predicted"])
    return {"rows": rows, "scale": scale(axis)}

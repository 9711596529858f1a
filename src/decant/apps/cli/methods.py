"""`decant methods`: the catalogue."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from decant.apps import catalog
from decant.apps.catalog.swaps import SWAPS
from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, write, write_json
from decant.apps.cli.start import quieten
from decant.apps.knobs import Spec, knobs_of, split, values_of

ROLES: Final[Mapping[str, tuple[str, Mapping[str, catalog.Part]]]] = {
    "drafters": ("who guesses", catalog.DRAFTERS),
    "verifiers": ("who judges (--verifier)", catalog.VERIFIERS),
    "policies": ("how much to guess (--policy)", catalog.POLICIES),
    "decoders": ("loops of their own", catalog.DECODERS),
    "unmaskers": ("of models that fill in masks: who decides which places settle", catalog.UNMASKERS),
    "schedules": ("which of them may (name:schedule=...)", catalog.SCHEDULES),
    "caches": ("what a pass computes anew (name:cache=...)", catalog.CACHES),
    "recipes": ("what `decant distill` teaches", catalog.RECIPES),
    "distances": ("of a recipe of decant distill (--distance)", SWAPS["distance"]),
    "weightings": ("which tokens of its texts count (--weighting)", SWAPS["weighting"]),
    "curricula": ("how its target moves (--curriculum)", SWAPS["curriculum"]),
    "rollouts": ("whose texts it learns from (--rollouts)", SWAPS["rollouts"]),
    "samplers": ("what is done to logits (--temperature, --top-k, --top-p, --min-p)", catalog.SAMPLERS),
    "constraints": ("what may come next", catalog.CONSTRAINTS),
}

PROMISES: Final = {
    "tokens": "exact: the same seed gives plain decoding's very tokens",
    "distribution": "exact: plain decoding's distribution (at temperature 0 its very tokens)",
    None: "not exact",
}


@sentences()
def methods(json: options.Json = None) -> None:
    """What there is to choose from: methods and their parts, whether they are exact, what they need, who found them."""
    check_writable(json)
    quieten()
    listed = catalogue()
    if json != "-":
        _print(listed)
    write_json(listed, json)


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Every table as JSON-ready rows; methods are judged with their own verifiers."""
    return {
        "methods": [_method(recipe) for recipe in catalog.METHODS.values()],
        **{role: [_part(row, role) for row in table.values()] for role, (_, table) in ROLES.items()},
    }


def _method(recipe: catalog.Recipe) -> dict[str, Any]:
    if recipe.fills:
        return _filling(recipe)
    judge = catalog.VERIFIERS[split(recipe.verifier).name].get()
    knobs: dict[str, Any] = {}
    exactness = _exactness(judge)
    if recipe.decoder is not None:
        loop = catalog.loop_of(recipe)
        knobs = _defaults(loop) | values_of(catalog.preset(recipe), knobs_of(loop))
        if not any(field.name == "verifier" for field in fields(loop)):
            exact = recipe.paints and loop.exact
            exactness = {"exact": exact, "promise": "tokens" if exact else None}
    if recipe.drafter is not None:
        pace = split(recipe.policy)
        pacing = catalog.POLICIES[pace.name].get()
        set_here = values_of(pace, knobs_of(pacing))
        knobs = _defaults(catalog.DRAFTERS[recipe.drafter].get()) | _defaults(pacing) | set_here
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        **exactness,
        "needs": recipe.needs or None,
        "verifier": None if recipe.paints else recipe.verifier,
        "knobs": knobs,
        "source": recipe.source,
    }


def _filling(recipe: catalog.Recipe) -> dict[str, Any]:
    """A method for models that fill in masks: nobody judges it, and its knobs are those of its parts."""
    from decant.apps.filling import PLAIN

    loop = catalog.loop_of(recipe)
    roles, _ = catalog.filling(recipe, Spec(recipe.name, {}))
    knobs = {"schedule": recipe.schedule, "cache": recipe.cache}
    knobs = {knob: name for knob, name in knobs.items() if {"cache": "refresh"}.get(knob, knob) in roles}
    for made in (loop, *roles.values()):
        knobs |= _defaults(made)
    exact = recipe.name == PLAIN or getattr(loop, "exact", False)
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "exact": exact,
        "promise": "tokens" if exact else None,
        "needs": recipe.needs or None,
        "verifier": None,
        "knobs": knobs,
        "source": recipe.source,
    }


def _part(row: catalog.Part, role: str) -> dict[str, Any]:
    part = row.get()
    exactness = {**_exactness(part), "trees": part.trees} if role == "verifiers" else {}
    needs = row.needs or None
    return {
        "name": row.name,
        "summary": row.summary,
        **exactness,
        "needs": needs,
        "knobs": _defaults(part),
        "source": row.source,
    }


def _exactness(verifier: Any) -> dict[str, Any]:
    from decant.apps.compose import promise

    return {"exact": verifier.exact, "promise": promise(verifier, certain=False)}


def _defaults(part: Callable[..., Any]) -> dict[str, Any]:
    """Knobs that a name can set, with their defaults; how a draft model draws is the verifier's business."""
    knobs = knobs_of(part, dict.fromkeys(catalog.WIRED))
    return {field.name: field.default for field in fields(part) if field.name in knobs} if is_dataclass(part) else {}


def _print(listed: dict[str, list[dict[str, Any]]]) -> None:
    titles = {"methods": "what --method takes; verified as each says unless --verifier says otherwise"}
    titles |= {role: title for role, (title, _) in ROLES.items()}
    for role, rows in listed.items():
        write(f"{role}: {titles[role]}\n")
        for row in rows:
            write(f"  {row['name']:<16} {row['summary']}\n")
            details = [PROMISES[row["promise"]]] if "promise" in row else []
            details += [f"needs {row['needs']}"] if row["needs"] else []
            details += [f"verifier {row['verifier']}"] if row.get("verifier") else []
            details += (
                ["knobs " + " ".join(f"{knob}={value}" for knob, value in row["knobs"].items())] if row["knobs"] else []
            )
            details += [row["source"]]
            write("".join(f"{'':<19}{detail}\n" for detail in details))
        write("\n")

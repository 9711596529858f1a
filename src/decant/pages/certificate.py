"""The certificate: the verdict, each check with its evidence, and what none of them covers."""

from collections.abc import Mapping
from typing import Any, Final

from decant.pages.rendering import page
from decant.pages.words import count, grids, listed, table

Facts = Mapping[str, Any]

TOLD: Final = frozenset(
    {
        *("name", "method", "holds", "prompts", "statistic", "p_value", "power", "planted_fault_caught", "tokens"),
        *("first_divergence", "identical", "near_ties", "unexplained", "divergences", "planted_fault", "sites"),
        *("freedom", "samples", "doubt", "note", "test", "differences", "company", "unsure"),
    }
)
"""Of a check, what has words of its own here; everything else is a row of its table."""
AGAIN: Final = "decant prove --again certificate.json"
MANY: Final = 20  # divergences, at most, that are listed


def certificate(facts: Facts) -> str:
    """One HTML file out of a report of `decant prove`, which needs no network and no script.

    command: what runs it again; where it is missing and the report says what was typed (`again`), its JSON does.
    """
    model, typed = facts.get("model") or {}, (facts.get("again") or {}).get("typed") or {}
    return page(
        "certificate.html.jinja",
        name=model.get("name", "a model"),
        certificate=sections(facts),
        machine=facts.get("machine") or {},
        model=model,
        settings=facts.get("settings") or {},
        command=facts.get("command") or (AGAIN if typed else None),
        typed=typed,
        repeats=_repeats(facts["repeats"]) if facts.get("repeats") else [],
    )


def _repeats(found: Facts) -> list[str]:
    """Whether a run that repeats another came out as that did."""
    machine = "" if found.get("same_machine", True) else " It ran on another machine."
    if found["same"]:
        return [f"Every verdict is that of {found.get('file', 'the run before')}.{machine}"]
    said = {True: "held", False: "failed", None: "was not there"}
    differ = [f"{one['name']}: {said[one['then']]} then, {said[one['now']]} in this run." for one in found["differ"]]
    return [f"Verdicts are not those of {found.get('file', 'the run before')}.{machine}", *differ]


def sections(facts: Facts) -> Facts:
    """What the page says of a certificate: verdict, checks, what is not covered."""
    checks = [_check(check) for check in facts["checks"]]
    return {
        "holds": facts.get("holds"),
        "verdict": verdict(facts),
        "checks": checks,
        "not_covered": facts.get("not_covered") or [],
    }


def verdict(facts: Facts) -> str:
    """One sentence."""
    checks = facts["checks"]
    blind = [check["name"] for check in checks if check.get("unsure")]
    failed = [check["name"] for check in checks if not check["holds"] and check["name"] not in blind]
    if failed:
        return f"It does not hold: {count(len(failed), 'check')} of {len(checks)} failed, {listed(failed)}."
    if blind:
        return f"It does not hold: nothing failed, but a fault would not have shown in {listed(blind)}."
    if not checks:
        return "Nothing was checked."
    return f"It holds: {count(len(checks), 'check')}, none failed."


def _check(check: Facts) -> Facts:
    more = {name: said for name, said in check.items() if name not in TOLD}
    divergences = check.get("divergences") or check.get("differences") or []
    return {
        "name": check["name"],
        "holds": check["holds"],
        "evidence": _evidence(check),
        "fault": _fault(check),
        "divergence": _divergence(check["first_divergence"]) if check.get("first_divergence") else None,
        "divergences": [_divergence(one) for one in divergences[1:MANY]],
        "left_out": max(0, len(divergences) - MANY),
        "sites": check.get("sites") or [],
        "more": table(more),
        "grids": grids(more),
    }


def _evidence(check: Facts) -> list[str]:
    said, prompts = [], count(check.get("prompts") or 0, "prompt")
    parted = f"{count(check.get('near_ties') or 0, 'near-tie')}, {check.get('unexplained') or 0} unexplained"
    if check.get("identical") is not None:
        said.append(f"{check['identical']} of {prompts} identical, {check['tokens']:,} tokens.")
        if check.get("near_ties") or check.get("unexplained"):
            said.append(f"The others: {parted}.")
    elif check.get("unexplained") is not None:
        said.append(f"{prompts}: {parted}.")
    ways = (check.get("company") or {}).items()
    said += [f"{way[:1].upper()}{way[1:]}: {found['differ']} of {found['of']} differ." for way, found in ways]
    if check.get("p_value") is not None:
        said.append(_test(check))
    elif check.get("statistic") is not None:
        said.append(f"{check.get('test', 'statistic')}: {check['statistic']:.4g}.")
    if check.get("note"):
        said.append(f"{check['note']}.")
    if check.get("power") is not None:
        effect = check.get("effect", "a fault like the planted one")
        said.append(f"Power {check['power']:.3f}: the chance that {effect} is caught.")
    return said


def _test(check: Facts) -> str:
    """A statistical test in a sentence. One that does not name itself is Pearson's."""
    statistic, samples, doubt = check.get("statistic"), check.get("samples"), check.get("doubt")
    parts = [
        check.get("test", "chi-square") + ("" if statistic is None else f" {statistic:.4g}"),
        f"p = {check['p_value']:.3g} over {count(check['prompts'], 'prompt')}",
        "" if samples is None else f"{samples:,} continuations behind each",
        "" if doubt is None else f"refused below p = {doubt:g}",
    ]
    return f"{', '.join(part for part in parts if part)}."


def _fault(check: Facts) -> Facts | None:
    fault = check.get("planted_fault")
    if not fault:
        return None
    caught = {True: "caught", False: "not caught", None: "could not show itself"}[check.get("planted_fault_caught")]
    drafter = fault.get("drafter")
    return {"caught": caught, "what": fault.get("what", "a planted fault"), "drafter": drafter}


def _divergence(parting: Facts) -> str:
    """Where two texts part, and whether rounding explains it. Texts of an engine and its twin part at a character."""
    margin = parting.get("margin")
    by = "" if margin is None else f", by a margin of {margin:.2g}"
    rounding = f"rounding moves up to {parting['tolerance']:.2g}"
    why = {
        "near-tie": f"A near-tie: {rounding}, which explains it.",
        "unexplained": f"Unexplained: {rounding}{'' if margin is None else ', which is less'}.",
    }
    unit = str(parting.get("unit", "tokens")).removesuffix("s")
    right, other = ("plain decoding", "the method") if unit == "token" else ("the twin", "the engine")
    return (
        f"Prompt {parting['prompt'] + 1}, {unit} {parting['position'] + 1}: {right} says "
        f"{_token(parting, 'plain')}{by}; {other} says {_token(parting, 'method')}. "
        f"{why.get(parting['cause'], parting['cause'])}"
    )


def _token(parting: Facts, whose: str) -> str:
    """What is said there: a text, or a token's text where the report holds it, beside its id."""
    said = parting[whose]
    if said is None or said == "":
        return "nothing more"
    if isinstance(said, str):
        return repr(said)
    text = parting.get(f"{whose}_text")
    return f"id {said}" if text is None else f"{text!r} (id {said})"

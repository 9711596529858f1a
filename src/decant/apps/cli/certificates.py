"""Certificates as text: every check with its evidence, then what it does not cover."""

from collections.abc import Callable, Mapping
from typing import Any

from decant.apps.cli.output import facts_table, show, write
from decant.apps.cli.reports import count, header

Spell = Callable[[list[int]], str]
"""Token ids as text."""


def show_certificate(report: Mapping[str, Any], spell: Spell) -> None:
    """The whole certificate, header included."""
    show(facts_table(_engines(report) if "engine" in report["model"] else header(report)))
    write("\n")
    show_checks(report, spell)
    write("\nnot covered\n")
    write("".join(f"  - {sentence}\n" for sentence in report["not_covered"]))
    if (again := report.get("repeats")) is not None:
        write(f"\n{_again(again)}\n")
    write(f"\n{verdict(report)}\n")


def show_checks(report: Mapping[str, Any], spell: Spell) -> None:
    """Each check and its evidence."""
    for check in report["checks"]:
        write(f"{_word(check):<6} {check['name']}\n")
        write("".join(f"       {line}\n" for line in _evidence(check, spell)))


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence."""
    named = {
        said: [check["name"] for check in report["checks"] if _word(check) == said] for said in ("FAILS", "UNSURE")
    }
    if named["FAILS"]:
        return f"The certificate does NOT hold: {'; '.join(named['FAILS'])}."
    if named["UNSURE"]:
        blind = "; ".join(named["UNSURE"])
        return f"The certificate does NOT hold: nothing failed, but a fault would not have shown in {blind}."
    if not report["checks"]:
        return "Nothing was checked."
    return f"The certificate holds: {count(len(report['checks']), 'check')}, none failed."


def _word(check: Mapping[str, Any]) -> str:
    return "holds" if check["holds"] else "UNSURE" if check.get("unsure") else "FAILS"


def _evidence(check: Mapping[str, Any], spell: Spell) -> list[str]:
    lines = []
    if "identical" in check:
        lines.append(
            f"{check['identical']} of {count(check['prompts'], 'prompt')} identical, {check['tokens']:,} tokens"
        )
        if check["near_ties"] or check["unexplained"]:
            lines.append(f"the others: {count(check['near_ties'], 'near-tie')}, {check['unexplained']} unexplained")
    elif check["p_value"] is not None:
        each = f" with {check['samples']:,} continuations each" if "samples" in check else ""
        lines.append(
            f"{check.get('test', 'chi-square')} {check['statistic']:.1f}, p = {check['p_value']:.3g} over "
            f"{count(check['prompts'], 'prompt')}{each}; refused below p = {check['doubt']:g}"
        )
    elif "company" not in check and "texts" not in check:
        lines.append(str(check.get("note", "nothing was tested")))
    lines += _company(check) + _texts(check) + _disagreement(check)
    if check["p_value"] is not None and "note" in check:
        lines.append(check["note"])
    if check["power"] is not None:
        effect = check.get("effect", "a fault like the planted one")
        lines.append(f"power {check['power']:.3f}: the chance that {effect} is caught")
    if check.get("smallest_share_caught") is not None:
        share = check["smallest_share_caught"]
        lines.append(f"power 0.9 where at least {share:.0%} of continuations suffer the planted fault")
    lines += _fault(check)
    if check["first_divergence"] is not None:
        lines.append(_divergence(check["first_divergence"], spell))
    return lines


def _company(check: Mapping[str, Any]) -> list[str]:
    return [f"{way}: {found['differ']} of {found['of']} differ" for way, found in check.get("company", {}).items()]


def _texts(check: Mapping[str, Any]) -> list[str]:
    if "texts" not in check:
        return []
    texts = check["texts"]
    said = f"{texts['whole']} texts obey, {texts['open']} were cut and could, {texts['wrong']} do not"
    return [f"{said} ({check['constraint']})" if "constraint" in check else said]


def _disagreement(check: Mapping[str, Any]) -> list[str]:
    shares = check.get("disagreement", {})
    return [", ".join(f"{who} disagree {share:.1%}" for who, share in shares.items())] if shares else []


def _fault(check: Mapping[str, Any]) -> list[str]:
    fault = check.get("planted_fault") or {}
    if not fault:
        return []
    caught = {True: "caught", False: "NOT caught", None: "could not show itself"}[check["planted_fault_caught"]]
    whose = f" (drafter: {fault['drafter']})" if fault.get("drafter") else ""
    said = [f"planted fault {caught}: {fault['what']}{whose}"]
    if check["planted_fault_caught"] is False:
        said.append(
            "so this proves nothing either way: more --samples, or prompts of which the model is less sure, may"
        )
    return said


def _divergence(parting: Mapping[str, Any], spell: Spell) -> str:
    if parting.get("unit") == "characters":
        return _text_divergence(parting)
    plain, other = (_token(parting[whose], spell) for whose in ("plain", "method"))
    margin = "" if parting["margin"] is None else f", by a margin of {parting['margin']:.2g}"
    cause = (
        f"a near-tie: rounding moves up to {parting['tolerance']:.2g}"
        if parting["cause"] == "near-tie"
        else f"unexplained: rounding moves at most {parting['tolerance']:.2g}"
    )
    return (
        f"first difference: prompt {parting['prompt'] + 1}, token {parting['position'] + 1}: plain decoding says "
        f"{plain}{margin}, the method {other}; {cause}"
    )


def _token(token: int | None, spell: Spell) -> str:
    return "nothing more" if token is None else f"{spell([token])!r} (id {token})"


def _text_divergence(parting: Mapping[str, Any]) -> str:
    margin = "" if parting["margin"] is None else f", by a margin of {parting['margin']:.2g} nats"
    near = f"counted as a near-tie up to {parting['tolerance']:.2g}"
    told = f"unexplained: {near}" if parting["margin"] is not None else "unexplained: the twin does not say how near"
    return (
        f"first difference: prompt {parting['prompt'] + 1}, character {parting['position'] + 1}: the twin goes on "
        f"{parting['plain']!r}{margin}, the engine {parting['method']!r}; "
        f"{near if parting['cause'] == 'near-tie' else told}"
    )


def _engines(report: Mapping[str, Any]) -> dict[str, str]:
    model, settings = report["model"], report["settings"]
    return {
        "engine": f"{model['name']} at {model['engine']} ({model['endpoint']})",
        "twin": f"{model['twin_model']} at {model['twin']}",
        "work": f"{settings['prompts']} prompts of {settings['source']}, greedy texts of up to "
        f"{settings['max_tokens']} tokens; {settings['samples']} continuations of {settings['length']} tokens behind "
        f"each of a few",
    }


def _again(again: Mapping[str, Any]) -> str:
    where = "on the same kind of machine" if again["same_machine"] else "on another kind of machine"
    if again["same"]:
        return f"Repeated {again['file']} {where}: the same verdict."
    told = {True: "held", False: "failed", None: "was not made"}
    differ = [f"{one['name']} {told[one['then']]} then and {told[one['now']]} now" for one in again["differ"]]
    return f"Repeated {again['file']} {where}: NOT the same verdict: {'; '.join(differ)}."

"""Certificates as text: every check with its evidence, then what it does not cover."""

from collections.abc import Callable, Mapping
from typing import Any

from decant.apps.cli.output import facts_table, show, write
from decant.apps.cli.reports import count, header

Spell = Callable[[list[int]], str]
"""Token ids as text."""


def show_certificate(report: Mapping[str, Any], spell: Spell) -> None:
    """The whole certificate, header included."""
    show(facts_table(header(report)))
    write("\n")
    show_checks(report, spell)
    write("\nnot covered\n")
    write("".join(f"  - {sentence}\n" for sentence in report["not_covered"]))
    write(f"\n{verdict(report)}\n")


def show_checks(report: Mapping[str, Any], spell: Spell) -> None:
    """Each check and its evidence."""
    for check in report["checks"]:
        write(f"{'holds' if check['holds'] else 'FAILS'}  {check['name']}\n")
        write("".join(f"       {line}\n" for line in _evidence(check, spell)))


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence."""
    failed = [check["name"] for check in report["checks"] if not check["holds"]]
    if failed:
        return f"The certificate does NOT hold: {'; '.join(failed)}."
    if not report["checks"]:
        return "Nothing was checked."
    return f"The certificate holds: {count(len(report['checks']), 'check')}, none failed."


def _evidence(check: Mapping[str, Any], spell: Spell) -> list[str]:
    lines = []
    if "identical" in check:
        lines.append(
            f"{check['identical']} of {count(check['prompts'], 'prompt')} identical, {check['tokens']:,} tokens"
        )
        if check["near_ties"] or check["unexplained"]:
            lines.append(f"the others: {count(check['near_ties'], 'near-tie')}, {check['unexplained']} unexplained")
    elif check["p_value"] is not None:
        lines.append(
            f"chi-square {check['statistic']:.1f}, p = {check['p_value']:.3g} over {count(check['prompts'], 'prompt')} "
            f"with {check['samples']:,} continuations each; refused below p = {check['doubt']:g}"
        )
    else:
        lines.append(str(check.get("note", "nothing was tested")))
    if check["power"] is not None:
        lines.append(f"power {check['power']:.3f}: the chance that a fault like the planted one is caught")
    lines += _fault(check)
    if check["first_divergence"] is not None:
        lines.append(_divergence(check["first_divergence"], spell))
    return lines


def _fault(check: Mapping[str, Any]) -> list[str]:
    fault = check.get("planted_fault") or {}
    if not fault:
        return []
    caught = {True: "caught", False: "NOT caught", None: "could not show itself"}[check["planted_fault_caught"]]
    whose = f" (drafter: {fault['drafter']})" if "drafter" in fault else ""
    return [f"planted fault {caught}: {fault['what']}{whose}"]


def _divergence(parting: Mapping[str, Any], spell: Spell) -> str:
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

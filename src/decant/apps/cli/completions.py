"""What `decant generate` tells of its requests: lines as they end, statistics, a report."""

import json
import math
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from decant.apps.cli.output import write
from decant.apps.cli.progress import progress

if TYPE_CHECKING:
    from decant.apps.session import Completion, Run, Session


SHOWN: Final = 60  # characters of a draft in the list of drafts


def tell_lines(run: "Run", count: int, silent: bool, quiet: bool) -> None:
    """Run to the end; a line of JSON for each of `count` prompts, as soon as it and all before it have ended.

    silent: no lines; quiet: no progress.
    """
    lines, told = sys.stdout, 0
    # Lines on a terminal are progress enough; elsewhere rich's bar would take them along to standard error.
    with progress(quiet or (lines.isatty() and not silent)) as tell, redirect_stdout(lines):
        for _ in run:
            while told < count and (said := run.completion(told)).reason is not None:
                if not silent:
                    write(_line(told, said))
                told += 1
            tell(run.ended, count, f"{run.ended} of {count} prompts")


def summary(session: "Session", said: list["Completion"], seconds: float, seed: int) -> str:
    """Speed, acceptance and promise in a line, and what there is to note: of one prompt its drafts, too."""
    tokens, calls = sum(one.said for one in said), sum(one.steps for one in said)
    prompts = f"{len(said)} prompts, " if len(said) > 1 else ""
    canvas = session.target.masked is not None
    passes = f" and {calls} {'pass' if calls == 1 else 'passes'}" if canvas and len(said) == 1 else ""
    speed = f"{prompts}{tokens} tokens in {seconds:.2f} s{passes}, {tokens / seconds:.1f} tokens/s"
    warning = session.target.facts()["note"]
    notes = [session.target.exact_note, *([warning] if warning else [])]
    # Of a lossy method a step may be fewer target calls than one, or more.
    unit = "pass" if canvas else "target call" if session.method.exact else "step"
    acceptance = f"{tokens / calls:.2f} a {unit}"
    if len(said) == 1:
        notes += _drafts(said[0])
    return "\n".join([f"{speed}, {acceptance}; {session.method.name}: {_promise(session, seed)}", *notes])


def facts(session: "Session", settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says of all requests."""
    from decant.models.machine import machine

    return {
        "machine": machine(),
        "model": session.target.facts(),
        "draft": None if session.draft is None else session.draft.facts(),
        "settings": {"method": session.method.name, **(session.chosen or session.sampling).facts(), **settings},
        "promise": session.method.promise,
    }


def details(said: "Completion", prompt_tokens: int) -> dict[str, Any]:
    """What a report says of one request."""
    return {
        "prompt_tokens": prompt_tokens,
        "text": said.text,
        "tokens": said.tokens,
        "drafted": said.drafted,
        "reason": said.reason,
        "target_calls": said.steps,
        "acceptance_length": said.acceptance_length,
        **({} if said.filled is None else {"filled": said.filled}),
        **_thought(said),
        **({"drafts": [asdict(one) for one in said.suggestions]} if said.suggestions else {}),
    }


def _drafts(said: "Completion") -> list[str]:
    """The drafts of a method that writes several at a time, a line each; else nothing."""
    lines, position = list[str](), None
    for one in said.suggestions:
        if one.position != position:
            position = one.position
            lines.append(f"drafts from token {position + 1} on, and their scores:")
        text = " ".join(one.text.split())
        lines.append(f"{one.score:9.3f}  {text if len(text) <= SHOWN else text[: SHOWN - 3] + '...'}")
    return lines


def _line(prompt: int, said: "Completion") -> str:
    line = {
        "prompt": prompt,
        "text": said.text,
        "tokens": said.said,
        "reason": said.reason,
        "acceptance_length": said.acceptance_length,
        **_thought(said),
    }
    return json.dumps(line, ensure_ascii=False) + "\n"


def _thought(said: "Completion") -> dict[str, Any]:
    """Log-probabilities where they were asked for, in nats; JSON knows no infinite one, which is null."""
    if said.logprobs is None:
        return {}
    return {
        "logprobs": [
            {
                "id": token,
                "logp": one.logp if math.isfinite(one.logp) else None,
                "top": [{"id": other, "logp": logp} for other, logp in one.top],
            }
            for token, one in zip(said.tokens, said.logprobs, strict=True)
        ]
    }


def _promise(session: "Session", seed: int) -> str:
    promised = session.method.promise
    if promised == "tokens":
        rounding = "" if session.target.model.rows else ", up to rounding"
        return f"the text of plain decoding with seed {seed}{rounding}"
    return "plain decoding's distribution, not its very tokens" if promised else "not plain decoding's distribution"

"""Under a constraint: is a method still plain decoding under the same constraint, and does every text obey?

Obedience is judged by somebody else than the constraint. The judge then sees texts that nothing constrained, and must
refuse one.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal

from decant.decoders.method import Method
from decant.decoders.workload import Workload
from decant.protocols import AnyDecoder
from decant.prove import distribution, equality

Obedience = Literal["whole", "open", "wrong"]
"""A text that obeys and has ended; one that was cut and can still obey; one that does not."""
Judge = Callable[[list[int], list[int]], Obedience]
"""(prompt, output) -> what it is."""

PROMPTS: Final = 8  # at most
FAULT: Final = "no constraint at all"

Watch = Callable[[str, int], None]


def few(workload: Workload) -> Workload:
    """The prompts that are decoded."""
    return replace(workload, prompts=workload.prompts[:PROMPTS])


def check(
    free: AnyDecoder, plain: Method, methods: list[Method], workload: Workload, judge: Judge, samples: int, watch: Watch
) -> list[dict[str, Any]]:
    """An entry of a certificate for plain decoding and for each method, all of them under the constraint.

    free: plain decoding without it, the planted fault of obedience.
    Each holds where its promise does, no text is wrong, and both planted faults are caught.
    """
    work = few(workload)
    expected = equality.reference(plain.decoder, work, watch)
    loose: list[Obedience] = [
        judge(*pair) for pair in zip(work.prompts, equality.reference(free, work, watch), strict=True)
    ]
    entries = [_obeying(_plain(plain, work, expected), expected, work, judge, loose)]
    for method in methods:
        if method.promise == "tokens":
            entry, said = equality.check(plain.decoder, method, work, expected, watch), expected
        else:
            entry = distribution.check(plain.decoder, method, work, samples, watch)  # type: ignore[arg-type]
            said = equality.reference(method.decoder, work, watch)
        entries.append(_obeying(entry, said, work, judge, loose))
    return entries


def tokens(methods: list[Method], workload: Workload, samples: int) -> int:
    """How many tokens `check` decodes, at most."""
    sampled = sum(method.promise == "distribution" for method in methods)
    work = few(workload)
    return (2 + len(methods)) * len(work.prompts) * work.max_tokens + sampled * distribution.tokens(samples)


def _plain(plain: Method, work: Workload, expected: list[list[int]]) -> dict[str, Any]:
    shape = ("statistic", "p_value", "power", "planted_fault_caught", "first_divergence")
    sizes = {"prompts": len(work.prompts), "tokens": sum(map(len, expected))}
    return {"name": "plain: as constrained", "method": plain.name, "holds": True, **dict.fromkeys(shape), **sizes}


def _obeying(
    entry: dict[str, Any], said: list[list[int]], work: Workload, judge: Judge, loose: list[Obedience]
) -> dict[str, Any]:
    """The entry with what the judge says of its texts. Where an entry's own texts are plain decoding's, that was said
    by equality."""
    found = [judge(prompt, output) for prompt, output in zip(work.prompts, said, strict=True)]
    seen, caught = "wrong" in loose, entry["planted_fault_caught"]
    return {
        **entry,
        "name": f"constraints: {entry['name']}, and every text obeys",
        "holds": entry["holds"] and "wrong" not in found and seen,
        "planted_fault_caught": seen and caught is not False,
        "texts": {kind: found.count(kind) for kind in ("whole", "open", "wrong")},
        "planted_fault": {
            **(entry.get("planted_fault") or {"what": FAULT}),
            "of_obedience": {"what": FAULT, "caught": seen, "wrong": loose.count("wrong"), "of": len(loose)},
        },
    }

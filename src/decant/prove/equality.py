"""Does a method give plain decoding's very tokens? Every prompt is compared, every difference examined.

The same comparison then runs on a verifier that keeps one guess too many, and must not hold.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any, Final

from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import Method
from decant.decoders.parting import explain
from decant.decoders.speculative import Speculative
from decant.decoders.workload import Workload
from decant.errors import DecantError
from decant.protocols import AnyDecoder
from decant.prove.faults import Astray, Careful, OneTooMany, Tally, with_verifier

FAULT: Final = "a verifier that keeps one guess more than it should"
CARELESS: Final = "a decoder that checks none of its guesses"
FAULT_PROMPTS: Final = 8  # at most, in whole batches: a fault of this kind shows at once or hardly at all

Watch = Callable[[str, int], None]
"""Called after each group of prompts with what was decoded, and how many tokens at most; 0 for planted faults."""


def reference(plain: AnyDecoder, workload: Workload, watch: Watch) -> list[list[int]]:
    """What plain decoding says, prompt by prompt."""
    expected = []
    for _, outputs in workload.decode(plain):
        expected += [output.tokens for output in outputs]
        watch("plain", len(outputs) * workload.max_tokens)
    return expected


def check(
    plain: AnyDecoder, method: Method, workload: Workload, expected: list[list[int]], watch: Watch
) -> dict[str, Any]:
    """One entry of a certificate. Near-ties are listed; they do not fail it.

    expected: from `reference`, decoded at the same batch.
    """
    partings = [
        parting
        for prompt, tokens in _outputs(method.decoder, workload, watch, method.name)
        if (parting := explain(plain, workload, prompt, expected[prompt], tokens)) is not None
    ]
    unexplained = [parting for parting in partings if parting.cause == "unexplained"]
    caught, fault = planted(plain, method.decoder, workload, expected, watch)
    first = min(unexplained or partings, key=lambda parting: parting.prompt, default=None)
    return {
        "name": f"{method.name}: the same tokens as plain decoding",
        "method": method.name,
        "holds": not unexplained and caught is not False,
        "prompts": len(expected),
        "statistic": None,
        "p_value": None,
        "power": None,
        "planted_fault_caught": caught,
        "first_divergence": None if first is None else asdict(first),
        "identical": len(expected) - len(partings),
        "near_ties": len(partings) - len(unexplained),
        "unexplained": len(unexplained),
        "divergences": [asdict(parting) for parting in partings],
        "tokens": sum(map(len, expected)),
        "planted_fault": fault,
    }


def planted(
    plain: AnyDecoder, decoder: AnyDecoder, workload: Workload, expected: list[list[int]], watch: Watch
) -> tuple[bool | None, dict[str, Any]]:
    """Whether the fault was caught, and how; None where nothing can be at fault.

    First with the method's own drafter. One that is never refused on these prompts, because it is perfect or guesses
    nothing, hides the fault: then with a drafter that is nearly always wrong.
    """
    if isinstance(decoder, Careful):
        return _careless(plain, decoder.careless(), workload, expected, watch)
    if not isinstance(decoder, Speculative) or not isinstance(plain, Autoregressive):
        return None, {"what": f"none: {type(decoder).__name__} has no verifier that could be at fault"}
    few = replace(workload, prompts=workload.prompts[: -(-FAULT_PROMPTS // workload.batch) * workload.batch])
    drafters = {"the method's own": None, "one that guesses at random": Astray(plain.target.vocab)}
    fault: dict[str, Any] = {}
    for whose, drafter in drafters.items():
        if drafter is not None and "fixed" not in decoder.verifier.accepts:
            break
        tally, causes = Tally(), []
        faulty = with_verifier(decoder, OneTooMany(decoder.verifier, tally), drafter)
        told = f"planted fault, drafter: {whose}"
        try:
            for prompt, tokens in _outputs(faulty, few, lambda text, _: watch(text, 0), told):
                parting = explain(plain, workload, prompt, expected[prompt], tokens)
                causes.append("none" if parting is None else parting.cause)
                if "unexplained" in causes:
                    break
        except DecantError:  # a constraint was told of a token that it forbids
            causes.append("unexplained")
        fault = {"what": FAULT, "drafter": whose, "prompts": len(causes), "acted": tally.count, "causes": causes}
        if "unexplained" in causes:
            return True, fault
    return (False if fault["acted"] else None), fault


def _careless(
    plain: AnyDecoder, decoder: AnyDecoder, workload: Workload, expected: list[list[int]], watch: Watch
) -> tuple[bool, dict[str, Any]]:
    """Whether the decoder's own planted fault was caught."""
    few = replace(workload, prompts=workload.prompts[: -(-FAULT_PROMPTS // workload.batch) * workload.batch])
    causes: list[str] = []
    for prompt, tokens in _outputs(decoder, few, lambda text, _: watch(text, 0), "planted fault"):
        parting = explain(plain, workload, prompt, expected[prompt], tokens)
        causes.append("none" if parting is None else parting.cause)
        if "unexplained" in causes:
            break
    return "unexplained" in causes, {"what": CARELESS, "prompts": len(causes), "causes": causes}


def _outputs(decoder: AnyDecoder, workload: Workload, watch: Watch, text: str) -> Iterator[tuple[int, list[int]]]:
    """(index of the prompt, output), prompt by prompt."""
    for group, outputs in workload.decode(decoder):
        watch(text, len(outputs) * workload.max_tokens)
        for row, output in enumerate(outputs):
            yield group.first + row, output.tokens

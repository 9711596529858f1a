"""What was proved, what was not, and enough to run it again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, final

from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import PLAIN, Method
from decant.decoders.workload import Workload
from decant.errors import BadInput, IncompatibleParts, MissingExtra
from decant.protocols import AnyDecoder
from decant.prove import distribution, equality
from decant.prove.verdicts import judged

ROUNDED: Final = ("int8", "int4")
Progress = Callable[[int, int, str], None]
"""(tokens done, tokens in all at most, what is under way)"""


Watch = Callable[[str, int], None]
"""(what is under way, tokens done with it)"""


@final
@dataclass(frozen=True, slots=True)
class Extra:
    """A check beside those of methods. what: names it, where it cannot run; tokens: at most; ask: its entries."""

    what: str
    tokens: int
    ask: Callable[[Watch], list[dict[str, Any]]]


class Described(Protocol):
    """A model that can say what it is: `models.load.Loaded`."""

    def facts(self) -> dict[str, Any]: ...


def run(
    target: Described,
    plain: Method,
    methods: list[Method],
    workload: Workload,
    *,
    samples: int = 2000,
    extras: Sequence[Extra] = (),
    unasked: Sequence[str] = (),
    skipped: Iterable[tuple[str, str]] = (),
    settings: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total, text: None,
    partial: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """One check a method, of what it promises: plain decoding's tokens, or its law. JSON-ready.

    plain:   plain decoding of the same model, in the same mode; both decode at the workload's batch.
    samples: continuations behind each tested prompt, where a law is promised.
    extras:  checks of other parts; one that cannot run here is left out, with its reason.
    unasked: sentences about what nobody asked to be checked.
    partial: gets the certificate so far after each check, for runs that are interrupted.
    Raises BadInput for a method that promises nothing, and whatever a method refuses.
    """
    _refuse(plain, methods)
    decoder = plain.decoder
    counted = [method for method in methods if method.promise == "tokens"]
    sampled = [method for method in methods if method.promise == "distribution"]
    all_tokens = len(workload.prompts) * workload.max_tokens
    total = all_tokens * (len(counted) + bool(counted)) + distribution.tokens(samples) * len(sampled)
    total += sum(extra.tokens for extra in extras)
    done = 0

    def watch(text: str, tokens: int) -> None:
        nonlocal done
        done = min(total, done + tokens)
        progress(done, total, text)

    checks: list[dict[str, Any]] = []
    left = list(skipped)

    def certificate(pending: Sequence[Extra] = ()) -> dict[str, Any]:
        covered = _not_covered(target.facts(), counted, sampled, workload, left)
        unfinished = [f"{one.what}, which was not checked: the run was interrupted" for one in pending]
        return {
            "holds": all(check["holds"] for check in checks) if checks else None,
            "machine": dict(machine or {}),
            "model": target.facts(),
            "settings": {**(settings or {}), **_settings(workload, samples if sampled else None)},
            "checks": [judged(check) for check in checks],
            "not_covered": [*covered, *unasked, *unfinished],
        }

    expected = equality.reference(decoder, workload, watch) if counted else []
    asked = [*(_promise(decoder, method, workload, expected, samples) for method in methods), *extras]
    for number, one in enumerate(asked, 1):
        try:
            checks += one.ask(watch)
        except (IncompatibleParts, MissingExtra) as error:
            if number <= len(methods):
                raise
            left.append((one.what, str(error)))
        partial(certificate(asked[number:]))
    progress(total, total, "done")
    return certificate()


def _promise(plain: AnyDecoder, method: Method, workload: Workload, expected: list[list[int]], samples: int) -> Extra:
    """What a method itself promises, as a check like the others."""

    def ask(watch: Watch) -> list[dict[str, Any]]:
        if method.promise == "tokens":
            return [equality.check(plain, method, workload, expected, watch)]
        if not isinstance(plain, Autoregressive):
            raise BadInput(f"{method.name} promises a law, and laws are tested of models that speak token by token")
        return [distribution.check(plain, method, workload, samples, watch)]

    return Extra(method.name, 0, ask)


def _refuse(plain: Method, methods: list[Method]) -> None:
    if plain.name != PLAIN:
        raise BadInput(f"methods are compared with plain decoding, and {plain.name} is not")
    for method in methods:
        if method.promise is None:
            raise BadInput(
                f"{method.name} promises neither tokens nor a law, so there is nothing to prove; measure it with bench"
            )


def _settings(workload: Workload, samples: int | None) -> dict[str, Any]:
    return {
        "prompts": len(workload.prompts),
        "max_tokens": workload.max_tokens,
        "batch": workload.batch,
        "seed": workload.seed,
        "ends": sorted(workload.ends),
        "samples": samples,
    }


def _not_covered(
    facts: dict[str, Any],
    counted: list[Method],
    sampled: list[Method],
    workload: Workload,
    skipped: Iterable[tuple[str, str]],
) -> list[str]:
    """Sentences. What a reader could take for proved, and is not."""
    said = [
        "Other machines, dtypes, thread counts and library versions: bits depend on all of them.",
        f"Other prompts, seeds and settings of the sampler; texts beyond {workload.max_tokens} new tokens.",
        f"Batches other than {workload.batch}: method and plain decoding were compared at the same batch.",
        "Whether the model's text is any good.",
    ]
    if counted and not facts.get("exact", False):
        said.append(
            "Equality bit by bit: exact mode was off, so equal tokens are what these prompts showed, no more; each "
            "near-tie is listed with its margin."
        )
    if facts.get("weights") in ROUNDED:
        said.append(
            f"The model before its weights were rounded to {facts['weights']}: methods were compared with plain "
            f"decoding of the same rounded model, and nothing here says how far that is from the other."
        )
    if sampled:
        said.append(
            f"Laws beyond the first two tokens behind at most {distribution.TESTED} prompts, and faults much smaller "
            f"than the planted one."
        )
    return said + [f"{name}, which was left out: {reason}" for name, reason in skipped]

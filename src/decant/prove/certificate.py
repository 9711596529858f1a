"""What was proved, what was not, and enough to run it again."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import PLAIN, Method
from decant.decoders.workload import Workload
from decant.errors import BadInput
from decant.prove import distribution, equality

Progress = Callable[[int, int, str], None]
"""(tokens done, tokens in all at most, what is under way)"""


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
    skipped: Iterable[tuple[str, str]] = (),
    settings: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total, text: None,
    partial: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """One check a method, of what it promises: plain decoding's tokens, or its law. JSON-ready.

    plain:   plain decoding of the same model, in the same mode; both decode at the workload's batch.
    samples: continuations behind each tested prompt, where a law is promised.
    partial: gets the certificate so far after each check, for runs that are interrupted.
    Raises BadInput for a method that promises nothing, and whatever a method refuses.
    """
    if plain.name != PLAIN:
        raise BadInput(f"methods are compared with plain decoding, and {plain.name} is not")
    for method in methods:
        if method.promise is None:
            raise BadInput(
                f"{method.name} promises neither tokens nor a law, so there is nothing to prove; measure it with bench"
            )
    decoder = plain.decoder
    counted = [method for method in methods if method.promise == "tokens"]
    sampled = [method for method in methods if method.promise == "distribution"]
    all_tokens = len(workload.prompts) * workload.max_tokens
    total = all_tokens * (len(counted) + bool(counted)) + distribution.tokens(samples) * len(sampled)
    done = 0

    def watch(text: str, tokens: int) -> None:
        nonlocal done
        done += tokens
        progress(done, total, text)

    checks: list[dict[str, Any]] = []

    def certificate() -> dict[str, Any]:
        return {
            "holds": all(check["holds"] for check in checks) if checks else None,
            "machine": dict(machine or {}),
            "model": target.facts(),
            "settings": {**(settings or {}), **_settings(workload, samples if sampled else None)},
            "checks": list(checks),
            "not_covered": _not_covered(target.facts(), counted, sampled, workload, skipped),
        }

    expected = equality.reference(decoder, workload, watch) if counted else []
    for method in methods:
        if method.promise == "tokens":
            checks.append(equality.check(decoder, method, workload, expected, watch))
        else:
            if not isinstance(decoder, Autoregressive):
                raise BadInput(f"{method.name} promises a law, and laws are tested of models that speak token by token")
            checks.append(distribution.check(decoder, method, workload, samples, watch))
        partial(certificate())
    progress(total, total, "done")
    return certificate()


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
    if sampled:
        said.append(
            f"Laws beyond the first two tokens behind at most {distribution.TESTED} prompts, and faults much smaller "
            f"than the planted one."
        )
    return said + [f"{name}, which was left out: {reason}" for name, reason in skipped]

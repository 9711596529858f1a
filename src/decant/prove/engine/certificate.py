"""The certificate of an engine that speculates, against its twin that does not."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from decant.errors import BadInput
from decant.prove.engine import continuations, greedy
from decant.prove.engine.asking import Pair
from decant.prove.engine.parting import NEAR
from decant.prove.verdicts import judged

DOUBT: Final = 1e-3
"""Chance that each of the two tests refuses a right engine."""

Progress = Callable[[int, int, str], None]
"""(questions answered, questions in all at most, what is under way)"""


@final
@dataclass(frozen=True, slots=True)
class Terms:
    """max_tokens: of a greedy text. samples: continuations behind each of a few prompts; length: tokens of one."""

    max_tokens: int = 128
    samples: int = 480
    length: int = 8
    doubt: float = DOUBT

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.length < 1 or self.samples < 2 * continuations.ROUNDS:
            raise BadInput(
                f"an engine is asked for at least 1 token and {2 * continuations.ROUNDS} samples, got "
                f"{min(self.max_tokens, self.length)} and {self.samples}"
            )


def run(
    pair: Pair,
    terms: Terms,
    model: Mapping[str, Any],
    *,
    settings: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total, text: None,
    partial: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """Greedy texts, then short continuations; JSON-ready, in the shape of `prove.run`.

    model: what is known of both servers. partial: gets the certificate so far after each check.
    Raises BadInput where there is no prompt, and where a server cannot be asked.
    """
    if not pair.prompts:
        raise BadInput("there is no prompt to ask; give at least one")
    number = len(pair.prompts)
    total = greedy.questions(number) + continuations.questions(number, terms.samples)
    done = 0

    def watch(text: str, answers: int) -> None:
        nonlocal done
        done += answers
        progress(done, total, text)

    checks: list[dict[str, Any]] = []

    def certificate() -> dict[str, Any]:
        return {
            "holds": all(check["holds"] for check in checks) if checks else None,
            "machine": dict(machine or {}),
            "model": dict(model),
            "settings": {**(settings or {}), "prompts": number, "seed": pair.seed, **asdict(terms)},
            "checks": [judged(check) for check in checks],
            "not_covered": _not_covered(terms),
        }

    checks.append(greedy.check(pair, terms.max_tokens, terms.doubt, watch))
    partial(certificate())
    checks.append(continuations.check(pair, terms.length, terms.samples, terms.doubt, watch))
    partial(certificate())
    progress(total, total, "done")
    return certificate()


def _not_covered(terms: Terms) -> list[str]:
    return [
        "Whether the twin is right: it is what the engine is held against.",
        "Faults that both have, and what speculation changes on other machines, under other load or in other versions.",
        f"Other prompts; greedy texts beyond {terms.max_tokens} tokens, continuations beyond {terms.length}.",
        "Other settings of the sampler (top-k, top-p, penalties, structured output), log-probabilities, stop strings.",
        f"Steady differences between tokens that the twin itself finds within {NEAR:g} nats: they are listed as "
        f"near-ties.",
        "Faults much smaller than those for which power is stated.",
        "Whether the model's text is any good.",
    ]

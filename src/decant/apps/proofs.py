"""Which checks a certificate holds: by name, as the parts of the product that each of them needs."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from decant.apps.choosing import choose, warps_of
from decant.apps.compose import applicable, plain
from decant.apps.judging import USUAL, judge_of
from decant.apps.sampling import Sampling
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import Method
from decant.errors import BadInput, IncompatibleParts
from decant.prove import company, constrained, distribution, sequences, warping
from decant.prove.certificate import Extra, Watch
from decant.prove.warping import Setting

if TYPE_CHECKING:
    from decant.apps.trial import Trial

CHECKS: Final = {
    "methods": "that each method keeps its promise",
    "batches": "that a request says the same alone and in company",
    "samplers": "that the sampler's settings do what their definitions say",
    "constraints": "that methods keep their promise under a constraint, and that every text obeys it",
}
USUALLY: Final = ("methods", "batches")

TRIED: Final = {
    **{"top_k": 40, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.9, "epsilon_cutoff": 6e-4, "eta_cutoff": 2e-3},
    **{"top_h": 0.4, "top_n_sigma": 1.0, "xtc_probability": 0.5},
}
"""Each alone behind temperature 1, beside what was asked for: usual values."""


def known(names: Iterable[str]) -> tuple[str, ...]:
    """The checks in their usual order. Raises BadInput for one that is not known, and for none."""
    wanted = list(names)
    if strangers := [name for name in wanted if name not in CHECKS]:
        raise BadInput(f"no check is called {strangers[0]!r}; take {', '.join(CHECKS)}, commas between")
    if not wanted:
        raise BadInput(f"--checks names nothing; take {', '.join(CHECKS)}, commas between")
    return tuple(name for name in CHECKS if name in wanted)


def extras(trial: "Trial", methods: list[Method], checks: Sequence[str], samples: int) -> list[Extra]:
    """What is asked beside the methods' own promises."""
    found: list[Extra] = []
    if "methods" in checks:
        found += [_sequences(trial, one, samples) for one in methods if one.promise == "distribution"]
    if "batches" in checks:
        followed = [one for one in methods if one.promise == "tokens"]
        found += [_company(trial, one) for one in (trial.plain, *followed)]
    if "samplers" in checks:
        found += [_settings(trial), _draws(trial, samples)]
    if "constraints" in checks:
        found += [_constraints(trial, [one.name for one in methods], samples)]
    return found


def unasked(checks: Sequence[str], methods: Sequence[Method]) -> list[str]:
    """Sentences for what nobody asked for, and for what a check leaves out."""
    said = [f"What --checks {name} looks at: {what}." for name, what in CHECKS.items() if name not in checks]
    if "batches" in checks and (drawn := [one.name for one in methods if one.promise == "distribution"]):
        said.append(f"Whether a request of {', '.join(drawn)} says the same in company: a law is promised, not a text.")
    if "samplers" in checks:
        said.append("Settings that look at the text (penalties, DRY, mirostat, logit_bias, bad_words): no definition.")
    return said


def _sequences(trial: "Trial", method: Method, samples: int) -> Extra:
    def ask(watch: Watch) -> list[dict[str, Any]]:
        decoder = _speaking(trial, "the law of whole continuations")
        return [sequences.check(decoder, method, trial.workload, samples, watch)]

    return Extra(f"{method.name}, over whole continuations", sequences.tokens(samples), ask)


def _company(trial: "Trial", method: Method) -> Extra:
    def ask(watch: Watch) -> list[dict[str, Any]]:
        return [company.check(trial.plain.decoder, method, trial.workload, watch)]

    return Extra(f"{method.name}, alone and in company", company.tokens(trial.workload), ask)


def _settings(trial: "Trial") -> Extra:
    def ask(watch: Watch) -> list[dict[str, Any]]:
        decoder = _speaking(trial, "the samplers' settings")
        alone = [Sampling(temperature=1.0, **{name: value}) for name, value in TRIED.items()]
        asked = [trial.sampling] if not trial.sampling.mirostat else []
        return [warping.check(decoder, [_chain(one) for one in (*asked, *alone)], trial.workload)]

    return Extra("the samplers' settings", 0, ask)


def _draws(trial: "Trial", samples: int) -> Extra:
    """Plain decoding itself against the law of its settings."""

    def ask(watch: Watch) -> list[dict[str, Any]]:
        decoder = _speaking(trial, "plain decoding's draws")
        found = distribution.check(decoder, trial.plain, trial.workload, samples, watch)
        return [{**found, "name": "samplers: plain decoding draws from the law of its settings"}]

    return Extra("plain decoding's draws", distribution.tokens(samples), ask)


def _chain(sampling: Sampling) -> list[Setting]:
    settled = sampling.settled({})
    beside = {"xtc_probability": settled.how("xtc_threshold")}
    return [
        Setting(name, getattr(settled, name) or 0.0, warp, beside.get(name, 0.0)) for name, warp in warps_of(settled)
    ]


def _constraints(trial: "Trial", names: list[str], samples: int) -> Extra:
    def ask(watch: Watch) -> list[dict[str, Any]]:
        target, asked = trial.target, trial.question
        if target.masked is not None:
            raise IncompatibleParts(f"{target.name} fills in masks, and the constraints of prove are for spoken text")
        description = trial.description or USUAL
        guide = trial.chosen.guide
        bare = trial.chosen.sampling
        free, held = (
            choose(bare, target, {**target.defaults, "do_sample": False}, constraint=one, guide=guide)
            for one in (None, description)
        )
        methods, _ = applicable(
            names, target, trial.draft, held.warp,
            constraint=held.constraint, guide=guide, verifier=asked.verifier, policy=asked.policy,
        )  # fmt: skip
        loose, bound = (plain(target, one.warp, one.constraint, guide) for one in (free, held))
        entries = constrained.check(
            loose.decoder, bound, methods, trial.workload, judge_of(description, target), samples, watch
        )
        return [{**entry, "constraint": str(description)} for entry in entries]

    methods = [one for one in trial.methods if one.name in names]
    return Extra("constraints", constrained.tokens(methods, trial.workload, samples), ask)


def _speaking(trial: "Trial", what: str) -> Autoregressive[Any]:
    decoder = trial.plain.decoder
    if not isinstance(decoder, Autoregressive):
        raise IncompatibleParts(f"{what}: {trial.target.name} fills in masks, and has no law of the next token")
    return decoder

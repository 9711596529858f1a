"""From a name to a method with its parts in place."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import torch

from decant.apps.catalog import (
    DECODERS,
    DRAFTERS,
    FOLDERS,
    METHODS,
    NEEDS_TREES,
    POLICIES,
    VERIFIERS,
    WIRED,
    Part,
    Recipe,
    knobs_for,
    pick,
)
from decant.apps.filling import PLAIN, filled, refuse_strangers
from decant.apps.guidance import Guide, led
from decant.apps.knobs import Kinds, Spec, build, knobs_of, settled, split
from decant.apps.wiring import Wiring, wired
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import Method, Promise
from decant.decoders.saying import Logprobs
from decant.decoders.speculative import Speculative
from decant.errors import BadInput, DecantError, IncompatibleParts
from decant.models.load import Loaded
from decant.protocols import Constraint, Drafter, Policy, Riders, Verifier, Warp

UNCONSTRAINED: Final = Unconstrained()


def plain(
    target: Loaded, warp: Warp, constraint: Constraint[Any] = UNCONSTRAINED, guide: Guide | None = None
) -> Method:
    """Plain decoding, against which every method is measured."""
    if target.masked is not None:
        return compose("plain", target, None, warp, constraint=constraint, guide=guide)
    return Method("plain", Autoregressive(led(target, guide).model, warp, constraint), "tokens")


def compose(
    spec: str,
    target: Loaded,
    draft: Loaded | None,
    warp: Warp,
    *,
    constraint: Constraint[Any] = UNCONSTRAINED,
    guide: Guide | None = None,
    verifier: str | None = None,
    policy: str | None = None,
) -> Method:
    """The method `spec`, which is `name` or `name:knob=value:...`; knobs are the drafter's or its policy's.

    target: bare; what leads it is `guide`.
    Raises UnknownMethod, BadInput for a knob, IncompatibleParts for parts that can never work together.
    """
    wanted = split(spec)
    recipe = pick(METHODS, wanted.name, "method")
    refuse_strangers(recipe, target)
    judged = verifier or recipe.verifier
    judge: Verifier = _part(VERIFIERS, judged, "verifier")
    wiring = Wiring(recipe, target, draft, judge, warp, constraint, guide)
    if target.masked is not None:
        return filled(wanted, recipe, wiring, spec)
    if recipe.drafter is None and recipe.decoder is None:
        build(wanted, lambda: None, {})
        return plain(target, warp, constraint, guide)
    certain = _certain(warp, target.model.vocab)
    promised, knobs = promise(judge, certain), {} if judge.exact else settled(judge, knobs_of(type(judge)))
    if recipe.decoder is not None:
        loop = pick(DECODERS, recipe.decoder, "decoder").get()
        decoder = _wired(wanted, loop, knobs_for(recipe)[0], wiring)
        if "verifier" in wired(loop):
            return Method(spec, decoder, promised, knobs, judge.seeded or certain)
        knobs = settled(decoder, knobs_of(loop, dict.fromkeys(WIRED)))
        return Method(spec, decoder, None, knobs, getattr(loop, "seeded", True) or certain)
    guided = led(target, guide)
    _refuse(recipe, guided, judge, judged)
    assert recipe.drafter is not None
    pace = split(policy or recipe.policy)
    guesser, pacer = pick(DRAFTERS, recipe.drafter, "drafter").get(), pick(POLICIES, pace.name, "policy").get()
    drafter_knobs, policy_knobs = knobs_for(recipe, policy)
    mine, his = wanted.parted(drafter_knobs, policy_knobs)
    drafter: Drafter[Any] = _wired(mine, guesser, drafter_knobs, wiring)
    pacing: Policy[Any] = build(pace.joined(his), pacer, policy_knobs, replace(wiring, guesser=drafter).given(pacer))
    # Guesses that ride in the pass that verifies need a target that knows them.
    head = getattr(drafter, "head", None)
    if isinstance(head, Riders) and guide is not None:
        guide.refuse(recipe.name, "sends guesses of its own through the target's pass")
    model = head.dressed(target.model) if isinstance(head, Riders) else guided.model
    decoder = Speculative(model, drafter, judge, pacing, warp, constraint)
    return Method(spec, decoder, promised, knobs, judge.seeded or certain)


def telling(method: Method, wanted: Logprobs | None, vocab: int) -> Method:
    """The method with log-probabilities in its steps. Raises BadInput, IncompatibleParts for one that tells none."""
    if wanted is None:
        return method
    if wanted.top > vocab:
        raise BadInput(f"logprobs {wanted.top} are more than there are tokens; the model knows {vocab}")
    if not isinstance(method.decoder, Autoregressive | Speculative):
        raise IncompatibleParts(
            f"{method.name} decodes in a loop of its own, which tells no log-probabilities; leave logprobs out, or "
            f"take plain or another method of `decant methods` that drafts"
        )
    return replace(method, decoder=replace(method.decoder, logprobs=wanted))


def applicable(
    names: Iterable[str] | str,
    target: Loaded,
    draft: Loaded | None,
    warp: Warp,
    *,
    constraint: Constraint[Any] = UNCONSTRAINED,
    guide: Guide | None = None,
    verifier: str | None = None,
    policy: str | None = None,
) -> tuple[list[Method], list[tuple[str, str]]]:
    """Methods to compare, plain left out, and (name, reason) of those that cannot run here.

    names: "all" is every row of the table, and what it cannot run is skipped; a name that was asked for is refused.
    """

    def made(name: str) -> Method:
        return compose(name, target, draft, warp, constraint=constraint, guide=guide, verifier=verifier, policy=policy)

    if names != "all":
        return [made(name) for name in names if split(name).name != "plain"], []
    methods: list[Method] = []
    skipped: list[tuple[str, str]] = []
    for name, recipe in METHODS.items():
        if name == "plain" or recipe.paints or recipe.fills != (target.masked is not None):
            continue
        try:
            methods.append(made(name))
        except DecantError as error:
            skipped.append((name, str(error)))
    return methods, skipped


def promise(verifier: Verifier, certain: bool) -> Promise | None:
    """Tokens where the verifier follows the seed, or where the warped target leaves nothing to chance."""
    if not verifier.exact:
        return None
    return "tokens" if verifier.seeded or certain else "distribution"


def default_method(target: Loaded, draft: Loaded | None) -> str:
    """What `generate` decodes with: the draft model if there is one; models that fill in masks, plainly."""
    if target.masked is not None:
        return PLAIN
    return "prompt-lookup" if draft is None else "draft-model"


def _part(table: Mapping[str, Part], spec: str, role: str) -> Any:
    wanted = split(spec)
    made = pick(table, wanted.name, role).get()
    return build(wanted, made, knobs_of(made))


def _wired(spec: Spec, made: Any, kinds: Kinds, wiring: Wiring) -> Any:
    """Knobs as they were set, all else by name; a knob may say which folder such a field is read from."""
    folders, knobs = spec.parted({knob: str for knob, field in FOLDERS.items() if field in wired(made)}, kinds)
    return build(knobs, made, kinds, wiring.given(made, folders.knobs))


def _refuse(recipe: Recipe, target: Loaded, judge: Verifier, verifier: str) -> None:
    """Raise for what can be known to fail before a token is drafted."""
    if recipe.needs == NEEDS_TREES:
        if not target.model.trees:
            raise IncompatibleParts(
                f"{recipe.name} drafts trees, but {target.name} cannot score one; take a drafter of chains "
                f"(prompt-lookup, draft-model)"
            )
        if not judge.trees:
            raise IncompatibleParts(
                f"{recipe.name} drafts trees, but {verifier} verifies chains; take the verifier coupled"
            )


def _certain(warp: Warp, vocab: int) -> bool:
    """Whether `warp` leaves one token even of a flat row, the hardest case for every cut."""
    return int((warp(torch.zeros(1, vocab)) > -math.inf).sum()) == 1

"""From the settings of a sampler to what is done to logits: constraints first, then warps, in one order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from decant.apps.guidance import Guide
from decant.apps.inherited import SHIPPED_TOP, Inherited, biased, suppressed, unhonoured
from decant.apps.sampling import BESIDE, CUTS, NAMES, THEIRS, XTC, Origin, Sampling
from decant.constraints.bad_words import BadWords
from decant.constraints.dry import DRY
from decant.constraints.frequency_penalty import FrequencyPenalty
from decant.constraints.grammar import Choice, Description, Json, Regex
from decant.constraints.logit_bias import LogitBias
from decant.constraints.mirostat import Mirostat
from decant.constraints.no_repeat_ngram import NoRepeatNGram
from decant.constraints.presence_penalty import PresencePenalty
from decant.constraints.repetition_penalty import RepetitionPenalty
from decant.constraints.several import Several
from decant.constraints.unconstrained import Unconstrained
from decant.errors import BadInput
from decant.models.load import Loaded
from decant.models.speller import Speller
from decant.protocols import Constraint, Warp
from decant.samplers.chain import chain
from decant.samplers.epsilon import epsilon
from decant.samplers.eta import eta
from decant.samplers.greedy import greedy
from decant.samplers.min_p import min_p
from decant.samplers.temperature import temperature
from decant.samplers.top_h import top_h
from decant.samplers.top_k import top_k
from decant.samplers.top_n_sigma import top_n_sigma
from decant.samplers.top_p import top_p
from decant.samplers.typical import typical
from decant.samplers.xtc import xtc
from decant.vocab.matching import demanded

BREAKERS: Final = ("\n", ":", '"', "*")  # over which DRY sees no repetition; llama.cpp's

Steps = list[tuple[str, Any]]
"""(setting, what it does), in the order in which they act."""


@final
@dataclass(frozen=True, slots=True)
class Applied:
    """One thing done to logits. name: the setting's, else the part's; origin: where its value comes from."""

    name: str
    value: Any
    origin: Origin


@final
@dataclass(frozen=True, slots=True)
class Chosen:
    """What is done to logits, of one target.

    sampling: the settings, all settled.
    applied:  in the order in which it is done.
    unused:   (name, value, why not) of settings that were there and do nothing.
    given:    for reports: what stands in place of settings, and what may come next, in the caller's words.
    guide:    what leads the target; None: nothing does.
    """

    sampling: Sampling
    warp: Warp
    constraint: Constraint[Any]
    applied: tuple[Applied, ...] = ()
    unused: tuple[tuple[str, Any, str], ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    guide: Guide | None = None

    def facts(self) -> dict[str, Any]:
        """For reports, and to tell one run from another."""
        return {**self.sampling.facts(), **self.given}


def choose(
    asked: Sampling,
    target: Loaded,
    defaults: Mapping[str, Any],
    *,
    warps: Sequence[Warp] | None = None,
    constraint: Constraint[Any] | Description | None = None,
    guide: Guide | None = None,
) -> Chosen:
    """What was asked for; the rest from `defaults`, a generation config.

    warps:      in place of temperature and cuts, the first acts first.
    constraint: what may come next; it acts first, so that no-repeat-ngram and bad-words see what it leaves.
    guide:      what leads the target: it acts before all else.
    Raises BadInput where settings and warps name the same thing twice.
    """
    if warps is not None:
        if twice := [name for name in ("temperature", *CUTS, *XTC, "mirostat") if getattr(asked, name) is not None]:
            raise BadInput(f"sampler stands in place of {' and '.join(twice)}; give one or the other")
        defaults = {**defaults, "do_sample": False}
    settled = asked.settled(defaults)
    first, last = biased(defaults), suppressed(defaults, target.model.vocab)
    parts = [
        *(*_given(constraint, target), *_named(first), *history_of(settled, target)),
        *(*_named(last), *mirostat_of(settled)),
    ]
    shipped = asked.origin("top_h", defaults) == "generation_config.json"
    steps = warps_of(settled, shipped) if warps is None else [(_name(warp), warp) for warp in warps]
    leading = [] if guide is None else [Applied(guide.kind, guide.said, "given")]
    theirs = {one.name: one.value for one in (*first, *last)}
    applied = [
        Applied(name, theirs[name], "generation_config.json")
        if name in theirs
        else Applied(name, _value(settled, name), asked.origin(name, defaults) if name in NAMES else "given")
        for name, _ in (*parts, *steps)
    ]
    return Chosen(
        settled,
        chain(*(warp for _, warp in steps)),
        _as_one([part for _, part in parts]),
        (*leading, *applied),
        tuple(_unused(asked, settled, defaults, {one.name for one in applied}, warps is not None)),
        {
            **({} if warps is None else {"temperature": None, "sampler": [name for name, _ in steps]}),
            **({} if constraint is None else {"constraint": repr(constraint)}),
            **{name: str(value) for name, value in theirs.items()},
            **({"top_h_shipped_top": SHIPPED_TOP} if shipped else {}),
            **({} if guide is None else guide.facts()),
        },
        guide,
    )


def warps_of(sampling: Sampling, shipped: bool = False) -> Steps:
    """In the order of transformers: temperature, top_h, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff.

    top_n_sigma stands behind temperature, which it does not depend on: it measures the whole row, before anything is
    cut. xtc_probability stands last: its coin decides on what the cuts left. Temperature 0, and none, are greedy;
    beside mirostat, which brings temperature and cut, there are none.

    shipped: top_h by the rule of transformers, which a model's own setting is meant for; else by the paper's.
    """
    if sampling.mirostat:
        return []
    if not sampling.temperature:
        return [("temperature", greedy())]
    makers = {
        "top_n_sigma": top_n_sigma,
        "top_h": lambda share: top_h(share, SHIPPED_TOP if shipped else None),
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "typical_p": typical,
        "epsilon_cutoff": epsilon,
        "eta_cutoff": eta,
        "xtc_probability": lambda probability: xtc(probability, sampling.how("xtc_threshold")),
    }
    cuts = [(name, made(getattr(sampling, name))) for name, made in makers.items() if sampling.acts(name)]
    return [("temperature", temperature(sampling.temperature)), *cuts]


def warp_of(sampling: Sampling) -> Warp:
    """What the settings do to logits without regard to what was said."""
    return chain(*(warp for _, warp in warps_of(sampling)))


def history_of(sampling: Sampling, target: Loaded) -> Steps:
    """In the order of transformers: logit_bias, repetition_penalty, no_repeat_ngram_size, bad_words.

    The other penalties, which it lacks, stand behind repetition_penalty, in the order of llama.cpp: presence_penalty,
    frequency_penalty, dry_multiplier. Raises BadInput for ids that the target does not have.
    """
    makers = {
        "logit_bias": lambda bias: LogitBias(tuple(_known(bias, target).items())),
        "repetition_penalty": RepetitionPenalty,
        "presence_penalty": PresencePenalty,
        "frequency_penalty": FrequencyPenalty,
        "dry_multiplier": lambda multiplier: DRY(
            multiplier, sampling.how("dry_base"), sampling.how("dry_allowed_length"), _breakers(target)
        ),
        "no_repeat_ngram_size": NoRepeatNGram,
        "bad_words": lambda words: BadWords(_spelt(words, target)),
    }
    return [(name, made(getattr(sampling, name))) for name, made in makers.items() if sampling.acts(name)]


def mirostat_of(sampling: Sampling) -> Steps:
    """Last of all: it measures the law that is drawn from."""
    if not sampling.mirostat:
        return []
    tau, eta_ = sampling.how("mirostat_tau"), sampling.how("mirostat_eta")
    return [("mirostat", Mirostat(tau, eta_, sampling.mirostat, sampling.temperature or 1.0))]


def refuse_stops(constraint: Constraint[Any] | Description | None, stops: Sequence[str]) -> None:
    """Raises BadInput where a stop string would surely cut what the constraint demands."""
    for stop in stops:
        if isinstance(constraint, Choice) and (cut := [one for one in constraint.strings if stop in one]):
            raise BadInput(f"the stop string {stop!r} cuts the choice {cut[0]!r}; leave one of them out")
        if isinstance(constraint, Regex) and demanded(constraint.pattern, stop):
            raise BadInput(f"the stop string {stop!r} is part of all text of {constraint}; leave one of them out")
        if isinstance(constraint, Json) and stop in _marks(json.loads(constraint.text)):
            raise BadInput(f"the stop string {stop!r} is part of all JSON of this schema; leave it out")


def refuse_history(chosen: Chosen) -> None:
    """Raises BadInput for what looks at the text: the acceptance bound is one of laws, position by position."""
    if not isinstance(chosen.constraint, Unconstrained):
        first = chosen.applied[0 if chosen.guide is None else 1]
        raise BadInput(f"--acceptance-bound judges verifiers on laws without a history; leave out {first.name}")


def _marks(schema: Any) -> tuple[str, ...]:
    """Characters that all JSON of a schema holds, as far as its type says."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind == "object":
        return ("{", "}", '"', ":") if schema.get("required") else ("{", "}")
    return {"array": ("[", "]"), "string": ('"',)}.get(str(kind), ())


def _given(constraint: Any, target: Loaded) -> Steps:
    """A constraint as it is; a description bound to the target's tokenizer."""
    if constraint is None:
        return []
    if hasattr(constraint, "adjust"):
        return [(type(constraint).__name__, constraint)]
    from decant.apps.constraining import bound

    return [(str(constraint), bound(constraint, target))]


def _named(parts: list[Inherited]) -> Steps:
    return [(one.name, one.part) for one in parts]


def _as_one(parts: list[Constraint[Any]]) -> Constraint[Any]:
    if not parts:
        return Unconstrained()
    return parts[0] if len(parts) == 1 else Several(tuple(parts))


def _value(sampling: Sampling, name: str) -> Any:
    """A setting's, with those that say how."""
    beside = [f"{one} {sampling.how(one)}" for one, whole in BESIDE.items() if whole == name]
    beside += [f"temperature {sampling.temperature}"] if name == "mirostat" else []
    value = getattr(sampling, name, "")
    return f"{value} with {', '.join(beside)}" if beside else value


def _name(warp: Warp) -> str:
    """`top_k.<locals>.warp` is of top_k."""
    return getattr(warp, "__qualname__", type(warp).__name__).split(".")[0]


def _known(bias: Mapping[int, float], target: Loaded) -> Mapping[int, float]:
    if strangers := [token for token in bias if not 0 <= token < target.model.vocab]:
        raise BadInput(
            f"logit_bias names token {strangers[0]}, but the ids of {target.name} are 0 to {target.model.vocab - 1}"
        )
    return bias


def _spelt(words: Sequence[str | Sequence[int]], target: Loaded) -> tuple[tuple[int, ...], ...]:
    """Each text as it is spelt at the start of a line and behind a space."""
    found = [tuple(word) for word in words if not isinstance(word, str)]
    for word in words:
        if isinstance(word, str):
            found += [tuple(_speller(target).inner(text)) for text in (word, f" {word.lstrip()}")]
    return tuple(dict.fromkeys(found))


def _breakers(target: Loaded) -> tuple[int, ...]:
    """The id that each ends with behind a letter; it may be spelt together with others, which then do not count."""
    return tuple(dict.fromkeys(_speller(target).inner(f"a{text}")[-1] for text in BREAKERS))


def _speller(target: Loaded) -> Speller:
    if target.tokenizer is None:
        raise BadInput(f"{target.name} has no tokenizer files; give bad_words as ids, and leave dry_multiplier out")
    return Speller(target.name, target.tokenizer)


def _unused(
    asked: Sampling, settled: Sampling, defaults: Mapping[str, Any], applied: set[str], warps: bool
) -> list[tuple[str, Any, str]]:
    """Settings that were there and do nothing, and why. warps: whether these stand in place of settings."""
    idle = [name for name in (*CUTS, XTC[0]) if settled.acts(name) and name not in applied]
    found = [(name, getattr(settled, name), "temperature 0 leaves nothing to cut") for name in idle]
    for name in NAMES:
        value = defaults.get(THEIRS.get(name, name))
        if value is None or asked.origin(name, defaults) == "generation_config.json":
            continue
        overridden = getattr(asked, name) is not None
        replaced = "the model does not say do_sample"
        if asked.mirostat or warps:
            replaced = f"{'sampler' if warps else 'mirostat'} stands in its place"
        found.append((f"{name} of generation_config.json", value, "overridden" if overridden else replaced))
    return [*found, *unhonoured(defaults)]

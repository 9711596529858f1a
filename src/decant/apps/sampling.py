"""Settings of the sampler: what the user gave, else what the model's generation_config.json says."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, final

from decant.errors import BadInput

Origin = Literal["given", "generation_config.json", "default"]

CUTS: Final = ("top_k", "top_p", "min_p", "typical_p", "eta_cutoff", "epsilon_cutoff", "top_h", "top_n_sigma")
XTC: Final = ("xtc_probability", "xtc_threshold")
HISTORY: Final = (
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "no_repeat_ngram_size"),
    *("dry_multiplier", "dry_base", "dry_allowed_length", "logit_bias", "bad_words"),
)
MIROSTAT: Final = ("mirostat", "mirostat_tau", "mirostat_eta")

BESIDE: Final = {
    **dict.fromkeys(XTC[1:], "xtc_probability"),
    **dict.fromkeys(("dry_base", "dry_allowed_length"), "dry_multiplier"),
    **dict.fromkeys(MIROSTAT[1:], "mirostat"),
}
"""Settings that say how, by the setting that says whether."""

FALLBACK: Final = {
    **{"xtc_threshold": 0.1, "dry_base": 1.75, "dry_allowed_length": 2},
    **{"mirostat_tau": 5.0, "mirostat_eta": 0.1},
}
"""How, where it was not said: as llama.cpp has it."""

THEIRS: Final = {"bad_words": "bad_words_ids"}
"""Settings that generation_config.json calls by another name."""

FULL: Final = ("top_p", "typical_p", "repetition_penalty")
"""Settings that change nothing at 1; all others do so at 0."""

COLLECTED: Final = ("logit_bias", "bad_words")
"""Settings that are several values."""

RANGES: Final[dict[str, tuple[Callable[[Any], bool], str, str]]] = {
    "temperature": (lambda x: x >= 0, "is 0 (greedy) or more", "1 samples from the model as it is"),
    "top_k": (lambda x: x >= 0, "is 0 (keep all tokens) or more", ""),
    "top_p": (lambda x: 0 < x <= 1, "lies in (0, 1]", "1 keeps every token"),
    "min_p": (lambda x: 0 <= x <= 1, "lies in [0, 1]", "0 keeps every token"),
    "typical_p": (lambda x: 0 < x <= 1, "lies in (0, 1]", "1 keeps every token"),
    "eta_cutoff": (lambda x: 0 <= x < 1, "lies in [0, 1)", "0 keeps every token"),
    "epsilon_cutoff": (lambda x: 0 <= x < 1, "lies in [0, 1)", "0 keeps every token"),
    "top_h": (lambda x: 0 < x <= 1, "lies in (0, 1]", "leave it out to keep every token"),
    "top_n_sigma": (lambda x: x >= 0, "is 0 (keep all tokens) or more", ""),
    "xtc_probability": (lambda x: 0 <= x <= 1, "lies in [0, 1]", "0 never excludes"),
    "xtc_threshold": (lambda x: 0 < x <= 1, "lies in (0, 1]", "from 0.5 on it excludes nothing"),
    "repetition_penalty": (lambda x: x > 0, "is more than 0", "1 changes nothing, more makes repeats rarer"),
    "presence_penalty": (lambda x: -2 <= x <= 2, "lies in [-2, 2]", "0 changes nothing"),
    "frequency_penalty": (lambda x: -2 <= x <= 2, "lies in [-2, 2]", "0 changes nothing"),
    "no_repeat_ngram_size": (lambda x: x >= 0, "is 0 (any may come again) or more", ""),
    "dry_multiplier": (lambda x: x >= 0, "is 0 (off) or more", ""),
    "dry_base": (lambda x: x >= 1, "is 1 or more", "1.75 is usual"),
    "dry_allowed_length": (lambda x: 1 <= x <= 50, "lies in [1, 50]", "2 is usual"),
    "mirostat": (lambda x: x in (0, 1, 2), "is 0 (off), 1 or 2", ""),
    "mirostat_tau": (lambda x: x > 0, "is more than 0 bits", "5 is usual"),
    "mirostat_eta": (lambda x: x > 0, "is more than 0", "0.1 is usual"),
}


@final
@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of the sampler under their usual names; None is "not given", and "does nothing" once `settled`.

    temperature: 0 is greedy.
    top_k:       0 keeps all tokens.
    mirostat:    1 or 2, its version, in place of every cut; its tau is in bits.
    logit_bias:  nats to add, by id.
    bad_words:   texts, or sequences of ids, that are never said.

    Raises BadInput for values out of range, and for settings that cannot go together.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    eta_cutoff: float | None = None
    epsilon_cutoff: float | None = None
    top_h: float | None = None
    top_n_sigma: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    logit_bias: Mapping[int, float] | None = None
    bad_words: Sequence[str | Sequence[int]] | None = None

    def __post_init__(self) -> None:
        for name, (holds, where, remedy) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and holds(value)):
                raise BadInput(f"{name} {where}, got {value}{'; ' * bool(remedy)}{remedy}")
        for name, whole in BESIDE.items():
            if getattr(self, name) is not None and getattr(self, whole) is None:
                raise BadInput(f"{name} goes with {whole}, which was not given; give both or neither")
        for token, bias in (self.logit_bias or {}).items():
            if not -100 <= bias <= 100:
                raise BadInput(f"logit_bias lies in [-100, 100], got {bias} for token {token}; 0 changes nothing")
        if any(not (word.strip() if isinstance(word, str) else word) for word in self.bad_words or ()):
            raise BadInput("one of bad_words is empty, which would forbid everything; leave it out")
        if self.mirostat:
            self._refuse_beside_mirostat()

    def acts(self, name: str) -> bool:
        """Whether a setting is there and changes something."""
        value = getattr(self, name)
        if value is None or name in COLLECTED:
            return bool(value)
        return value != (1 if name in FULL else 0)

    def how(self, name: str) -> Any:
        """The value of a setting that goes with another, its usual one where it was not given."""
        value = getattr(self, name)
        return FALLBACK[name] if value is None else value

    def settled(self, defaults: Mapping[str, Any]) -> "Sampling":
        """What was given; the rest from `defaults`, a generation config. Its temperature and cuts count only where it
        samples, and its cuts not beside mirostat, which takes their place.

        A setting of the sampler without a temperature asks for sampling: at temperature 1.
        """
        theirs = self._theirs(defaults)
        try:
            Sampling(**theirs)
        except BadInput as error:
            raise BadInput(f"the model's generation_config.json is wrong: {error}; give another value") from None
        found = {name: _first(getattr(self, name), theirs.get(name)) for name in NAMES}
        asked = any(getattr(self, name) is not None for name in (*CUTS, *XTC)) or bool(self.mirostat)
        fallback = 1.0 if asked or defaults.get("do_sample") else 0.0
        return Sampling(**{**found, "temperature": _first(found["temperature"], fallback)})

    def origin(self, name: str, defaults: Mapping[str, Any]) -> Origin:
        """Where a setting is from, once settled with `defaults`."""
        if getattr(self, name) is not None:
            return "given"
        return "generation_config.json" if name in self._theirs(defaults) else "default"

    def _theirs(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """What of a generation config counts beside these settings, where they leave it open."""
        cuts = () if self.mirostat else CUTS
        counts = (*HISTORY, *(("temperature", *cuts) if defaults.get("do_sample") else ()))
        open_still = [name for name in counts if getattr(self, name) is None]
        found = {name: defaults.get(THEIRS.get(name, name)) for name in open_still}
        return {name: value for name, value in found.items() if value is not None}

    def facts(self) -> dict[str, Any]:
        """For reports: the four that everybody knows, and the others that were given."""
        known = {"temperature": self.temperature or 0.0, "top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        others = {name: getattr(self, name) for name in NAMES if name not in known}
        return known | {name: _written(value) for name, value in others.items() if value is not None}

    def _refuse_beside_mirostat(self) -> None:
        if self.temperature == 0:
            raise BadInput(
                f"mirostat {self.mirostat} draws, but temperature 0 is greedy; give another temperature or none"
            )
        if cuts := [name for name in (*CUTS, "xtc_probability") if self.acts(name)]:
            raise BadInput(
                f"mirostat {self.mirostat} decides by itself how many tokens stay; leave out {' and '.join(cuts)}"
            )


NAMES: Final = tuple(one.name for one in fields(Sampling))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _written(value: Any) -> Any:
    """JSON has no keys but texts."""
    if isinstance(value, Mapping):
        return {str(key): bias for key, bias in value.items()}
    return list(value) if isinstance(value, tuple) else value

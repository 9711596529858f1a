"""The options that choose tokens: one list of them for every verb, which gets them as one argument `flags`."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, final, get_type_hints

import typer

from decant.apps.catalog import METHODS
from decant.apps.cli import options
from decant.apps.cli.output import note
from decant.apps.knobs import split
from decant.apps.sampling import NAMES, Sampling
from decant.errors import BadInput

if TYPE_CHECKING:
    from decant.apps.guidance import Guidance
    from decant.apps.session import Session
    from decant.constraints.grammar import Description

ORIGINS: Final = {"given": "command line", "generation_config.json": "generation_config.json", "default": "default"}


def _option(help_: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help_, metavar=metavar)


@final
@dataclass(frozen=True, slots=True)
class Flags:
    """What may be said of how tokens are chosen, beside the temperature; each field is an option."""

    top_k: options.TopK = None
    top_p: options.TopP = None
    min_p: options.MinP = None
    typical_p: Annotated[float | None, _option("Only tokens about as surprising as the law lets expect.")] = None
    eta_cutoff: Annotated[float | None, _option("Only tokens of this probability; of less in a flat law.")] = None
    epsilon_cutoff: Annotated[float | None, _option("Only tokens of this probability.")] = None
    top_h: Annotated[float | None, _option("The likeliest tokens with this share of the law's entropy.")] = None
    top_n_sigma: Annotated[float | None, _option("Only logits so many deviations from the largest.")] = None
    xtc_probability: Annotated[float | None, _option("How often all likely tokens but the last go.")] = None
    xtc_threshold: Annotated[float | None, _option("With --xtc-probability: likely begins here (0.1).")] = None
    repetition_penalty: Annotated[float | None, _option("Above 1: what was said comes less often.")] = None
    presence_penalty: Annotated[float | None, _option("Nats off what the answer has said.")] = None
    frequency_penalty: Annotated[float | None, _option("Nats off for each time the answer has said it.")] = None
    no_repeat_ngram_size: Annotated[int | None, _option("No run of so many tokens twice.")] = None
    dry_multiplier: Annotated[float | None, _option("Nats off what lengthens a repetition (DRY).")] = None
    dry_base: Annotated[float | None, _option("With --dry-multiplier: dearer by this each token (1.75).")] = None
    dry_allowed_length: Annotated[int | None, _option("With --dry-multiplier: free up to here (2).")] = None
    mirostat: Annotated[int | None, _option("1 or 2: keep the surprise at --mirostat-tau, without cuts.")] = None
    mirostat_tau: Annotated[float | None, _option("With --mirostat: bits a token (5).")] = None
    mirostat_eta: Annotated[float | None, _option("With --mirostat: how fast it corrects (0.1).")] = None
    logit_bias: Annotated[list[str] | None, _option("Nats to add to a token; repeatable.", "ID=BIAS")] = None
    bad_words: Annotated[list[str] | None, _option("A text that is never said; repeatable.", "TEXT")] = None
    json_schema: Annotated[Path | None, _option("The text is JSON that follows this schema.", "FILE")] = None
    json_compact: Annotated[
        bool, typer.Option("--json-compact", help="With --json-schema: no white space, which else may go on and on.")
    ] = False
    regex: Annotated[str | None, _option("The whole text matches this regular expression.")] = None
    grammar: Annotated[Path | None, _option("The text follows from this Lark grammar.", "FILE")] = None
    choice: Annotated[list[str] | None, _option("The text is this, or another --choice.", "TEXT")] = None
    guidance: Annotated[float | None, _option("Weight of what the prompt adds; 1 changes nothing (try 1.5).")] = None
    negative_prompt: Annotated[str | None, _option("With --guidance, --contrast: lead away from it.", "TEXT")] = None
    contrast: Annotated[str | None, _option("Be unlike this smaller model of the same tokenizer.", "MODEL")] = None
    contrast_beta: Annotated[float | None, _option("With --contrast: how strongly (0.5).")] = None
    dola: Annotated[Literal["low", "high"] | None, _option("Be unlike this half of the model's own layers.")] = None

    def sampling(self, temperature: float | None) -> Sampling:
        """The settings. Raises BadInput for values out of range."""
        said = {name: getattr(self, name) for name in NAMES if name not in ("temperature", "logit_bias", "bad_words")}
        bias = None if self.logit_bias is None else _biases(self.logit_bias)
        return Sampling(temperature, **said, logit_bias=bias, bad_words=self.bad_words)

    def constraint(self) -> "Description | None":
        """What may come next. Raises BadInput for more than one, and for a file that cannot be read."""
        if self.json_compact and self.json_schema is None:
            raise BadInput("--json-compact goes with --json-schema, which was not given; give both or neither")
        given = {name: getattr(self, name) for name in CONSTRAINTS if getattr(self, name) is not None}
        if len(given) > 1:
            names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise BadInput(f"{names} each say what the whole text is; give one of them")
        if not given:
            return None
        from decant.constraints.grammar import Choice, Json, Lark, Regex

        if self.json_schema is not None:
            return Json(_text("--json-schema", self.json_schema), self.json_compact)
        if self.grammar is not None:
            return Lark(_text("--grammar", self.grammar))
        return Regex(self.regex) if self.regex is not None else Choice(tuple(self.choice or ()))

    def leading(self) -> "Guidance":
        """What leads the text. Raises BadInput for more than one, and for values out of range."""
        from decant.apps.guidance import Guidance

        return Guidance(**{name: getattr(self, name) for name in GUIDANCE})


GUIDANCE: Final = ("guidance", "negative_prompt", "contrast", "contrast_beta", "dola")
CONSTRAINTS: Final = ("json_schema", "regex", "grammar", "choice")
FLAGS: Final = tuple(one.name for one in fields(Flags))


def choosing(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb with every field of `Flags` as an option in place of its argument `flags`."""
    own = inspect.signature(verb).parameters.values()
    kinds = get_type_hints(Flags, include_extras=True)
    options_ = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=kinds[one.name])
        for one in fields(Flags)
    ]
    spread: list[inspect.Parameter] = []
    for parameter in own:
        spread += options_ if parameter.name == "flags" else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]

    @wraps(verb)
    def gathered(**given: Any) -> None:
        flags = Flags(**{name: given.pop(name) for name in FLAGS})
        verb(**given, flags=flags)

    gathered.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    gathered.__annotations__ = {one.name: one.annotation for one in spread}
    return gathered


def tell_choice(session: "Session", given: Mapping[str, str | None], quiet: bool) -> None:
    """On standard error: what is done to logits, in order, where each value comes from, and the parts of the method.

    given: method, verifier and policy, as they were typed.
    """
    chosen, recipe = session.chosen, METHODS[split(session.method.name).name]
    note("what is done to logits, in this order:", quiet)
    for one in chosen.applied if chosen else ():
        note(f"  {one.name}{'' if one.value == '' else f' {one.value}'}  ({ORIGINS[one.origin]})", quiet)
    for name, value, why in chosen.unused if chosen else ():
        note(f"  not {name} {value}: {why}", quiet)
    parts = {"method": session.method.name}
    if recipe.drafter is not None:
        parts |= {"verifier": given["verifier"] or recipe.verifier, "policy": given["policy"] or recipe.policy}
    for role, name in parts.items():
        default = "default" if role == "method" else "the method's own"
        note(f"{role} {name}  ({ORIGINS['given'] if given[role] else default})", quiet)


def _biases(words: list[str]) -> dict[int, float]:
    found: dict[int, float] = {}
    for word in words:
        token, _, bias = word.partition("=")
        try:
            found[int(token)] = float(bias)
        except ValueError:
            raise BadInput(f"--logit-bias {word!r} is not ID=BIAS; give a token's id and nats, as in 42=-5") from None
    return found


def _text(option: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadInput(f"{option} {file} cannot be read: {reason}; give a text file") from None

"""A loaded target whose logits are guided, or contrasted: every method then decodes it as it decodes any other.

Wrap last: what is done to a loaded model itself (exact mode on or off, kept prefixes, costs) is done before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NoReturn, final

from decant.apps.opening import Opening
from decant.errors import BadInput, IncompatibleParts
from decant.models import dola as layers_of
from decant.models.contrasted import contrast
from decant.models.contrasted import contrasted as against
from decant.models.folder import of_images
from decant.models.guided import guidance
from decant.models.guided import guided as under_guidance
from decant.models.loaded import Loaded
from decant.models.other_prompts import Instead, Last, OtherPrompt

Kind = Literal["guidance", "contrast", "dola"]
KINDS: Final[tuple[Kind, ...]] = ("guidance", "contrast", "dola")
BETA: Final = 0.5


@final
@dataclass(frozen=True, slots=True, eq=False)
class Guide:
    """What leads a text, its models loaded.

    kind, value: what was asked for, the value in words. lead: from a bare target to the one that is led.
    beside: for reports, settings that say how.
    """

    kind: Kind
    value: str
    lead: Callable[[Loaded], Loaded]
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The value, with the settings that say how."""
        beside = ", ".join(f"{name} {value!r}" for name, value in self.beside.items())
        return f"{self.value} with {beside}" if beside else self.value

    def facts(self) -> dict[str, Any]:
        """For reports, and to tell one run from another."""
        return {self.kind: self.value, **self.beside}

    def refuse(self, method: str, why: str) -> NoReturn:
        """Raises IncompatibleParts for a method that needs the bare target."""
        raise IncompatibleParts(
            f"{method} {why}, which does not go with {self.kind} {self.value}; take prompt-lookup or another method of "
            f"`decant methods`, or leave {self.kind} out"
        )


@final
@dataclass(frozen=True, slots=True)
class Guidance:
    """What shall lead a text, in the user's words: nothing, or one of three.

    guidance:        weight of what the prompt adds, by classifier-free guidance; 1 changes nothing.
    negative_prompt: beside guidance or contrast: a prompt to lead away from.
    contrast:        an amateur model of the same tokenizer; contrast_beta: how strongly it counts, 0 not at all.
    dola:            the half of the target's layers that it is contrasted with.

    Raises BadInput for more than one, a setting without its kind, and values out of range.
    """

    guidance: float | None = None
    negative_prompt: str | None = None
    contrast: Any = None
    contrast_beta: float | None = None
    dola: layers_of.Bucket | None = None

    def __post_init__(self) -> None:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) > 1:
            raise BadInput(f"{' and '.join(kinds)} each lead the text; give one of them")
        if self.negative_prompt is not None and kinds not in (["guidance"], ["contrast"]):
            raise BadInput("negative_prompt goes with guidance or contrast, and neither was given; give one")
        if self.contrast_beta is not None and self.contrast is None:
            raise BadInput("contrast_beta goes with contrast, which was not given")
        if self.dola not in (None, "low", "high"):
            raise BadInput(f"dola is low or high, the half of the layers to be contrasted with, got {self.dola!r}")
        if self.guidance is not None:
            guidance(self.guidance)
        if self.contrast_beta is not None:
            contrast(beta=self.contrast_beta)

    def opened(self, opening: Opening) -> Guide | None:
        """With its models loaded; None where nothing leads."""
        negative, beside = self.negative_prompt, {}
        if negative is not None:
            beside["negative_prompt"] = negative
        if (weight := self.guidance) is not None:
            return Guide("guidance", f"{weight:g}", lambda target: guided(target, weight, negative), beside)
        if (half := self.dola) is not None:
            return Guide("dola", half, lambda target: dola(target, half))
        if self.contrast is None:
            return None
        amateur = replace(opening, widen_draft=None).draft(self.contrast)
        beta = BETA if self.contrast_beta is None else self.contrast_beta

        def opposed(target: Loaded) -> Loaded:
            # A law is exact only where both its models are.
            beside_it = amateur.exactly(target.model.rows is not None)
            return contrasted(target, beside_it, negative, beta=beta)

        return Guide("contrast", amateur.name, opposed, {**beside, "contrast_beta": beta})


def usual(asked: Guidance, model: Any) -> Guidance:
    """What was asked for; where that is nothing, the guidance under which a model of images draws."""
    weight = of_images(model).get("guidance", 1.0) if isinstance(model, str) else 1.0
    return Guidance(weight) if asked == Guidance() and weight != 1 else asked


def led(target: Loaded, guide: Guide | None) -> Loaded:
    """`target` as methods decode it. Raises BadInput and IncompatibleParts where they do not fit."""
    return target if guide is None else guide.lead(target)


def guided(target: Loaded, weight: float = 1.5, negative: str | None = None, alpha: float = 0.0) -> Loaded:
    """`target` under classifier-free guidance. negative: a prompt to lead away from; None: a prompt's last token alone.

    Raises BadInput for knobs out of range (see `models.guided.guidance`) and a negative prompt that leaves no room.
    """
    return replace(target, model=under_guidance(target.model, weight, _other(target, negative), alpha))


def contrasted(
    target: Loaded,
    amateur: Loaded | None = None,
    negative: str | None = None,
    alpha: float = 0.1,
    beta: float | None = BETA,
    temperature: float = 1.0,
) -> Loaded:
    """`target` against an amateur: a smaller model; or, without one, the target itself behind the negative prompt, or
    behind the prompt's last token alone. A smaller model reads the request's own prompt unless there is a negative one.

    Raises BadInput for knobs out of range (see `models.contrasted.contrast`), IncompatibleParts for an amateur of
    another tokenizer or on another device.
    """
    if amateur is None:
        prompt, model = _other(target, negative), target.model
    else:
        _refuse(target, amateur)
        prompt = None if negative is None else _other(amateur, negative)
        model = replace(amateur.model, vocab=target.model.vocab)
    return replace(target, model=against(target.model, model, alpha, beta, temperature, prompt))


def dola(
    target: Loaded, layers: layers_of.Bucket | Sequence[int] = "high", alpha: float = 0.1, normed: bool = True
) -> Loaded:
    """`target` against its own earlier layers: those of its low or its high half, or those listed.

    Raises BadInput and IncompatibleParts as `models.dola.Dola.of`.
    """
    return replace(target, model=layers_of.Dola.of(target.model, target.name, layers, alpha, normed))


def _other(target: Loaded, negative: str | None) -> OtherPrompt:
    if negative is None:
        # The last id of a model of images asks for no class; the prompt's own is nothing but a class.
        return Instead((target.model.vocab - 1,)) if of_images(target.name) else Last()
    ids = target.encode(negative)
    if len(ids) >= target.model.context:
        raise BadInput(
            f"the negative prompt has {len(ids):,} tokens, but the context of {target.name} holds "
            f"{target.model.context:,}, the answer included; shorten it"
        )
    return Instead(tuple(ids))


def _refuse(target: Loaded, amateur: Loaded) -> None:
    if not target.same_tokenizer(amateur):
        raise IncompatibleParts(
            f"the tokenizers of {target.name} and {amateur.name} differ, so that their logits cannot be compared; take "
            f"an amateur of the same tokenizer"
        )
    here, there = target.model.network.device, amateur.model.network.device
    if here != there:
        raise IncompatibleParts(f"{target.name} lies on {here} and {amateur.name} on {there}; load both on one device")

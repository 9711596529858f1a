"""A loaded target whose logits are guided, or contrasted: every method then decodes it as it decodes any other.

Wrap last: what is done to a loaded model itself (exact mode on or off, kept prefixes, costs) is done before.
"""

from collections.abc import Sequence
from dataclasses import replace

from decant.errors import BadInput, IncompatibleParts
from decant.models import dola as layers_of
from decant.models.contrasted import contrasted as against
from decant.models.guided import guided as under_guidance
from decant.models.loaded import Loaded
from decant.models.other_prompts import Instead, Last, OtherPrompt


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
    beta: float | None = 0.5,
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
        return Last()
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

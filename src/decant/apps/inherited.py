"""What a generation_config.json does to logits without a setting of its own here, and what of it nothing honours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from decant.constraints.bad_words import BadWords
from decant.constraints.logit_bias import LogitBias
from decant.protocols import Constraint

SHIPPED_TOP: Final = 100  # tokens that transformers' rule of top_h looks at, for which a model's own top_h is meant
MOST: Final = 100  # nats of a bias: a larger one is no bias but a ban or a command

UNHONOURED: Final = {
    "begin_suppress_tokens": "no part knows the first token",
    "encoder_no_repeat_ngram_size": "there is no encoder",
    "encoder_repetition_penalty": "there is no encoder",
    "exponential_decay_length_penalty": "ends are as likely as the model says",
    "forced_bos_token_id": "a text begins as the model says",
    "forced_eos_token_id": "a text that is too long is cut",
    "guidance_scale": "--guidance does it",
    "min_length": "ends are as likely as the model says",
    "min_new_tokens": "ends are as likely as the model says",
    "num_beams": "beam search is decoders.beam",
    "penalty_alpha": "contrastive search is decoders.contrastive_search",
    "stop_strings": "--stop does it",
    "watermarking_config": "texts bear no mark",
}
"""Settings of transformers that change what a text is, and why nothing happens, or what the user can do."""

Settings = Mapping[str, Any]
"""A generation config."""


@final
@dataclass(frozen=True, slots=True)
class Inherited:
    """One thing that a generation config has done to logits. name, value: as it is called and written there."""

    name: str
    value: Any
    part: Constraint[Any]


def biased(theirs: Settings) -> list[Inherited]:
    """sequence_bias, of single tokens: the first of all, as in transformers."""
    found = {ids[0]: nats for ids, nats in _biases(theirs) if _simple(ids, nats)}
    return [Inherited("sequence_bias", found, LogitBias(tuple(found.items())))] if found else []


def suppressed(theirs: Settings, vocab: int) -> list[Inherited]:
    """suppress_tokens: the last of all but warps. Ids that the model does not have are nothing to suppress."""
    ids = [token for token in dict.fromkeys(theirs.get("suppress_tokens") or ()) if 0 <= token < vocab]
    return [Inherited("suppress_tokens", ids, BadWords(tuple((token,) for token in ids)))] if ids else []


def unhonoured(theirs: Settings) -> list[tuple[str, Any, str]]:
    """(name, value, why) of what is there and does nothing."""
    longer = [[list(ids), nats] for ids, nats in _biases(theirs) if not _simple(ids, nats)]
    found = [("sequence_bias", longer, f"single tokens are biased, by {MOST} nats at most")] if longer else []
    found += [(name, theirs[name], why) for name, why in UNHONOURED.items() if _says(name, theirs)]
    return [(f"{name} of generation_config.json", value, f"not honoured: {why}") for name, value, why in found]


def _says(name: str, theirs: Settings) -> bool:
    """Whether it is there, and would change something in transformers."""
    nothing = (1, 1.0) if name in ("num_beams", "guidance_scale", "encoder_repetition_penalty") else (0, 0.0)
    value = theirs.get(name)
    if value is None or (isinstance(value, Sequence) and not value):
        return False
    return name.startswith("forced") or value not in nothing


def _biases(theirs: Settings) -> list[tuple[tuple[int, ...], float]]:
    """Of `[[ids, nats], ...]`, or of ids -> nats; of ids that come twice the last counts."""
    said = theirs.get("sequence_bias") or ()
    pairs = said.items() if isinstance(said, Mapping) else said
    return list({tuple(ids): float(nats) for ids, nats in pairs}.items())


def _simple(ids: tuple[int, ...], nats: float) -> bool:
    return len(ids) == 1 and -MOST <= nats <= MOST

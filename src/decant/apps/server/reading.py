"""From what was asked to token ids; in the engine's thread, whose tokenizer it is."""

import jinja2

from decant.apps.prompts import refuse_mask
from decant.apps.server.asking import Asked, Source
from decant.apps.server.errors import Failure
from decant.errors import BadInput
from decant.models.load import Loaded


def prompts_of(asked: Asked, target: Loaded) -> list[list[int]]:
    """Ids of each prompt. Raises BadInput, and Failure for one that leaves no room for an answer."""
    return [_fitting(_ids(source, target), source, asked, target) for source in asked.prompts]


def _ids(source: Source, target: Loaded) -> list[int]:
    if isinstance(source, tuple):
        return list(source)
    if source.text is not None:
        return target.encode(source.text)
    try:
        return target.encode_chat(list(source.messages))
    except jinja2.TemplateError as error:
        raise BadInput(f"the chat template of {target.name} refuses this conversation: {error}") from error


def _fitting(ids: list[int], source: Source, asked: Asked, target: Loaded) -> list[int]:
    context, vocab = target.model.context, target.model.vocab
    where = "the prompt" if isinstance(source, tuple) else source.where
    if strangers := [one for one in ids if one >= vocab]:
        raise Failure(
            400, f"{where} names token {strangers[0]}, but the ids of {target.name} are 0 to {vocab - 1}",
            param=asked.field, code="invalid_value",
        )  # fmt: skip
    if len(ids) >= context:
        raise Failure(
            400, f"{where} has {len(ids):,} tokens, but the context of {target.name} holds {context:,}, the answer "
            f"included; shorten it", param=asked.field, code="context_length_exceeded",
        )  # fmt: skip
    refuse_mask(ids, where, target)
    return ids

"""From what was asked to token ids, and to what is done to logits: beside the engine's thread, which goes on meanwhile.

Grammars are compiled in one thread and texts are read in another, so that neither waits for the engine, and no text for
a grammar that is not its own. Each thread has a tokenizer of its own: setting one up for a text is no affair of two.
"""

import copy
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, final

import jinja2

from decant.apps.choosing import Chosen, choose
from decant.apps.constraining import bound
from decant.apps.prompts import refuse_mask
from decant.apps.server.asking import Asked, Source
from decant.apps.server.errors import Failure, gone, refused
from decant.constraints.grammar import Grammar
from decant.errors import BadInput, DecantError
from decant.models.load import Loaded

KEPT: Final = 16  # grammars, the latest; those of cranks in use stay anyway

log = logging.getLogger("decant")


@final
@dataclass(frozen=True, slots=True)
class Understood:
    """prompts: ids of each. chosen: what is done to logits."""

    prompts: list[list[int]]
    chosen: Chosen


@final
class Reading:
    """Two threads that understand calls, first come, first served."""

    def __init__(self, target: Loaded) -> None:
        self._words = replace(target, tokenizer=copy.deepcopy(target.tokenizer))
        self._target = target
        self._grammars: dict[str, Grammar] = {}
        self._reads, self._compiles = ThreadPoolExecutor(1, "decant-reads"), ThreadPoolExecutor(1, "decant-compiles")

    def put(self, asked: Asked, left: Callable[[], bool], tell: Callable[[Understood | Failure], None]) -> None:
        """Call `tell` with what was understood, in another thread. left: whether nobody waits for it any longer."""

        def read(grammar: Grammar | None) -> None:
            tell(_told(lambda: self._read(asked, grammar), left))

        def compiled(done: Future[Any]) -> None:
            found = done.result()
            if isinstance(found, Failure):
                tell(found)
            else:
                self._reads.submit(read, found)

        if asked.constraint is None:
            self._reads.submit(read, None)
        else:
            self._compiles.submit(_told, lambda: self._compiled(asked), left).add_done_callback(compiled)

    def stop(self) -> None:
        """Let go of what is in line; what is being read, or compiled, comes to its end."""
        for pool in (self._compiles, self._reads):
            pool.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _rules(self) -> Loaded:
        """For grammars, which ask their tokenizer while they are compiled and while texts are decoded: always in the
        one way, so that it is set up once."""
        return replace(self._target, tokenizer=copy.deepcopy(self._target.tokenizer))

    def _compiled(self, asked: Asked) -> Grammar:
        assert asked.constraint is not None, "else there is nothing to compile"
        text = asked.constraint.text
        grammar = self._grammars.pop(text, None) or bound(asked.constraint, self._rules)
        self._grammars[text] = grammar  # the last is the latest
        if len(self._grammars) > KEPT:
            self._grammars.pop(next(iter(self._grammars)))
        return grammar

    def _read(self, asked: Asked, grammar: Grammar | None) -> Understood:
        prompts = prompts_of(asked, self._words)
        return Understood(prompts, choose(asked.sampling, self._words, self._words.defaults, constraint=grammar))


def _told(understand: Callable[[], Any], left: Callable[[], bool]) -> Any:
    """What it returns, or why it does not."""
    if left():
        return gone()
    try:
        return understand()
    except Exception as error:  # whatever is wrong with a call must not end the thread that reads the others
        if not isinstance(error, DecantError | Failure):
            log.exception("a call could not be understood")
        return refused(error)


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

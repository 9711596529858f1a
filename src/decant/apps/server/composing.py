"""The method of a server under the settings of any request: composed on what is loaded already."""

import json
from dataclasses import dataclass, replace
from typing import Any, final

from decant.apps.choosing import Chosen
from decant.apps.compose import compose, promise, telling
from decant.apps.server.asking import Asked
from decant.apps.server.counted import Counted
from decant.apps.server.wire import TOP
from decant.apps.session import Session
from decant.apps.wiring import wired
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.blamed import Blamed
from decant.decoders.method import PLAIN, Method
from decant.decoders.saying import Logprobs
from decant.decoders.speculative import Speculative


@final
@dataclass(frozen=True, slots=True)
class Composer:
    """session: what is served. verifier, policy: in place of the method's own."""

    session: Session
    verifier: str | None = None
    policy: str | None = None

    def key(self, asked: Asked) -> str:
        """Equal for requests that can share a batch: settings that do nothing do not count."""
        defaults = self.session.target.defaults
        settled = asked.sampling.settled(defaults)
        facts = {name: value for name, value in settled.facts().items() if name == "temperature" or settled.acts(name)}
        origin = asked.sampling.origin("top_h", defaults)
        constraint = None if asked.constraint is None else asked.constraint.text
        told = asked.logprobs is not None
        return json.dumps([self.spec(asked), facts, origin, constraint, told], sort_keys=True, default=str)

    def spec(self, asked: Asked) -> str:
        """What it is decoded with."""
        return PLAIN if asked.plain else self.session.method.name

    def method(self, asked: Asked, chosen: Chosen, template: Method | None = None) -> Method:
        """Composed anew; of a template that drafts, its parts are shared, and what its drafter has learnt.

        chosen: what its settings do to logits. Raises DecantErrors for parts that cannot work together.
        """
        session, spec = self.session, self.spec(asked)
        if not isinstance(chosen.constraint, Unconstrained):
            chosen = replace(chosen, constraint=Blamed(chosen.constraint))
        method = None if template is None or template.name != spec else _dressed(template, chosen)
        if method is None:
            own = spec == session.method.name
            method = compose(
                spec, session.target, session.draft, chosen.warp, constraint=chosen.constraint,
                verifier=self.verifier if own else None, policy=self.policy if own else None,
            )  # fmt: skip
        vocab = session.target.model.vocab
        told = None if asked.logprobs is None else Logprobs(min(TOP, vocab))  # fewer are cut off, so that all share
        return _counting(telling(method, told, vocab))


def _dressed(template: Method, chosen: Chosen) -> Method | None:
    """The same parts with another warp and constraint; None where a part holds one of them itself."""
    decoder = template.decoder
    if not isinstance(decoder, Speculative):
        return None
    if {"warp", "constraint", "constrained", "checker"} & {*wired(type(decoder.drafter)), *wired(type(decoder.policy))}:
        return None
    greedy = not chosen.sampling.temperature and not chosen.sampling.mirostat
    judge: Any = decoder.verifier.verifier if isinstance(decoder.verifier, Counted) else decoder.verifier
    decoder = replace(decoder, warp=chosen.warp, constraint=chosen.constraint, verifier=judge, logprobs=None)
    return Method(template.name, decoder, promise(judge, greedy))


def _counting(method: Method) -> Method:
    decoder = method.decoder
    if not isinstance(decoder, Speculative):
        return method
    return replace(method, decoder=replace(decoder, verifier=Counted(decoder.verifier)))

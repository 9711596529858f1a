"""A conversation, turn by turn: what was read for one turn is not read again for the next, but for the tokens behind
the last whole chunk (`models/prefixes.py`), and the text is that of `decant generate` on the same messages.
"""

from dataclasses import replace
from itertools import takewhile
from typing import Any, Final, final

import torch

import decant
from decant.apps.answering import Answer, Turn, as_row, kept
from decant.apps.asked import Asked, crank
from decant.apps.compose import plain
from decant.apps.keeping import Keeping
from decant.apps.opening import Opening
from decant.apps.prompts import chat_prompt, refuse_mask
from decant.apps.session import PREFIX_MB, Limits, Session
from decant.apps.store import learnt_by
from decant.apps.transcripts import Messages
from decant.decoders.continuous import Continuous
from decant.errors import BadInput
from decant.models.load import Loaded
from decant.models.prefixes import MEGABYTE, Prefixes
from decant.noise import sample_seed
from decant.protocols import Gradual

UNKNOWN: Final = ("a", "7")  # what the user may say next: what ids have in common for both is sure


@final
class Talk:
    """Messages so far, and how the next one is answered.

    system: what stands in front of the conversation; "" is nothing. seed: of every answer, but of one that is tried
        again. turns: of all answers since the beginning, the plain ones left out.
    Raises BadInput where the target has no chat template.
    """

    def __init__(self, session: Session, limits: Limits, *, system: str = "", seed: int = 0) -> None:
        if not getattr(session.target.tokenizer, "chat_template", None):
            raise BadInput(
                f"{session.target.name} has no chat template, so nobody knows how its conversations are written; put "
                f"chat_template.jinja beside the weights, or continue texts with decant generate"
            )
        self.session, self.limits, self.seed = session, limits, seed
        self.plainly = replace(session, method=_plain(session))
        self.messages: Messages = []
        self.turns: list[Turn] = []
        self._system, self._tries = "", 0
        self._wheel, self._plain_wheel = crank(session, 1), crank(self.plainly, 1)
        self._keeping = Keeping(session.store, session.target)
        self.system = system

    @property
    def system(self) -> str:
        """What stands in front of the conversation."""
        return self._system

    @system.setter
    def system(self, text: str) -> None:
        before, self._system = self._system, text.strip()
        try:
            self._encoded(UNKNOWN[0])
        except BadInput:
            self._system = before
            raise

    def ask(self, text: str) -> Answer:
        """Answer the next message; call `keep` when it is done. Raises BadInput for one that does not fit."""
        self._tries = 0
        return self._answer(self.session, self._wheel, text, self.seed)

    def again(self) -> Answer:
        """Answer the last message anew, with another seed. Raises BadInput where there is none."""
        question = self._last()
        self._tries += 1
        return self._answer(self.session, self._wheel, question, sample_seed(self.seed, self._tries), 2)

    def plain(self) -> Answer:
        """The last message with plain decoding and the seed of its answer; it is not kept. Raises BadInput."""
        return self._answer(self.plainly, self._plain_wheel, self._last(), sample_seed(self.seed, self._tries), 2)

    def keep(self, answer: Answer, again: bool = False) -> Turn:
        """Put an answer that is done behind the conversation, in place of the last one where it was tried again; one
        that was stopped before its first token leaves no trace there."""
        turn = answer.turn
        if turn.said.tokens:
            self.messages = self.messages[:-2] if again else self.messages
            self.messages += [_by("user", turn.question), _by("assistant", turn.said.text)]
        self.turns.append(turn)
        self._keeping.look(learnt_by(self._wheel))
        return turn

    def close(self) -> None:
        """Keep what the drafter learnt, where the session has a store."""
        self._keeping.close(learnt_by(self._wheel))

    def clear(self) -> None:
        """Begin anew, with the same system prompt."""
        self.messages = []

    def forget(self) -> None:
        """Drop the oldest question and its answer. Raises BadInput where there is none."""
        self._last()
        self.messages = self.messages[2:]

    @torch.inference_mode()
    def ahead(self) -> bool:
        """Read one more chunk of what the next turn will begin with, whatever it asks; whether nothing is left."""
        if not self.messages or kept(self.session) is None or not isinstance(self._wheel.decoder, Gradual):
            return True
        try:
            pairs = zip(*(self._encoded(text) for text in UNKNOWN), strict=False)
        except BadInput:  # full: the next question hears of it
            return True
        sure = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        prompt_1T = as_row(sure, self.session)
        helper = self.session.draft
        return self._wheel.decoder.prepare(prompt_1T) and (helper is None or helper.model.prepare(prompt_1T))

    @property
    def room(self) -> int:
        """Tokens that are left for the next message and its answer, about."""
        filled = self.session.led.encode_chat(self._all("")) if self._all("") else []
        return max(0, self.session.led.model.context - len(filled))

    def filling(self) -> str | None:
        """What to do before the context is full; None: the next answer still fits."""
        room, context = self.room, self.session.led.model.context
        if not self.messages or room > self.limits.max_tokens:
            return None
        return (
            f"the context of {self.session.target.name} holds {context:,} tokens and {room:,} are left for the next "
            f"message and its answer: /forget drops the oldest question and answer, /clear all of them"
        )

    def report(self) -> dict[str, Any]:
        """What a file keeps of it."""
        return {
            "decant": decant.__version__,
            "model": self.session.target.name,
            "method": self.session.method.name,
            "seed": self.seed,
            "system": self.system,
            "messages": self.messages,
        }

    def _answer(self, session: Session, wheel: Continuous[Any], text: str, seed: int, less: int = 0) -> Answer:
        chat_prompt([_by("user", text)], "the message")
        asked = Asked(session, self._encoded(text, less), seed, self.limits)
        return Answer(session, wheel, asked, text)

    def _encoded(self, text: str, less: int = 0) -> list[int]:
        """Ids of the conversation with one more message, without its last `less`. Raises BadInput where it is full."""
        target = self.session.led
        messages = self._all(text, less)
        try:
            ids = target.encode_chat(messages)
        except BadInput:
            raise
        except Exception as error:  # a template raises what it likes
            raise BadInput(f"the chat template of {target.name} refuses these messages: {error}") from error
        if len(ids) >= target.model.context:
            raise BadInput(
                f"conversation and message have {len(ids):,} tokens, but the context of {target.name} holds "
                f"{target.model.context:,}, the answer included; /forget drops the oldest question and answer, /clear "
                f"all of them, or shorten the message"
            )
        refuse_mask(ids, "the message", target)
        return ids

    def _all(self, text: str, less: int = 0) -> Messages:
        system = [_by("system", self.system)] if self.system else []
        before = self.messages[: len(self.messages) - less]
        return [*system, *before, *([_by("user", text)] if text else [])]

    def _last(self) -> str:
        if len(self.messages) < 2:
            raise BadInput("nothing was asked yet; ask something first")
        return self.messages[-2]["content"]


def remembering(
    opening: Opening, model: Any, draft: Any, method: str | None, megabytes: float | None = None
) -> tuple[Loaded, Loaded | None]:
    """Target and draft that keep what they read of conversations, each in so many megabytes, by default enough for
    its whole context. Raises BadInput for none."""
    if megabytes is not None and not megabytes > 0:
        raise BadInput(f"prefix_mb is more than 0, got {megabytes:g}; leave it out for room for the whole context")
    target, helper = opening.pair(model, draft, ["all" if method is None else method])
    return _remembering(target, megabytes), None if helper is None else _remembering(helper, megabytes)


def _plain(session: Session) -> Any:
    assert session.chosen is not None, "open_session"
    return plain(session.target, session.chosen.warp, session.chosen.constraint, session.chosen.guide)


def _remembering(loaded: Loaded, megabytes: float | None) -> Loaded:
    network = loaded.model.network
    if not network.keeps_chunks:
        return loaded
    # Half as much again may be read off the chunks (`Prefixes.holds`).
    whole = 1.5 * loaded.model.context * network.token_bytes() / MEGABYTE
    room = max(PREFIX_MB, whole) if megabytes is None else megabytes
    return replace(loaded, model=replace(loaded.model, prefixes=Prefixes(room)))


def _by(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}

"""The loop of `decant chat`: messages, and the commands between them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from decant.apps.cli.completions import summary
from decant.apps.cli.lines import meanwhile, message, piped, typed
from decant.apps.cli.output import note, show, write
from decant.apps.cli.speaking import spoken
from decant.apps.transcripts import refuse_overwriting, saved
from decant.errors import BadInput

if TYPE_CHECKING:
    from decant.apps.answering import Answer, Turn
    from decant.apps.chatting import Talk

COMMANDS: Final = {
    "/help": "this list",
    "/system TEXT": "what stands in front of the conversation; - is nothing; without TEXT, what it is",
    "/retry": "the last question once more, with another seed",
    "/plain": "the last question with plain decoding, and how long each took",
    "/stats": "what every answer took, and how full the context is",
    "/forget": "drop the oldest question and its answer",
    "/clear": "drop the whole conversation",
    "/save FILE": "write the conversation; decant chat --resume FILE goes on with it",
    "/exit": "end, as Ctrl-D does",
}
WRITING: Final = (
    'A line is a message. It goes on in the next where it ends in a backslash, or stands between """ and """. A '
    "message that begins with a slash is written with two. Ctrl-C stops an answer."
)


@final
@dataclass(slots=True)
class Conversing:
    """One conversation with somebody, or with what is piped in.

    lively: on a terminal. save: where it is kept after every answer; None: nowhere.
    json:   file for a line of JSON an answer, - for standard output, in place of the texts; None: none.
    """

    talk: "Talk"
    lively: bool
    save: Path | None = None
    json: str | None = None
    quiet: bool = False

    def go(self) -> None:
        """Until the input ends, or somebody says so. Raises BadInput for what is piped in and wrong."""
        while (text := self._heard()) is not None:
            try:
                if text.startswith("/") and not text.startswith("//"):
                    if text.split() == ["/exit"]:
                        return
                    self._obey(text)
                elif text.strip():
                    self._answered(self.talk.ask(text.removeprefix("/")))
            except BadInput as error:
                if not self.lively:
                    raise
                note(str(error))
            except KeyboardInterrupt:
                if not self.lively:
                    raise
                note("broken off; the conversation is as it was before")

    def _heard(self) -> str | None:
        if not self.lively:
            return message(piped)
        while True:
            try:
                with meanwhile(self.talk.ahead):
                    return message(typed)
            except KeyboardInterrupt:
                note("\n/exit or Ctrl-D ends")

    def _obey(self, text: str) -> None:
        name, _, rest = text.strip().partition(" ")
        obeyed: dict[str, Callable[[str], None]] = {
            "/help": self._help,
            "/system": self._system,
            "/retry": self._retry,
            "/plain": self._plain,
            "/stats": self._stats,
            "/forget": self._forget,
            "/clear": self._clear,
            "/save": self._save,
        }
        if name not in obeyed:
            known = ", ".join(one.split()[0] for one in COMMANDS)
            raise BadInput(
                f"no command is called {name}; there are {known}, and a message that begins with a slash is written "
                f"with two"
            )
        obeyed[name](rest.strip())

    def _answered(self, answer: "Answer", again: bool = False) -> None:
        """Show an answer and keep it."""
        spoken(answer, self.lively, self.json == "-")
        turn = self.talk.keep(answer, again)
        self._tell(turn)
        if not turn.said.tokens:
            note("nothing was said, and the question is not kept", self.quiet)
        if self.save is not None:
            saved(self.talk.report(), self.save)
        if self.json is not None:
            self._write({"turn": len(self.talk.turns), **turn.report()})
        if (full := self.talk.filling()) is not None:
            note(full, self.quiet)

    def _tell(self, turn: "Turn", plain: bool = False) -> None:
        """Behind an answer, dim: its speed, acceptance and promise."""
        if self.quiet or not self.lively:
            return
        session = self.talk.plainly if plain else self.talk.session
        first = "" if turn.ttft is None else f"; first token after {turn.ttft:.2f} s, "
        first += f"{turn.read:,} of {turn.prompt:,} tokens read" if first else ""
        ended = "; stopped" if turn.stopped else ""
        _dim(summary(session, [turn.said], turn.seconds, turn.seed).splitlines()[0] + first + ended)

    def _write(self, line: dict[str, object]) -> None:
        text = json.dumps(line, ensure_ascii=False) + "\n"
        if self.json == "-":
            write(text)
        elif self.json is not None:
            with Path(self.json).open("a", encoding="utf-8") as file:
                file.write(text)

    def _help(self, rest: str) -> None:
        from decant.apps.cli.output import facts_table

        show(facts_table(COMMANDS), error=True)
        note(WRITING)

    def _system(self, rest: str) -> None:
        if rest:
            self.talk.system = "" if rest == "-" else rest
        note(f"system: {self.talk.system or '(nothing)'}", self.quiet and bool(rest))

    def _retry(self, rest: str) -> None:
        sampling, turns = self.talk.session.sampling, self.talk.turns
        if not sampling.temperature and not sampling.mirostat and turns and not turns[-1].stopped:
            raise BadInput("at temperature 0 every seed gives the same answer; begin with --temperature 0.7 for others")
        self._answered(self.talk.again(), again=True)

    def _plain(self, rest: str) -> None:
        from rich.table import Table

        answer = self.talk.plain()
        spoken(answer, self.lively, silent=not self.lively)
        one, two = self.talk.turns[-1], answer.turn
        table = Table("", "seconds", "first token", "tokens/s", "a target call", box=None, padding=(0, 1))
        for turn in (one, two):
            table.add_row(
                turn.method, f"{turn.seconds:.2f}", "" if turn.ttft is None else f"{turn.ttft:.2f}",
                f"{turn.reply()['tokens_per_second']:.1f}", f"{turn.said.acceptance_length:.2f}",
            )  # fmt: skip
        show(table, error=True)
        pairs = zip(one.said.tokens, two.said.tokens, strict=False)
        short = one.stopped or two.stopped
        same = all(a == b for a, b in pairs) if short else one.said.tokens == two.said.tokens
        note("the same text" + " as far as both go" * short if same else "another text")

    def _stats(self, rest: str) -> None:
        from rich.table import Table

        columns = ("answer", "tokens", "tokens/s", "a target call", "first token", "read", "of")
        table = Table(*columns, box=None, padding=(0, 1))
        for number, turn in enumerate(self.talk.turns, 1):
            table.add_row(
                str(number), f"{turn.said.said:,}", f"{turn.reply()['tokens_per_second']:.1f}",
                f"{turn.said.acceptance_length:.2f}", "" if turn.ttft is None else f"{turn.ttft:.2f} s",
                f"{turn.read:,}", f"{turn.prompt:,}",
            )  # fmt: skip
        show(table, error=True)
        context = self.talk.session.led.model.context
        note(f"{context - self.talk.room:,} of the context's {context:,} tokens are filled")

    def _forget(self, rest: str) -> None:
        self.talk.forget()
        note("the oldest question and its answer are forgotten", self.quiet)

    def _clear(self, rest: str) -> None:
        self.talk.clear()
        note("the conversation is forgotten", self.quiet)

    def _save(self, rest: str) -> None:
        path = Path(rest).expanduser() if rest else self.save
        if path is None:
            raise BadInput("/save needs a file: /save FILE")
        refuse_overwriting(path, self.save)
        saved(self.talk.report(), path)
        self.save = path
        note(f"saved as {path}, and again after every answer", self.quiet)


def _dim(text: str) -> None:
    from rich.text import Text

    show(Text(text, style="dim"), error=True)

"""`--watch`: one request on standard error while it is decoded, its places as they settle.

Open places are dim dots, places that have just settled stand out, what was given is bold, what had been drafted green.
An end token is a sign of its own. What a decoder may take back is shown when it has become final.
"""

import sys
from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from decant.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from decant.apps.infilling import Laid
    from decant.apps.session import Run
    from decant.decoders.generate import Output

OPEN: Final = "·"
CONTROL: Final = "∎"
NEW, GIVEN, DRAFTED, DIM = "reverse", "bold", "green", "dim"


def check_watch(several: bool, quiet: bool) -> None:
    """Raises BadInput for many prompts, without a terminal, and where nothing may be said there."""
    if several:
        raise BadInput("--watch shows one prompt, and --prompts has many; give a PROMPT, or leave it out")
    if quiet:
        raise BadInput("--watch shows on standard error what --quiet leaves out; give one of them")
    if not sys.stderr.isatty():
        raise BadInput("--watch needs a terminal on standard error; leave it out")


def watched(run: "Run", console: "Console | None" = None) -> None:
    """Run the first request to the end and show it. console: None is standard error."""
    from rich.console import Console
    from rich.live import Live

    console = console or Console(stderr=True)
    sheet = Sheet(run.pieces)
    laid, output = run.unfolding(0)
    before: frozenset[int] = frozenset()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for _ in run:
            drawn = sheet.drawn(laid, output, before)
            live.update(cropped(drawn, console), refresh=True)
            before = frozenset(final_places(output))


def final_places(output: "Output") -> dict[int, tuple[int, bool]]:
    """Output position -> id, and whether it was drafted."""
    said = zip(output.tokens, output.drafted, strict=True)
    return dict(enumerate(said)) | (output.ahead if output.reason is None else {})


@final
@dataclass(frozen=True, slots=True)
class Sheet:
    """What is drawn of a request. pieces: what each id writes; None for a special token."""

    pieces: Sequence[bytes | None]

    def drawn(self, laid: "Laid", output: "Output", before: frozenset[int]) -> "Text":
        """before: positions that were final when it was drawn last."""
        from rich.text import Text

        text = Text(laid.decode([]))
        text.stylize(GIVEN)
        known = final_places(output)
        width = laid.room if laid.canvas and output.reason is None else len(known)
        reading, held = getincrementaldecoder("utf-8")("replace"), dict[str, None]()
        for at in range(width):
            token, drafted = known.get(at, (None, False))
            piece = self.pieces[token] if token is not None and token < len(self.pieces) else None
            if piece is None:  # no character goes on behind it
                text.append(reading.decode(b"", final=True), " ".join(held))
                held.clear()
            new, given = token is not None and at not in before and at not in laid.given, at in laid.given
            styles = {NEW: new, GIVEN: given, DRAFTED: drafted, DIM: piece is None}
            mine = {style: None for style, there in styles.items() if there}
            shown = (OPEN if token is None else CONTROL) if piece is None else reading.decode(piece)
            held |= mine
            text.append(shown, " ".join(held))
            if not reading.getstate()[0]:
                held.clear()
            elif shown:  # the character that is still to come is this token's own
                held = mine
        return text.append(reading.decode(b"", final=True), " ".join(held))


def cropped(text: "Text", console: "Console") -> "Text":
    """As many lines as the terminal has, the last that is new among them."""
    from rich.text import Text

    lines = text.wrap(console, console.width)
    height = max(1, console.height - 1)
    new = [at for at, line in enumerate(lines) if any(NEW in str(span.style) for span in line.spans)]
    first = max(0, min(len(lines), (new[-1] if new else len(lines) - 1) + 1) - height)
    return Text("\n").join(lines[first : first + height])

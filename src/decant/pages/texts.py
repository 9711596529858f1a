"""Texts token by token, each token with where it came from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup, escape

ORIGINS: Final = {
    "drafted": "guessed by the drafter and accepted",
    "corrected": "the model's own, in place of a guess that it refused",
    "bonus": "the model's own, behind a draft that it accepted whole",
    "plain": "the model's own, where nothing was guessed",
}


def shown(texts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the page shows of each text: its prompt, its marked tokens, and the tokens of each origin counted. A token
    that writes nothing, such as one that ends the text, is left out."""
    found = []
    for text in texts:
        written = [token for token in text["tokens"] if token["text"]]
        said = Markup("").join(map(marked, written))
        found.append({"prompt": text["prompt"], "marked": said, "counts": _counted(written)})
    return found


def marked(token: Mapping[str, Any]) -> Markup:
    """A token as it is read, a line's end with a sign of its own. An origin that is not known counts as plain."""
    origin = token["origin"] if token["origin"] in ORIGINS else "plain"
    sign = Markup('<i aria-hidden="true">↵</i>\n')
    return Markup('<span class="{}">{}</span>').format(origin, sign.join(map(escape, token["text"].split("\n"))))


def _counted(tokens: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    found = Counter(token["origin"] if token["origin"] in ORIGINS else "plain" for token in tokens)
    return [(origin, found[origin]) for origin in ORIGINS if found[origin]]

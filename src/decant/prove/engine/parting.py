"""Where two texts of one prompt part, and what the twin itself thinks of the two ways on."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, final

from decant.prove.engine.served import Speaks

NEAR: Final = 0.25
"""Nats by which rounding may turn an order of two tokens: in bfloat16 a logit of 16 is stored to a sixteenth, and the
layers below have rounded too. A small fault can hide below it, so each is counted and listed."""

SHOWN: Final = 24  # characters of each way on
STEPS: Final = 32  # tokens, at most, between the last space and where the texts part


@final
@dataclass(frozen=True, slots=True)
class TextParting:
    """prompt: its index. position: characters of the texts that are the same. plain, method: how the twin goes on, and
    the engine. margin: by how many nats the twin prefers its own token; None where it does not tell."""

    prompt: int
    position: int
    plain: str
    method: str
    margin: float | None
    tolerance: float
    cause: Literal["near-tie", "unexplained"]

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "unit": "characters"}


def commonest(said: list[str]) -> str:
    """The text that came most often; of several the first."""
    return Counter(said).most_common(1)[0][0]


def explain(twin: Speaks, prompts: Any, prompt: int, plain: str, other: str) -> TextParting | None:
    """Why the texts of one prompt part; None where they do not. What nobody tells is unexplained."""
    if plain == other:
        return None
    at = next((at for at, (a, b) in enumerate(zip(plain, other, strict=False)) if a != b), min(len(plain), len(other)))
    gap = _margin(twin, prompts[prompt], plain, other, at)
    return TextParting(
        prompt,
        at,
        plain[at : at + SHOWN],
        other[at : at + SHOWN],
        gap,
        NEAR,
        "near-tie" if gap is not None and abs(gap) <= NEAR else "unexplained",
    )


def _margin(twin: Speaks, prompt: Any, plain: str, other: str, at: int) -> float | None:
    """The texts may part within a token: the twin is asked from the last space on, token by token."""
    read = max(plain.rfind(" ", 0, at), 0)
    for _ in range(STEPS):
        tops = twin.tops(prompt + plain[:read]) if isinstance(prompt, str) else None
        ours, theirs = _token(tops, plain[read:]), _token(tops, other[read:])
        if tops is None or ours is None or theirs is None:
            return None
        if ours != theirs:
            return tops[ours] - tops[theirs]
        read += len(ours)
    return None


def _token(tops: dict[str, float] | None, text: str) -> str | None:
    """The longest of the likeliest tokens with which a text begins."""
    return max((token for token in tops or () if token and text.startswith(token)), key=len, default=None)

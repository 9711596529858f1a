"""Names and values for the generated tasks: some from short lists, most coined from syllables.

Coined words cannot be learned by heart, so a model has to copy them from the prompt.
"""

import random
from collections.abc import Callable
from typing import Final


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


FIRST: Final = words(
    "Ada Alan Barbara Carl Dana Edgar Emmy Farid Grace Hedy Ines Ivan Jean Kurt Leslie Lin Maria Noor Olga Omar "
    "Pavel Radia Rosa Sami Tim Uma Vera Wen Yuki Zoe"
)
TOWNS: Final = words("Lund Bergen Porto Ghent Turin Lyon Cork Oulu Basel Graz Delft Riga Quito Osaka Accra Hobart")
PETS: Final = ("cat", "dog", "horse", "goat", "parrot", "snake")
JOBS: Final = ("driver", "teacher", "writer", "baker", "pilot", "editor", "nurse")
COLOURS: Final = words("red green blue amber violet teal black white orange grey")
ONSETS: Final = words("b br c ch d dr f g gr h j k kl l m n p pr qu r s sh st t tr v w z")
VOWELS: Final = words("a e i o u ai ea ou")
CODAS: Final = ("", "", "n", "r", "l", "s", "m", "t", "x", "nd", "rk")


def coined(rng: random.Random) -> str:
    """A word of one or two syllables that need not exist."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice((1, 2, 2, 2))))


def person(rng: random.Random) -> str:
    """A first name and a coined surname."""
    return f"{rng.choice(FIRST)} {coined(rng).capitalize()}"


def value(rng: random.Random) -> str:
    """What a look-up table holds: a number, a word, a colour or a code."""
    kind = rng.randrange(4)
    if kind == 0:
        return str(rng.randint(10, 999))
    if kind == 1:
        return coined(rng)
    if kind == 2:
        return f"{rng.choice(COLOURS)} {coined(rng)}"
    return f"{rng.choice('ABCDEFGHKLMNPRSTVWXZ')}{rng.randint(10, 99)}-{rng.randint(10, 99)}"


def _date(rng: random.Random) -> str:
    return f"{rng.randint(1950, 2025)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


# A word behind a quote and the same word behind a space are different tokens, so values open with a listed word or a
# digit: the coined part then stands behind the same character on both sides and can be copied token by token.
KEYS: Final[dict[str, Callable[[random.Random], str | int]]] = {
    "name": person,
    "age": lambda rng: rng.randint(18, 95),
    "city": lambda rng: rng.choice(TOWNS) if rng.random() < 0.5 else f"Port {coined(rng).capitalize()}",
    "email": lambda rng: f"{rng.choice(FIRST).lower()}.{coined(rng)}@{coined(rng)}.org",
    "born": _date,
    "colour": lambda rng: rng.choice(COLOURS),
    "score": lambda rng: rng.randint(0, 999),
    "code": lambda rng: f"{rng.choice('ABCDEFGHKLMNPRSTVWXZ')}-{rng.randint(100, 999)}",
    "team": lambda rng: f"{rng.choice(COLOURS)} {coined(rng)}",
    "street": lambda rng: f"{rng.randint(1, 99)} {coined(rng).capitalize()} Road",
    "pet": lambda rng: f"{rng.choice(PETS)} {coined(rng).capitalize()}",
    "book": lambda rng: f"The {coined(rng).capitalize()} of {coined(rng).capitalize()}",
    "height": lambda rng: rng.randint(140, 205),
    "job": lambda rng: f"{rng.choice(JOBS)} at {coined(rng).capitalize()}",
}

"""The seam between the benchmark and the engines: what each is given, what each answers with.

Every engine file has `engines(weights, kind)`, which yields the plain engine and then its speculative modes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import final


class CannotRun(Exception):
    """This engine cannot run this model here; the message is the reason."""


@final
@dataclass(frozen=True, slots=True)
class Weights:
    """The same files for all.

    folder:  the model in Hugging Face format, bfloat16.
    draft:   a draft model of the same tokenizer in that format, if there is one.
    scratch: where conversions go.
    longest: most tokens of a text, the prompt included.
    """

    folder: Path
    draft: Path | None
    scratch: Path
    threads: int
    longest: int


@final
@dataclass(frozen=True, slots=True)
class Engine:
    """One row of the comparison.

    mode:     empty for plain decoding, else the speculative mode as the engine calls it.
    versions: packages and what matters of how they run.
    generate: (prompt ids, count) -> exactly that many new ids, greedily, past every end of text.
    """

    mode: str
    versions: str
    generate: Callable[[list[int], int], list[int]]


def versions(*packages: str) -> str:
    """`package 1.2, other 3.4`."""
    return ", ".join(f"{package} {version(package)}" for package in packages)

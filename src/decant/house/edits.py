"""Code with one edit: a function is given, one name or one number changes, the whole function is the answer.

The functions are synthesised from templates with drawn names, or given (the standard library's own).
"""

import io
import keyword
import random
import re
import tokenize
from typing import Final

from decant.house.words import coined, words

NAMES: Final = words(
    "total count items value result index limit start stop left right size rows cells name text line words best "
    "score price weight width height level depth path parts node key table found seen offset step scale name "
    "data first last head tail left_size source target number amount column field group order point range state "
    "symbol title token version window length ratio"
)
TEMPLATES: Final = (
    'def {f}({a}, {b}={n}):\n    """Return the {w} of {a}."""\n    {c} = {m}\n    for {d} in {a}:\n'
    "        if {d} > {b}:\n            {c} += {d} * {k}\n    return {c}\n",
    "def {f}({a}):\n    {b} = []\n    for {c}, {d} in enumerate({a}):\n        if {c} % {n} == {m}:\n"
    "            {b}.append({d} + {k})\n    return {b}\n",
    'def {f}({a}, {b}):\n    """Count each {w} of {a}."""\n    {c} = {{}}\n    for {d} in {a}:\n'
    "        {c}[{d}] = {c}.get({d}, {m}) + {n}\n    return {c}[{b}] if {b} in {c} else {k}\n",
    "class {F}:\n    def __init__(self, {a}, {b}={n}):\n        self.{a} = {a}\n        self.{b} = {b}\n\n    "
    "def {f}(self, {c}):\n        {d} = self.{a} * {k} + self.{b}\n        return {d} - {c} if {c} > {m} else {d}\n",
    "def {f}({a}, {b}):\n    {c} = {m}\n    while {a} > {n}:\n        {a} -= {b}\n        {c} += {k}\n"
    '        if {c} > {a}:\n            print("{w}", {c})\n    return {c}\n',
    "def {f}({a}):\n    {b}, {c} = {n}, {m}\n    for {d} in range({k}):\n        {b}, {c} = {c}, {b} + {d}\n"
    '        {a}.write(f"{w} {{{b}}}")\n    return {b}\n',
    "{F} = {k}\n\n\ndef {f}({a}, {b}={F}):\n    {c} = [{d} for {d} in {a} if {d} != {n}]\n    {c}.sort()\n"
    "    return {c}[{m}:{b}]\n",
    'def {f}({a}, {b}):\n    """Split {a} into a {w} and its {c}."""\n    {c}, {d} = {a}[:{n}], {a}[{n}:]\n'
    "    if len({c}) < {b}:\n        return {d} * {k}\n    return {c} + {d}[{m}:]\n",
)
LOCAL_NAME: Final = re.compile(r"[a-z][a-z_]{1,14}\Z")
FEWEST: Final = 2  # occurrences of a name that may be renamed
MOST: Final = 7


def edit(rng: random.Random, source: str | None = None) -> tuple[str, str]:
    """A prompt with `source` (or a synthesised function) and the whole code after one change."""
    code = (_synthesise(rng) if source is None else source).strip("\n")
    names, numbers = _editable(code)
    if numbers and (not names or rng.random() < 0.4):
        start, end, old = rng.choice(numbers)
        line = code.count("\n", 0, start) + 1
        new = rng.choice([number for number in range(100) if str(number) != old])
        ask = rng.choice(("Change {0} to {1} in line {2}.", "In line {2} replace {0} by {1}."))
        return _ask(rng, ask.format(old, new, line), code), code[:start] + str(new) + code[end:]
    if not names:
        return edit(rng)
    old = rng.choice(names)
    taken = set(re.findall(r"\w+", code))
    new = rng.choice([name for name in NAMES if name not in taken])
    ask = rng.choice(("Rename {0} to {1}.", "Replace the name {0} by {1}."))
    return _ask(rng, ask.format(old, new), code), re.sub(rf"\b{old}\b", new, code)


def _ask(rng: random.Random, request: str, code: str) -> str:
    return f"{request}\n\n{code}" if rng.random() < 0.7 else f"{code}\n\n{request}"


def _synthesise(rng: random.Random) -> str:
    names = dict(zip("abcd", rng.sample(NAMES, 4), strict=True))
    numbers = {letter: rng.randint(0, 99) for letter in "nmk"}
    return rng.choice(TEMPLATES).format(
        f=f"{coined(rng)}_{rng.choice(NAMES)}", F=coined(rng).capitalize(), w=coined(rng), **names, **numbers
    )


def _editable(code: str) -> tuple[list[str], list[tuple[int, int, str]]]:
    """Names whose every occurrence may be renamed, and the numbers as (start, end, text)."""
    starts = [0]
    for line in code.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    names: dict[str, int] = {}
    numbers: list[tuple[int, int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(code + "\n").readline):
        if token.type == tokenize.NAME and LOCAL_NAME.match(token.string) and not keyword.iskeyword(token.string):
            names[token.string] = names.get(token.string, 0) + 1
        elif token.type == tokenize.NUMBER and token.string.isdigit() and len(token.string) <= 2:
            row, column = token.start
            if len(re.findall(rf"\b{token.string}\b", token.line)) == 1:  # or the request would be ambiguous
                start = starts[row - 1] + column
                numbers.append((start, start + len(token.string), token.string))
    often = {name for name, times in names.items() if FEWEST <= times <= MOST and name not in ("self", "cls")}
    everywhere = re.findall(r"\w+", code)
    return sorted(name for name in often if everywhere.count(name) <= MOST), numbers

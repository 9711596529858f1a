"""Generated tasks with checkable answers: arithmetic, lists, look-up, records to JSON, code with one edit.

Every task is a pure function of a `random.Random`, so that anybody can make the same text again. The held-out
split is a hash of the prompt: about one instance in ten belongs to it, training refuses those, and evaluation
takes nothing else. Edits can also be made of given functions (the standard library's, `corpus.functions`).
Source: Cobbe et al. 2021, arXiv:2110.14168 (answers written as steps).
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from decant.house.edits import edit
from decant.house.words import KEYS, coined, person, value

HELD_OUT_TENTHS: Final = 1  # of ten
FUNCTIONS_SHARE: Final = 0.5  # of the edits, where functions are given


@final
@dataclass(frozen=True, slots=True)
class Instance:
    """One question and the only answer that counts as right."""

    task: str
    prompt: str
    answer: str

    @property
    def held_out(self) -> bool:
        """Whether the hash of the prompt puts this instance among those that training never sees."""
        return hashlib.sha256(self.prompt.encode()).digest()[0] % 10 < HELD_OUT_TENTHS


def arithmetic(rng: random.Random) -> tuple[str, str]:
    """A sum of three to six one-digit numbers, taken from the left one step a line; no value leaves 0 to 30."""
    current = rng.randint(1, 9)
    values, terms = [current], []
    for _ in range(rng.randint(2, 5)):
        amounts = [amount for amount in range(-9, 10) if amount and 0 <= current + amount <= 30]
        amount = rng.choice(amounts)
        current += amount
        values.append(current)
        terms.append(f" {'+' if amount > 0 else '-'} {abs(amount)}")
    ask = rng.choice(("Compute {0} step by step.", "What is {0}? Show each step.", "Work out {0}"))
    steps = [f"{value}{''.join(terms[place:])}" for place, value in enumerate(values) if 0 < place < len(terms)]
    return ask.format(f"{values[0]}{''.join(terms)}"), "\n".join([*steps, f"Answer: {current}"])


def _unique(items: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(items))


OPERATIONS: Final[dict[str, Callable[[Sequence[int]], object]]] = {
    "sorted": sorted,
    "descending": lambda items: sorted(items, reverse=True),
    "reversed": lambda items: list(reversed(items)),
    "largest": max,
    "smallest": min,
    "even": lambda items: [item for item in items if item % 2 == 0],
    "odd": lambda items: [item for item in items if item % 2],
    "unique": _unique,
    "count": len,
    "first two": lambda items: list(items[:2]),
    "last two": lambda items: list(items[-2:]),
}
OPERATION_WEIGHTS: Final = (3, 3, 2, 1, 1, 2, 1, 2, 1, 1, 1)


def lists(rng: random.Random) -> tuple[str, str]:
    """Two to four operations on four to eight digits; each result on its own line."""
    items = rng.sample(range(10), rng.randint(4, 8))
    if rng.random() < 0.4:  # without repeats `unique` would be the identity
        items[rng.randrange(len(items))] = rng.choice(items)
    names: list[str] = []
    wanted = rng.randint(2, 4)
    while len(names) < wanted:
        name = rng.choices(list(OPERATIONS), OPERATION_WEIGHTS)[0]
        if name not in names:
            names.append(name)
    ask = rng.choice(("Numbers: {0}\nGive {1}.", "For the list {0} give {1}.", "List: {0}\nWrite {1}."))
    answer = "\n".join(f"{name}: {OPERATIONS[name](items)}" for name in names)
    return ask.format(items, ", ".join(names)), answer


def lookup(rng: random.Random) -> tuple[str, str]:
    """One to four questions about a table of four to ten keys."""
    names = list(dict.fromkeys(coined(rng) if rng.random() < 0.7 else person(rng).split()[0] for _ in range(14)))
    names = names[: rng.randint(4, 10)]
    mark = rng.choice((" = ", ": ", " -> "))
    table = {name: value(rng) for name in names}
    asked = rng.sample(names, min(len(names), rng.randint(1, 4)))
    lines = "\n".join(f"{name}{mark}{content}" for name, content in table.items())
    ask = rng.choice(("{0}\n\nLook up:\n{1}", "{0}\n\nGive the values of:\n{1}", "Table:\n{0}\n\nFind:\n{1}"))
    answer = "\n".join(f"{name}{mark}{table[name]}" for name in asked)
    return ask.format(lines, "\n".join(asked)), answer


def records(rng: random.Random) -> tuple[str, str]:
    """One to four records of three to five fields, to a JSON array with one object a line."""
    keys = rng.sample(list(KEYS), rng.randint(3, 5))
    rows = [{key: KEYS[key](rng) for key in keys} for _ in range(rng.choice((1, 2, 2, 3, 3, 4)))]
    text = "\n\n".join("\n".join(f"{key}: {row[key]}" for key in keys) for row in rows)
    ask = rng.choice(("Turn these records into JSON.\n\n{0}", "{0}\n\nWrite this as JSON.", "Records to JSON:\n\n{0}"))
    objects = ["{" + ", ".join(f'"{key}": {_json(row[key])}' for key in keys) + "}" for row in rows]
    return ask.format(text), "[\n" + ",\n".join(objects) + "\n]"


def _json(content: str | int) -> str:
    return f'"{content}"' if isinstance(content, str) else str(content)


GENERATORS: Final[dict[str, Callable[[random.Random], tuple[str, str]]]] = {
    "arithmetic": arithmetic,
    "lists": lists,
    "lookup": lookup,
    "records": records,
    "edit": edit,
}
WEIGHTS: Final = {"arithmetic": 30, "lists": 32, "lookup": 10, "records": 13, "edit": 15}  # by instance


def draw(rng: random.Random, task: str, held_out: bool = False, functions: Sequence[str] = ()) -> Instance:
    """One instance of `task` from the asked side of the split; half of the edits use `functions` if there are any."""
    while True:
        if task == "edit" and functions and rng.random() < FUNCTIONS_SHARE:
            prompt, answer = edit(rng, rng.choice(functions))
        else:
            prompt, answer = GENERATORS[task](rng)
        instance = Instance(task, prompt, answer)
        if instance.held_out == held_out:
            return instance


def draw_any(rng: random.Random, functions: Sequence[str] = ()) -> Instance:
    """One training instance, its task drawn by `WEIGHTS`."""
    return draw(rng, rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0], functions=functions)


def correct(instance: Instance, reply: str) -> bool:
    """Exact match, up to white space at the ends of the reply."""
    return reply.strip() == instance.answer.strip()

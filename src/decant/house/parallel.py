"""ParallelBench, made anew from its definition: answers that are easy word by word, whose words depend on each other.

Ten operations on a list (the answers of four of them are free to choose, but not place by place), sentences of given
words, and two kinds of grids. A task is a pure function of a `random.Random`; the held-out tenth is a hash of the
prompt, as in `tasks.py`. Items are one token each in the house's tokenizer, so that no place depends on another for the
sake of spelling; in place of the paper's names they are nouns.
Source: Kang et al. 2025, arXiv:2510.04767 (ParallelBench).
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Final

from decant.house.tasks import Instance
from decant.house.words import words

ITEMS: Final = words(
    "actor block board body book box card child city time color field file frame image key lock mail map master "
    "month name node parent path pen pipe point port ring root screen"
)
SIZES: Final = (3, 4, 5, 6)
GRID: Final = 4


def _line(items: Sequence[str]) -> str:
    return json.dumps(list(items))


def _at(rng: random.Random, items: Sequence[str]) -> int:
    return rng.randrange(len(items))


def _sampled(rng: random.Random, size: int) -> tuple[list[str], str]:
    """Items, and one that is not among them."""
    *items, new = rng.sample(ITEMS, size + 1)
    return items, new


def _told(items: Sequence[str], ask: str) -> str:
    return f"Line: {_line(items)}\n{ask}"


def copy(rng: random.Random, size: int) -> tuple[str, str]:
    """The same line."""
    items, _ = _sampled(rng, size)
    return _told(items, "Copy the line."), _line(items)


def reverse(rng: random.Random, size: int) -> tuple[str, str]:
    """From the last to the first."""
    items, _ = _sampled(rng, size)
    return _told(items, "Reverse the line."), _line(items[::-1])


def sort(rng: random.Random, size: int) -> tuple[str, str]:
    """By the alphabet."""
    items, _ = _sampled(rng, size)
    return _told(items, "Sort the line."), _line(sorted(items))


def shuffle(rng: random.Random, size: int) -> tuple[str, str]:
    """Any other order."""
    items, _ = _sampled(rng, size)
    mixed = items
    while mixed == items:
        mixed = rng.sample(items, size)
    return _told(items, "Shuffle the line."), _line(mixed)


def insert_index(rng: random.Random, size: int) -> tuple[str, str]:
    """A new item, which stands at the place told, counted from 1."""
    items, new = _sampled(rng, size)
    at = rng.randrange(size + 1)
    return _told(items, f'Insert "{new}" at position {at + 1}.'), _line([*items[:at], new, *items[at:]])


def insert_random(rng: random.Random, size: int) -> tuple[str, str]:
    """A new item anywhere."""
    items, new = _sampled(rng, size)
    at = rng.randrange(size + 1)
    return _told(items, f'Insert "{new}" at a random position.'), _line([*items[:at], new, *items[at:]])


def remove_index(rng: random.Random, size: int) -> tuple[str, str]:
    """Without the item at the place told."""
    items, _ = _sampled(rng, size)
    at = _at(rng, items)
    return _told(items, f"Remove the item at position {at + 1}."), _line([*items[:at], *items[at + 1 :]])


def remove_random(rng: random.Random, size: int) -> tuple[str, str]:
    """Without any one item."""
    items, _ = _sampled(rng, size)
    at = _at(rng, items)
    return _told(items, "Remove a random item."), _line([*items[:at], *items[at + 1 :]])


def replace_index(rng: random.Random, size: int) -> tuple[str, str]:
    """A new item in place of the one told."""
    items, new = _sampled(rng, size)
    at = _at(rng, items)
    return _told(items, f'Replace the item at position {at + 1} with "{new}".'), _line(
        [*items[:at], new, *items[at + 1 :]]
    )


def replace_random(rng: random.Random, size: int) -> tuple[str, str]:
    """A new item in place of any one."""
    items, new = _sampled(rng, size)
    at = _at(rng, items)
    return _told(items, f'Replace a random item with "{new}".'), _line([*items[:at], new, *items[at + 1 :]])


def sentence(rng: random.Random, size: int) -> tuple[str, str]:
    """All given words, in any order, as one sentence."""
    items, _ = _sampled(rng, size)
    asked = f"Write a sentence with the words {', '.join(items)}."
    return asked, _sentence(rng.sample(items, size))


def _sentence(items: Sequence[str]) -> str:
    return f"I see a {', a '.join(items[:-1])} and a {items[-1]}."


def latin(rng: random.Random, size: int) -> tuple[str, str]:
    """A square in which no digit stands twice in a row or a column; the size of a list says nothing here."""
    symbols = sorted(rng.sample(range(1, 10), GRID))
    grid = _shuffled(rng, [[symbols[(row + column) % GRID] for column in range(GRID)] for row in range(GRID)])
    return f"Write a latin square of {' '.join(map(str, symbols))}.", _rows(grid)


def sudoku(rng: random.Random, size: int) -> tuple[str, str]:
    """A grid of 1 to 4 with four blanks (0) and one solution."""
    while True:
        grid = _sudoku(rng)
        asked = [list(row) for row in grid]
        for place in rng.sample(range(GRID * GRID), 4):
            asked[place // GRID][place % GRID] = 0
        if _solutions(asked) == 1:
            return f"Fill in the sudoku.\n{_rows(asked)}", _rows(grid)


def _rows(grid: Sequence[Sequence[int]]) -> str:
    return "\n".join("".join(map(str, row)) for row in grid)


def _shuffled(rng: random.Random, grid: list[list[int]]) -> list[list[int]]:
    rows, columns = rng.sample(range(GRID), GRID), rng.sample(range(GRID), GRID)
    return [[grid[row][column] for column in columns] for row in rows]


def _sudoku(rng: random.Random) -> list[list[int]]:
    """Rows within bands, columns within stacks, bands, stacks and digits change places."""
    digits = rng.sample(range(1, GRID + 1), GRID)

    def order() -> list[int]:
        return [2 * band + row for band in rng.sample(range(2), 2) for row in rng.sample(range(2), 2)]

    rows, columns = order(), order()
    return [[digits[(2 * (row % 2) + row // 2 + column) % GRID] for column in columns] for row in rows]


def _solutions(grid: list[list[int]]) -> int:
    """How many ways there are to fill in the blanks."""
    blank = next(((row, column) for row in range(GRID) for column in range(GRID) if not grid[row][column]), None)
    if blank is None:
        return 1
    row, column = blank
    corner = row // 2 * 2, column // 2 * 2
    taken = {*grid[row], *(line[column] for line in grid)}
    taken |= {grid[corner[0] + down][corner[1] + across] for down in range(2) for across in range(2)}
    found = 0
    for digit in set(range(1, GRID + 1)) - taken:
        grid[row][column] = digit
        found += _solutions(grid)
    grid[row][column] = 0
    return found


LISTS: Final = {
    "copy": copy,
    "reverse": reverse,
    "sort": sort,
    "shuffle": shuffle,
    "insert-index": insert_index,
    "insert-random": insert_random,
    "remove-index": remove_index,
    "remove-random": remove_random,
    "replace-index": replace_index,
    "replace-random": replace_random,
}
TASKS: Final[dict[str, Callable[[random.Random, int], tuple[str, str]]]] = {
    **LISTS,
    "sentence": sentence,
    "latin": latin,
    "sudoku": sudoku,
}
FREE: Final = frozenset({"shuffle", "insert-random", "remove-random", "replace-random", "sentence", "latin"})
"""Whose right answers are many."""


def draw(rng: random.Random, task: str, size: int, held_out: bool = False) -> Instance:
    """One instance from the asked side of the split."""
    while True:
        instance = Instance(task, *TASKS[task](rng, size))
        if instance.held_out == held_out:
            return instance


def draw_any(rng: random.Random) -> Instance:
    """One training instance of any task and size."""
    return draw(rng, rng.choice(list(TASKS)), rng.choice(SIZES))


def right(instance: Instance, reply: str) -> bool:
    """Whether a reply is one of the right answers; what stands around it does not count."""
    reply = reply.strip()
    if instance.task not in FREE:
        return reply == instance.answer
    if instance.task == "latin":
        return _is_latin(instance, reply)
    if instance.task == "sentence":
        given = re.findall(r"[a-z]+", instance.prompt.partition("words ")[2])
        said = re.fullmatch(r"I see a (\w+(?:, a \w+)*) and a (\w+)\.", reply)
        return said is not None and sorted([*said[1].split(", a "), said[2]]) == sorted(given)
    return _is_line(instance, reply)


def _is_latin(instance: Instance, reply: str) -> bool:
    symbols = sorted(re.findall(r"\d", instance.prompt))
    rows = reply.split("\n")
    return len(rows) == GRID and all(
        sorted(line) == symbols for line in [*rows, *map("".join, zip(*rows, strict=False))]
    )


def _is_line(instance: Instance, reply: str) -> bool:
    asked, _, ask = instance.prompt.removeprefix("Line: ").partition("\n")
    items: list[str] = json.loads(asked)
    try:
        said = json.loads(reply)
    except ValueError:
        return False
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        return False
    new = re.findall(r'"(\w+)"', ask)
    if instance.task == "shuffle":
        return sorted(said) == sorted(items) and said != items
    if instance.task == "remove-random":
        return any(said == items[:at] + items[at + 1 :] for at in range(len(items)))
    replaced = 1 if instance.task == "replace-random" else 0
    places = range(len(items) + 1 - replaced)
    return any(said == items[:at] + new + items[at + replaced :] for at in places)

"""The page of compositions names every sampler and constraint, and what it compares would show a mistake."""

import re
import runpy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decant.apps import catalog
from decant.apps.choosing import warps_of
from decant.apps.guidance import KINDS
from decant.decoders.workload import Workload
from decant.models.load import load
from decant.protocols import Constraint
from decant.types import Draft

DOCS = Path(__file__).parents[2] / "docs"
MATRIX = runpy.run_path(str(DOCS / "matrix.py"))
ROWS = [*MATRIX["SAMPLERS"], *MATRIX["CONSTRAINTS"], *MATRIX["GUIDES"]]
DRAFTING = MATRIX["METHODS"][1:]
PENALTIES = ("repetition-penalty", "presence-penalty", "frequency-penalty", "dry", "no-repeat-ngram", "several")


@dataclass(frozen=True)
class LooksAtTheRoot:
    """A mistake: every node of a draft is judged by the root's history, not by its own path."""

    inner: Constraint[Any]

    def start(self, prompt_BT):
        return self.inner.start(prompt_BT)

    def adjust(self, state, draft, logits_BMV):
        nothing = Draft.nothing(len(logits_BMV))
        return torch.cat([self.inner.adjust(state, nothing, row_B1V) for row_B1V in logits_BMV.split(1, 1)], 1)

    def observe(self, state, verdict, scores):
        return self.inner.observe(state, verdict, scores)


@pytest.fixture(scope="module")
def pair():
    """One model at both ends: its guesses stand until a constraint, of which they know nothing, forbids one."""
    model = load("house:draft", dtype="float32", exact="on")
    prompts = [model.encode("x = [1, 2, 1, 2, 1, 2,")]
    return MATRIX["Pair"](model, model, Workload(prompts, 7, seed=0, ends=model.ends))


@pytest.fixture(scope="module")
def free(pair):
    """What is said where nothing is done to logits."""
    return MATRIX["reference"](MATRIX["chosen"](MATRIX["Row"]("unconstrained"), pair), pair)


def row_id(row) -> str:
    return f"{row.part} {row.label}"


def chosen(row, pair):
    if row.part == "grammar":
        pytest.importorskip("llguidance", reason="the extra [grammar] is not installed")
    return MATRIX["chosen"](row, pair)


def test_every_sampler_every_constraint_and_every_lead_has_a_row() -> None:
    assert {row.part for row in MATRIX["SAMPLERS"]} == set(catalog.SAMPLERS)
    assert {row.part for row in MATRIX["CONSTRAINTS"]} == set(catalog.CONSTRAINTS)
    assert {row.part for row in MATRIX["GUIDES"]} == set(KINDS)
    assert set(catalog.METHODS) >= set(MATRIX["METHODS"])


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_the_settings_of_a_row_lead_to_its_part(row, pair) -> None:
    what = chosen(row, pair)
    if row in MATRIX["GUIDES"]:
        assert what.guide.kind == row.part
    elif row.part in catalog.CONSTRAINTS:
        assert type(what.constraint) is catalog.CONSTRAINTS[row.part].get()
    else:
        made = [warp.__qualname__.split(".")[0] for _, warp in warps_of(what.sampling)]
        assert len(made) > 2 if row.part == "chain" else made[-1] == catalog.SAMPLERS[row.part].get().__name__


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_a_row_acts_and_every_method_says_what_plain_decoding_says(row, pair, free) -> None:
    what = chosen(row, pair)
    expected = MATRIX["reference"](what, pair)
    assert (expected == free) == (row.part == "unconstrained"), "a row that changes nothing shows nothing"
    cells = {method: MATRIX["cell"](method, what, pair, expected) for method in DRAFTING}
    assert {method: (one.identical, one.notes) for method, one in cells.items()} == dict.fromkeys(DRAFTING, (1, ()))
    # A grammar forbids most of what a drafter that does not know it guesses.
    assert row.part == "grammar" or cells["draft-model"].rate > 1, "nothing guessed, nothing shown"


@pytest.mark.parametrize("row", [row for row in ROWS if row.part in PENALTIES], ids=row_id)
def test_a_constraint_that_looks_at_the_roots_history_is_caught(row, pair) -> None:
    what = chosen(row, pair)
    expected = MATRIX["reference"](what, pair)
    wrong = replace(what, constraint=LooksAtTheRoot(what.constraint))
    assert MATRIX["reference"](wrong, pair) == expected, "plain decoding drafts nothing, so that nothing is wrong in it"
    found = MATRIX["cell"]("draft-model", wrong, pair, expected)
    assert found.identical == 0
    assert "unexplained" in found.notes[0]


def test_what_is_refused_says_why(pair) -> None:
    what = chosen(MATRIX["Row"]("guidance", {"guidance": 1.5}), pair)
    found = MATRIX["cell"]("early-exit", what, pair, MATRIX["reference"](what, pair))
    assert str(found) == "refused"
    assert "does not go with guidance 1.5" in found.notes[0]


def test_the_page_holds_every_row_and_nothing_unexplained() -> None:
    text = (DOCS / "matrix.md").read_text()
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert [line[:2] for line in lines] == [[f"`{row.part}`", row.label] for row in ROWS], "run `make docs`"
    assert "unexplained" not in text
    for part, _, changes, *cells in lines:
        assert changes.startswith("0/") == (part == "`unconstrained`"), f"{part} changes nothing"
        assert all(re.fullmatch(r"\d+/\d+, \d+\.\d\d|refused", one) for one in cells)
        assert len(cells) == len(MATRIX["METHODS"])

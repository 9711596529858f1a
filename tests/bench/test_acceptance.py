"""What drafts were worth."""

import pytest
import torch

from decant.bench.acceptance import by_position, distinct_ngrams
from decant.bench.ledger import Round
from decant.types import PAD


def rows(*lists: list[int]) -> torch.Tensor:
    return torch.tensor(lists, dtype=torch.int64)


def test_a_position_counts_where_it_was_offered() -> None:
    # Request 0 offers two guesses and keeps one; request 1 offers three and keeps all.
    chain = Round(rows([5, 6, PAD], [5, 6, 7]), None, rows([0, PAD, PAD, PAD], [0, 1, 2, PAD]))
    assert by_position([chain]) == [1.0, 0.5, 1.0]


def test_a_tree_offers_depths_not_nodes() -> None:
    # Nodes 0 and 1 hang from the root, node 2 from node 1; the path is 1, 2.
    tree = Round(rows([5, 6, 7]), rows([PAD, PAD, 1]), rows([1, 2, PAD]))
    refused = Round(rows([5, 6, 7]), rows([PAD, PAD, 1]), rows([PAD]))
    assert by_position([tree]) == [1.0, 1.0]
    assert by_position([tree, refused]) == [0.5, 0.5]


def test_nothing_drafted_is_nothing_offered() -> None:
    nothing = Round(torch.empty(2, 0, dtype=torch.int64), None, torch.full((2, 1), PAD))
    assert by_position([nothing]) == []
    assert by_position([]) == []


def test_distinct_ngrams() -> None:
    assert distinct_ngrams([[1, 2, 3, 4, 5]]) == 1.0
    assert distinct_ngrams([[1] * 13]) == pytest.approx(0.1)
    assert distinct_ngrams([[1, 2, 3, 4], [1, 2, 3, 4]]) == 1.0, "two prompts with one answer are no loop"
    assert distinct_ngrams([[1, 2, 3]]) is None

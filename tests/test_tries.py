from collections import Counter

import numpy as np
import pytest
import torch

from decant.drafting.tries import Trie, laid_out
from decant.testing.laws.paths import paths
from decant.types import PAD, DraftShape

TRIE = Trie.of_paths([((1, 2, 3), 1.0), ((1, 4), 5.0), ((2,), 3.0), ((1, 2), 4.0)])


def spelt(trie: Trie) -> dict[tuple[int, ...], float]:
    return dict(zip(trie.paths(), trie.worth, strict=True))


def test_common_beginnings_are_one_and_worth_their_best() -> None:
    assert spelt(TRIE) == {(1,): 5.0, (1, 2): 4.0, (1, 2, 3): 1.0, (1, 4): 5.0, (2,): 3.0}
    assert TRIE.depths() == [1, 2, 3, 2, 1]


def test_joined_keeps_the_nodes_in_front() -> None:
    joined = TRIE.joined([((1, 2, 9), 2.0), ((7,), 1.0)])
    assert joined.tokens[:5] == TRIE.tokens
    assert joined.worth[:5] == TRIE.worth
    assert spelt(joined).keys() - spelt(TRIE).keys() == {(1, 2, 9), (7,)}


@pytest.mark.parametrize("seed", range(5))
def test_counted_counts_every_beginning(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows_HD = generator.integers(0, 3, (40, 5))
    ends_H = generator.integers(0, 6, 40)
    rows_HD[np.arange(5) >= ends_H[:, None]] = PAD
    texts = [tuple(row[row != PAD].tolist()) for row in rows_HD]
    want = Counter(text[:end] for text in texts for end in range(1, len(text) + 1))
    trie = Trie.counted(rows_HD)
    assert spelt(trie) == want
    assert all(parent < node for node, parent in enumerate(trie.parents))
    assert len(set(zip(trie.parents, trie.tokens, strict=True))) == len(trie.tokens), "no sibling twice"


@pytest.mark.parametrize("rows", [np.empty((0, 3), dtype=np.int64), np.full((2, 3), PAD), np.empty((3, 0))])
def test_nothing_to_count(rows: np.ndarray) -> None:
    assert Trie.counted(rows) == Trie()


def test_the_worthiest_come_first_with_their_parents() -> None:
    assert TRIE.best(3).paths() == [(1,), (1, 4), (1, 2)]
    cheap_parent = Trie((1, 2, 3), (PAD, 0, PAD), (1.0, 9.0, 2.0))
    assert cheap_parent.best(2).paths() == [(3,), (1,)], "a node is worth no more than its parent"


def test_a_shape_cuts() -> None:
    assert TRIE.cut(DraftShape(1), 9).paths() == [(1,), (2,)]
    assert TRIE.cut(DraftShape(3, budget=2), 9).paths() == [(1,), (1, 4)]
    assert TRIE.cut(DraftShape(0), 9) == Trie()
    ranks = ((0,), (0, 1), (0, 1, 0), (1, 0))
    assert TRIE.cut(DraftShape(3, template=ranks), 9).paths() == [(1,), (1, 2), (1, 2, 3)]


def test_a_draft_is_padded() -> None:
    draft = laid_out([TRIE, Trie(), Trie.of_paths([((5,), 1.0)])], torch.device("cpu"))
    assert paths(draft) == [TRIE.paths(), [], [(5,)]]
    assert laid_out([Trie()], torch.device("cpu")).tokens_BN.shape == (1, 0)

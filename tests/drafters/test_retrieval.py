import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from decant.drafters.retrieval import FACTS, LONGEST, TOKENS, Datastore, Retrieval, opened
from decant.errors import BadInput
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.testing.laws.paths import paths
from decant.testing.markov import MarkovLM
from decant.types import PAD, DraftShape, Scores, Verdict

LM = MarkovLM.random(vocab=9, seed=0)
NOISE = Noise.of([3])


def random_texts(seed: int, vocab: int = 3, count: int = 12) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, vocab, generator.integers(0, 60)).tolist() for _ in range(count)]


def searched(texts: list[list[int]], query: list[int], shortest: int, depth: int) -> tuple[int, Counter]:
    """The longest match of the end of `query`, and what follows it, by looking everywhere."""
    for length in range(min(LONGEST, len(query)), shortest - 1, -1):
        found = [
            tuple(text[at + length : at + length + depth])
            for text in texts
            for at in range(len(text) - length + 1)
            if text[at : at + length] == query[-length:]
        ]
        if found:
            return length, Counter(found)
    return 0, Counter()


@pytest.mark.parametrize("seed", range(8))
def test_a_search_finds_what_looking_everywhere_finds(seed: int) -> None:
    texts = random_texts(seed)
    store = Datastore.of(texts)
    generator = np.random.default_rng(100 + seed)
    lengths = set()
    for _ in range(30):
        query = generator.integers(0, 3, generator.integers(1, 24)).tolist()
        if generator.random() < 0.5:  # one that is there
            text = max(texts, key=len)
            query += text[: generator.integers(1, 30)]
        rows_HD = store.following(query[::-1][:LONGEST], 2, 10_000, 4)
        length, want = searched(texts, query, 2, 4)
        lengths.add(length)
        assert Counter(tuple(row[row != PAD].tolist()) for row in rows_HD) == want
    assert max(lengths) > 6
    assert len(lengths) > 3


def test_no_continuation_leaves_its_text() -> None:
    store = Datastore.of([[1, 2, 3], [4, 5], [], [1, 2]])
    assert sorted(store.following([2, 1], 2, 9, 3).tolist()) == [[PAD, PAD, PAD], [3, PAD, PAD]]
    assert store.following([4, 3], 2, 9, 3).shape == (0, 3), "no match runs over a border"


def test_hits_are_spread_over_all_places() -> None:
    store = Datastore.of([[1, 2, token] for token in range(3, 53)])
    rows_HD = store.following([2, 1], 2, 10, 1)
    assert len(rows_HD) == 10
    assert rows_HD.max() - rows_HD.min() > 30


def written(folder: Path, texts: list[list[int]]) -> str:
    Datastore.of(texts).write(folder)
    return str(folder)


def test_the_commonest_continuations_are_the_tree(tmp_path: Path) -> None:
    store = written(tmp_path, [[1, 2, 3, 4]] * 3 + [[1, 2, 3, 5]] * 2 + [[1, 2, 6]])
    prompt_BT = torch.tensor([[7, 1, 2], [8, 8, PAD]])
    drafter = Retrieval(store, nodes=3)
    state = drafter.start(prompt_BT, LM.start(prompt_BT)[1])
    draft = drafter.draft(state, DraftShape(4), greedy(), NOISE, None)
    assert paths(draft) == [[(3,), (3, 4), (3, 5)], []]
    assert paths(drafter.draft(state, DraftShape(1), greedy(), NOISE, None))[0] == [(3,), (6,)]
    assert isinstance(opened(store)[0].tokens, np.memmap)


def test_what_was_committed_is_searched_next(tmp_path: Path) -> None:
    drafter = Retrieval(written(tmp_path, [list(range(9))]))
    prompt_BT = torch.tensor([[0, 1], [8, PAD]])
    state = drafter.start(prompt_BT, LM.start(prompt_BT)[1])
    verdict = Verdict(torch.tensor([[2, 3], [4, PAD]]), torch.full((2, 2), PAD))
    after = drafter.observe(state, None, verdict, Scores(torch.zeros(2, 1, 9)))
    assert paths(drafter.draft(after, DraftShape(2), greedy(), NOISE, None)) == [[(4,), (4, 5)], []]
    assert after[:, -4:].tolist() == [[0, 1, 2, 3], [PAD, PAD, 8, 4]]


def test_a_store_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    drafter = Retrieval(written(tmp_path, [[1, 2, 40]]))
    prompt_BT = torch.tensor([[1, 2]])
    with pytest.raises(BadInput, match=r"holds the id 40, but the target has 9 ids; make it again"):
        drafter.start(prompt_BT, LM.start(prompt_BT)[1])


def test_what_is_no_datastore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"make one with decant datastore TEXTS --model TARGET --out FOLDER, and give"):
        Retrieval()
    with pytest.raises(BadInput, match=r"is no datastore \(.*No such file"):
        Retrieval(str(tmp_path / "nowhere"))
    cut = Path(written(tmp_path / "cut", [[1, 2, 3]]))
    np.save(cut / TOKENS, np.load(cut / TOKENS)[:-1])
    with pytest.raises(BadInput, match="was not written to its end"):
        Retrieval(str(cut))
    torn = Path(written(tmp_path / "torn", [[1, 2, 3]]))
    (torn / TOKENS).write_bytes((torn / TOKENS).read_bytes()[:-2])
    with pytest.raises(BadInput, match="is no datastore"):
        Retrieval(str(torn))
    killed = Path(written(tmp_path / "killed", [[1, 2, 3]]))
    (killed / FACTS).write_text(json.dumps({"tokens": 4}))
    with pytest.raises(BadInput, match="is no datastore"):
        Retrieval(str(killed))


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"retrieval needs shortest between 1 and 16, .* got shortest 17, hits 1000"):
        Retrieval(written(tmp_path, [[1]]), shortest=17)

"""Two models may run at once, each on a thread of its own."""

import threading

import torch

from decant.models.attention import SPLIT
from decant.models.spans import Span


def test_where_keys_are_cut_is_each_threads_own() -> None:
    seen: list[object] = []

    def look() -> None:
        seen.append(SPLIT.edge_BQ)
        with SPLIT.during([Span(0, 40, torch.tensor([1]), 41)], 1, torch.device("cpu")):
            seen.append(SPLIT.first_B)

    with SPLIT.during([Span(0, 300, torch.tensor([1, 2]), 302)], 2, torch.device("cpu")):
        mine = SPLIT.edge_BQ, SPLIT.first_B
        other = threading.Thread(target=look)
        other.start()
        other.join()
        assert seen[0] is None
        assert seen[1] != mine[1]
        assert SPLIT.edge_BQ is mine[0]
        assert SPLIT.first_B is mine[1]

from dataclasses import dataclass

import pytest
import torch

from decant.errors import DecantError, ShapeError
from decant.types import PAD, Draft, DraftShape, Taps, Verdict, join_rows, select_rows


def test_a_token_without_a_parent_is_a_shape_error() -> None:
    with pytest.raises(ShapeError, match=r"tokens_BN is \(1, 3\) but parents_BN is \(1, 2\)"):
        Draft(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64))


@pytest.mark.parametrize("rows", [1, 4])
def test_a_law_too_many_or_too_few_is_a_shape_error(rows: int) -> None:
    with pytest.raises(ShapeError, match=r"2 or 3 rows for 2 nodes, got \(1, \d, 5\)"):
        Draft(torch.zeros(1, 2, dtype=torch.int64), laws_BMV=torch.zeros(1, rows, 5))
    assert issubclass(ShapeError, DecantError)


def test_nothing_is_a_chain_without_nodes() -> None:
    nothing = Draft.nothing(3)
    assert nothing.tokens_BN.shape == (3, 0)
    assert not nothing.branches


def test_taps_satisfy_both() -> None:
    assert Taps((1, 2), 4) | Taps((2, 3), 8, logits=True) == Taps((1, 2, 3), 8, logits=True)


def test_the_verdict_of_a_chain() -> None:
    tokens_BN = torch.tensor([[4, 5], [6, 7], [8, 9]])
    verdict = Verdict.of_chain(tokens_BN, torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]))
    assert verdict.tokens_BC.tolist() == [[1, PAD, PAD], [6, 2, PAD], [8, 9, 3]]
    assert verdict.nodes_BC.tolist() == [[PAD, PAD, PAD], [0, PAD, PAD], [0, 1, PAD]]
    assert verdict.accepted_B.tolist() == [0, 1, 2]
    assert verdict.committed_B.tolist() == [1, 2, 3]


def test_the_verdict_of_a_path() -> None:
    tokens_BN = torch.tensor([[4, 5, 6], [7, 8, PAD]])
    verdict = Verdict.of_path(tokens_BN, torch.tensor([[1, 2], [PAD, PAD]]), torch.tensor([9, 3]))
    assert verdict.tokens_BC.tolist() == [[5, 6, 9], [3, PAD, PAD]]
    assert verdict.nodes_BC.tolist() == [[1, 2, PAD], [PAD, PAD, PAD]]


def test_a_chain_is_a_path() -> None:
    tokens_BN, last_B = torch.tensor([[4, 5], [6, 7]]), torch.tensor([1, 2])
    chain = Verdict.of_chain(tokens_BN, torch.tensor([1, 2]), last_B)
    path = Verdict.of_path(tokens_BN, torch.tensor([[0, PAD], [0, 1]]), last_B)
    assert torch.equal(chain.tokens_BC, path.tokens_BC)
    assert torch.equal(chain.nodes_BC, path.nodes_BC)


def test_the_verdict_of_a_path_of_no_nodes() -> None:
    none = Draft.nothing(2).tokens_BN
    assert Verdict.of_path(none, none, torch.tensor([1, 2])).tokens_BC.tolist() == [[1], [2]]


class Shared:
    def select(self, rows_R):
        return self

    def join(self, other):
        return self


@dataclass(frozen=True)
class Remembered:
    tokens_BT: torch.Tensor
    pair: tuple[torch.Tensor, int]
    shared: Shared
    knob: DraftShape


SHARED = Shared()
STATE = Remembered(
    torch.tensor([[1, 2], [3, PAD], [4, 5]]), (torch.tensor([0.1, 0.2, 0.3]), 7), SHARED, DraftShape(depth=2)
)


def test_rows_are_selected_wherever_they_are() -> None:
    some = select_rows(STATE, torch.tensor([2, 0, 2]))
    assert some.tokens_BT.tolist() == [[4, 5], [1, 2], [4, 5]]
    assert torch.equal(some.pair[0], torch.tensor([0.3, 0.1, 0.3]))
    assert (some.pair[1], some.shared, some.knob) == (7, SHARED, DraftShape(depth=2))


def test_rows_join_and_ragged_tokens_are_padded() -> None:
    other = Remembered(torch.tensor([[6, 7, 8]]), (torch.tensor([0.4]), 7), SHARED, DraftShape(depth=2))
    both = join_rows(STATE, other)
    assert both.tokens_BT.tolist() == [[1, 2, PAD], [3, PAD, PAD], [4, 5, PAD], [6, 7, 8]]
    assert both.pair[0].shape == (4,)


def test_a_state_of_nothing_stays_nothing() -> None:
    assert select_rows(None, torch.tensor([0])) is None
    assert join_rows(None, None) is None

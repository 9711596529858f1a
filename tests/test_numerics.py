import torch

from decant.numerics import ancestry, append, chain_parents, depths, latest, normalise, take
from decant.types import PAD

#      root
#     /    \
#    0      1
#   / \      \
#  2   3      4
PARENTS = torch.tensor([[PAD, PAD, 0, 0, 1]])


def test_take() -> None:
    values_BNV = torch.arange(12.0).view(1, 2, 6)
    assert take(values_BNV, torch.tensor([[3, PAD]])).tolist() == [[3.0, 0.0]]


def test_append_keeps_rows_right_padded() -> None:
    rows_BT = torch.tensor([[1, 2, 3], [4, PAD, PAD]])
    new_BC = torch.tensor([[7, PAD], [8, 9]])
    assert append(rows_BT, new_BC).tolist() == [[1, 2, 3, 7], [4, 8, 9, PAD]]


def test_append_keeps_the_order_of_a_long_row() -> None:
    rows_BT = torch.arange(300)[None]
    assert append(rows_BT, torch.tensor([[PAD, 300]])).tolist() == [list(range(301))]


def test_latest_is_padded_in_front() -> None:
    rows_BT = torch.tensor([[1, 2, 3, 4], [5, PAD, PAD, PAD], [6, 7, 8, PAD]])
    assert latest(rows_BT, torch.tensor([4, 1, 3]), 3).tolist() == [[2, 3, 4], [PAD, PAD, 5], [6, 7, 8]]


def test_normalise() -> None:
    p_BV = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    left_BV = torch.tensor([[0.0, 0.3], [0.0, 0.0]])
    assert normalise(left_BV, p_BV).tolist() == [[0.0, 1.0], [0.5, 0.5]]


def test_normalise_lifts_the_smallest_residual() -> None:
    tiny_BV = torch.tensor([[1e-38, 3e-38]])
    torch.testing.assert_close(normalise(tiny_BV, tiny_BV), torch.tensor([[0.25, 0.75]]))


def test_normalise_lifts_what_is_below_the_smallest_normal_number() -> None:
    """A law that is nearly certain leaves this little once its likeliest token is gone."""
    tiny_BV = torch.tensor([[0.0, 1e-39, 3e-39]])
    torch.testing.assert_close(normalise(tiny_BV, tiny_BV), torch.tensor([[0.0, 0.25, 0.75]]))


def test_a_chain_is_a_tree() -> None:
    tokens_BN = torch.tensor([[5, 6, 7]])
    assert chain_parents(tokens_BN).tolist() == [[PAD, 0, 1]]
    assert depths(chain_parents(tokens_BN)).tolist() == [[1, 2, 3]]


def test_depths() -> None:
    assert depths(PARENTS).tolist() == [[1, 1, 2, 2, 2]]


def test_ancestry() -> None:
    assert ancestry(PARENTS).int().tolist() == [
        [
            [1, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 0, 1, 0, 0, 0],
            [1, 1, 0, 1, 0, 0],
            [1, 1, 0, 0, 1, 0],
            [1, 0, 1, 0, 0, 1],
        ]
    ]


def test_ancestry_of_nothing_is_the_root() -> None:
    assert ancestry(PARENTS[:, :0]).tolist() == [[[True]]]

"""The distances of sets of images against closed forms, and against what each must notice."""

import pytest
import torch
from torch import Tensor

from decant.bench.images import Seen, class_accuracy, frechet_distance, precision_recall, scores
from decant.errors import BadInput


def drawn(count: int, dims: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(count: int, mean_D: Tensor, root_DD: Tensor, seed: int = 0) -> Tensor:
    """Points whose mean and covariance are the given ones to the last bits: no sampling error is left."""
    points_ND = drawn(count, len(mean_D), seed)
    points_ND = points_ND - points_ND.mean(0)
    cov_DD = points_ND.T @ points_ND / (count - 1)
    white_ND = torch.linalg.solve_triangular(torch.linalg.cholesky(cov_DD), points_ND.T, upper=False).T
    return white_ND @ root_DD.T + mean_D


def test_the_distance_of_gaussians_is_the_closed_form() -> None:
    """With covariances that commute the root is that of the products: sum (mean difference)^2 + (sd difference)^2."""
    turn_DD = torch.linalg.qr(drawn(4, 4, seed=1)).Q
    one_D, two_D = (torch.tensor(sd, dtype=torch.float64) for sd in ([1, 2, 3, 0.5], [2, 2, 1, 0.1]))
    mean_D = torch.tensor([0.3, 0, -1, 2], dtype=torch.float64)
    left = exactly(50, torch.zeros(4, dtype=torch.float64), turn_DD * one_D)
    right = exactly(70, mean_D, turn_DD * two_D, seed=2)
    expected = float(mean_D.square().sum() + (one_D - two_D).square().sum())
    assert frechet_distance(left, right) == pytest.approx(expected, abs=1e-9)


def test_the_distance_with_covariances_that_do_not_commute() -> None:
    """Against the trace of the root of A B by its eigenvalues, which are those of no symmetric matrix."""
    one_DD, two_DD = drawn(3, 3, seed=3), drawn(3, 3, seed=4)
    left = exactly(40, torch.zeros(3, dtype=torch.float64), one_DD)
    right = exactly(40, torch.zeros(3, dtype=torch.float64), two_DD, seed=5)
    a_DD, b_DD = one_DD @ one_DD.T, two_DD @ two_DD.T
    root = torch.linalg.eigvals(a_DD @ b_DD).real.sqrt().sum()
    naive = float((a_DD - b_DD).diagonal().abs().sum())
    expected = float(a_DD.trace() + b_DD.trace() - 2 * root)
    assert frechet_distance(left, right) == pytest.approx(expected, abs=1e-9)
    assert expected != pytest.approx(naive, rel=0.05)


def test_a_set_is_no_distance_from_itself_and_singular_ones_have_a_root() -> None:
    """A collapsed set, whose covariance is 0, is as far as the other's variance."""
    real = drawn(200, 6)
    assert frechet_distance(real, real.flip(0)) == pytest.approx(0, abs=1e-9)
    collapsed = real.mean(0, keepdim=True).expand(200, -1)
    assert frechet_distance(collapsed, real) == pytest.approx(float(real.var(0).sum()), abs=1e-9)


def test_a_biased_covariance_would_be_caught() -> None:
    """The planted bug divides by n: the same points, three times each, then have another distance than 0."""
    few = drawn(4, 2)
    spread = float(few.var(0).sum())
    assert frechet_distance(few, few.repeat(3, 1)) == pytest.approx(spread * (1 - (9 / 11) ** 0.5) ** 2, abs=1e-9)


def test_few_images_are_biased_upwards() -> None:
    """So sets are compared at equal size; 20 draws of a law are further from it than 400 on average."""
    law = drawn(4000, 8, seed=9)
    small, large = (
        sum(frechet_distance(drawn(count, 8, seed), law) for seed in range(10, 15)) / 5 for count in (20, 400)
    )
    assert small > 4 * large


def test_precision_and_recall_of_known_sets() -> None:
    """A line of real points one apart: the radius of an inner one is 2, of the first 3."""
    real = torch.arange(10.0)[:, None]
    assert precision_recall(real, real) == (1.0, 1.0)
    far = real + 100
    assert precision_recall(far, real) == (0.0, 0.0)
    half = torch.cat([real[:5], far[:5]])
    precision, recall = precision_recall(half, real)
    assert precision == 0.5
    assert recall == pytest.approx(0.8)  # the fifth made point reaches 3 further: real points 0 ... 7


def test_what_collapses_keeps_its_precision_and_loses_its_recall() -> None:
    real = drawn(300, 4)
    collapsed = real[:1] + 1e-3 * drawn(300, 4, seed=1)
    precision, recall = precision_recall(collapsed, real)
    assert precision == 1.0
    assert recall < 0.02


def test_a_radius_counts_others_alone() -> None:
    """The planted bug counts the point itself: the third of line points one apart then is 1 away, not 2."""
    real, made = torch.arange(10.0)[:, None], torch.tensor([[-2.9], [-3.1], [4.0], [5.0]])
    precision, _ = precision_recall(made, real)
    assert precision == 0.75


def test_class_accuracy_and_all_scores() -> None:
    labels_N = torch.arange(8) % 4
    seen = Seen(drawn(8, 2), labels_N.clone().index_fill(0, torch.tensor([0, 1]), 9))
    assert class_accuracy(seen, labels_N) == 0.75
    found = scores(seen, labels_N, seen)
    assert set(found) == {"frechet_distance", "precision", "recall", "class_accuracy"}
    assert found["precision"] == found["recall"] == 1.0
    assert found["class_accuracy"] == 0.75


def test_too_few_images_are_refused() -> None:
    with pytest.raises(BadInput, match="at least two images, got 1"):
        frechet_distance(drawn(1, 2), drawn(5, 2))
    with pytest.raises(BadInput, match="need more images than that in each set, got 3 and 5"):
        precision_recall(drawn(3, 2), drawn(5, 2))

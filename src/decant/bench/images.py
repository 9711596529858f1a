"""How far one set of images is from another, in the features of a judge.

The Frechet distance is that of FID with features of our own, so its numbers are none of FID's. It is biased upwards
where images are few, by about features / images each way: compare sets of equal size only.
Source: Heusel et al. 2017, arXiv:1706.08500 (Frechet distance); Kynkaanniemi et al. 2019, arXiv:1904.06991 (precision
and recall).
"""

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from decant.errors import BadInput

NEIGHBOURS: Final = 3  # whose distance is a point's radius, as in the paper


@final
@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a judge sees in images: features_ND, and the classes_N that it takes them for."""

    features_ND: Tensor
    classes_N: Tensor

    def __len__(self) -> int:
        return len(self.classes_N)


def frechet_distance(one_ND: Tensor, two_ND: Tensor) -> float:
    """|mean - mean|^2 + tr(A + B - 2 (A B)^(1/2)), A and B the unbiased covariances; in float64, exact roots.

    Raises BadInput for fewer than two images.
    """
    (mean_D, cov_DD), (other_D, other_DD) = (_moments(each_ND) for each_ND in (one_ND, two_ND))
    # (A B)^(1/2) has the trace of the root of the symmetric A^(1/2) B A^(1/2).
    values_D, vectors_DD = torch.linalg.eigh(cov_DD)
    root_DD = (vectors_DD * values_D.clamp(min=0).sqrt()) @ vectors_DD.T
    shared_D = torch.linalg.eigvalsh(root_DD @ other_DD @ root_DD).clamp(min=0).sqrt()
    distance = (mean_D - other_D).square().sum() + cov_DD.trace() + other_DD.trace() - 2 * shared_D.sum()
    return max(0.0, float(distance))


def precision_recall(made_ND: Tensor, real_ND: Tensor, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """The shares of made images inside the manifold of real ones, and of real ones inside that of made ones.

    A manifold is the union of balls around its points, each as wide as the way to the so manieth nearest other one.
    Raises BadInput for sets of no more than `neighbours`.
    """
    if min(len(made_ND), len(real_ND)) <= neighbours:
        raise BadInput(
            f"precision and recall with {neighbours} neighbours need more images than that in each set, got "
            f"{len(made_ND)} and {len(real_ND)}"
        )
    made_ND, real_ND = made_ND.double(), real_ND.double()
    apart_NN = _distances(made_ND, real_ND)
    reach_N, own_N = _radii(real_ND, neighbours), _radii(made_ND, neighbours)
    inside_N = (apart_NN <= reach_N).any(1)
    covered_N = (apart_NN <= own_N[:, None]).any(0)
    return float(inside_N.double().mean()), float(covered_N.double().mean())


def class_accuracy(seen: Seen, labels_N: Tensor) -> float:
    """The share of images that are taken for what was asked for."""
    return float((seen.classes_N == labels_N).double().mean())


def scores(made: Seen, labels_N: Tensor, real: Seen) -> dict[str, float]:
    """All of it, by the names that reports use."""
    precision, recall = precision_recall(made.features_ND, real.features_ND)
    return {
        "frechet_distance": frechet_distance(made.features_ND, real.features_ND),
        "precision": precision,
        "recall": recall,
        "class_accuracy": class_accuracy(made, labels_N),
    }


def _moments(features_ND: Tensor) -> tuple[Tensor, Tensor]:
    if len(features_ND) < 2:
        raise BadInput(f"a covariance needs at least two images, got {len(features_ND)}; make more")
    features_ND = features_ND.double()
    mean_D = features_ND.mean(0)
    centred_ND = features_ND - mean_D
    return mean_D, centred_ND.T @ centred_ND / (len(features_ND) - 1)


def _distances(one_ND: Tensor, two_ND: Tensor) -> Tensor:
    """By differences: products lose the last digits of small distances, and a point is no distance from itself."""
    return torch.cdist(one_ND, two_ND, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(points_ND: Tensor, neighbours: int) -> Tensor:
    """radius_N; the nearest of all is the point itself."""
    return _distances(points_ND, points_ND).kthvalue(neighbours + 1, dim=1).values

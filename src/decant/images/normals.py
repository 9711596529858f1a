"""The private Gaussian vector of every place, counted like all randomness here: no generator moves.

The same seed gives the same vectors in any batch, on any device, and in the second step of a student as in its first.
"""

import torch
from torch import Tensor

from decant.noise import Noise

STREAM = "image"  # what pictures are made from; trajectories have a stream of their own


def normals(noise: Noise, places: int, dims: int, stream: str = STREAM) -> Tensor:
    """eps_BLC: independent standard normal numbers, float32, of places 0 ... `places` - 1."""
    device = noise.seed_B.device
    place_BL1 = torch.arange(places, device=device).expand(len(noise.seed_B), -1)[:, :, None]
    u_BLC = noise.uniform(place_BL1, stream, torch.arange(dims, device=device))
    # float64 up to here: the last bit of an inverse may differ between machines, the rounded number does not.
    return torch.special.ndtri(u_BLC).float()

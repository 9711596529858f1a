"""A velocity network for `decant.testing.tables`, as small as can be."""

from typing import final

import torch
from torch import Tensor, nn

from decant.images.flow import nearest
from decant.images.layout import Layout
from decant.models.images.velocity import VelocityHead
from decant.testing.tables import TableTeacher

TABLE = TableTeacher()


@final
class TableNet(nn.Module):
    """An `images.scoring.OnePassStudent`."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.head = VelocityHead(width, 2, width, 1)
        self.layout: Layout = TABLE.layout
        self.codes_VC, self.classes = TABLE.codes_VC, TABLE.classes

    def features(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        """Of the class, the place, and the vector before it."""
        place_BLX = torch.eye(2).expand(len(labels_B), 2, 2)
        class_BLX = torch.eye(2)[labels_B][:, None].expand(-1, 2, -1)
        return self.body(torch.cat([TABLE.carried(vectors_BLC), place_BLX, class_BLX], dim=-1))

    def velocity(self, x_XLC: Tensor, t_XL1: Tensor, f_BLD: Tensor) -> Tensor:
        """Of the head."""
        return self.head(x_XLC, t_XL1, f_BLD)

    def draw(self, labels_B: Tensor, eps_BLC: Tensor) -> Tensor:
        """One pass."""
        f_BLD = self.features(labels_B, eps_BLC)
        return eps_BLC - self.velocity(eps_BLC, torch.ones_like(eps_BLC[..., :1]), f_BLD)


def net(seed: int = 0, width: int = 64) -> TableNet:
    """Fresh; the last matrix of the head is not zero, so that something depends on everything."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = TableNet(width)
        for name, weight in made.head.named_parameters():
            if "condition" in name or "outward" in name:
                nn.init.normal_(weight, std=0.2)
        return made


@torch.no_grad()
def apart(student: TableNet, draws: int = 20_000) -> list[float]:
    """Total variation of what one pass says, snapped to codes, from the table's joint law; of each class."""
    found = []
    for label in range(2):
        eps_BLC = torch.randn(draws, 2, 2, generator=torch.Generator().manual_seed(label))
        ids_BL = nearest(student.draw(torch.full((draws,), label), eps_BLC), TABLE.codes_VC)
        counts_VV = torch.bincount(3 * ids_BL[:, 0] + ids_BL[:, 1], minlength=9).view(3, 3)
        found.append(float((counts_VV / draws - TABLE.joint(label)).abs().sum() / 2))
    return found

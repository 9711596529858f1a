"""Teach a network what follows a class and the units before: cross-entropy on codes, now and then without the class.

The same lesson serves raster order, where a unit is a place, and next-scale order, where it is a scale.
Source: Sun et al. 2024, arXiv:2406.06525 (LlamaGen, class dropout 0.1); Tian et al. 2024, arXiv:2404.02905 (VAR).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from decant.distill.settings import Settings
from decant.distill.trainer import train
from decant.images.seams import ImageTokenizer
from decant.models.images.teacher import CodeModel

CLASSLESS: Final = 0.1  # share of rows that are read without their class
BLUR: Final = 0.3  # of the vectors read in training, whose size is 1: few images are learned by heart less soon, and
# vectors near a code, which students write, mean much the same


@final
@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """labels_N and ids_SNL: each image in S versions, such as shifts; share_S: how often each is read. rows: images of
    a step.
    """

    labels_N: Tensor
    ids_SNL: Tensor
    share_S: Tensor
    rows: int = 128

    def batch(self, step: int, no_class: int) -> tuple[Tensor, Tensor]:
        """A label, then its ids, rows_BT, and a weight for each id; a function of the step."""
        rng = torch.Generator().manual_seed(step)
        which_B = torch.randint(len(self.labels_N), (self.rows,), generator=rng)
        version_B = torch.multinomial(self.share_S, self.rows, replacement=True, generator=rng)
        classless_B = torch.rand(self.rows, generator=rng) < CLASSLESS
        labels_B = self.labels_N[which_B].masked_fill(classless_B, no_class)
        rows_BT = torch.cat([labels_B[:, None], self.ids_SNL[version_B, which_B]], dim=1)
        weights_BT = torch.ones(rows_BT.shape)
        weights_BT[:, 0] = 0
        return rows_BT, weights_BT


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A network and the tokenizer whose codes it reads."""

    network: CodeModel
    tokenizer: ImageTokenizer

    def loss(self, rows_BT: Tensor, weights_BT: Tensor) -> Tensor:
        """Nats of the ids behind their labels, weighted, summed; the blur is torch's own draw."""
        labels_B, ids_BL = rows_BT[:, 0], rows_BT[:, 1:]
        vectors_BLC = self.tokenizer.codes_VC[ids_BL]
        inputs_BLC = self.tokenizer.carried(vectors_BLC + BLUR * torch.randn_like(vectors_BLC))
        nats_BL = cross_entropy(self.network(labels_B, inputs_BLC).transpose(1, 2), ids_BL, reduction="none")
        return (nats_BL * weights_BT[:, 1:]).sum()


def teach(network: CodeModel, tokenizer: ImageTokenizer, examples: Examples, settings: Settings, folder: Path) -> None:
    """Train in place, from the checkpoint in `folder` if there is one."""
    no_class = network.body.spec.classes
    reading = Reading(network, tokenizer)
    train(network, reading.loss, lambda step: examples.batch(step, no_class), settings, folder)
    network.eval().requires_grad_(False)


@torch.no_grad()
def nats(network: CodeModel, tokenizer: ImageTokenizer, labels_N: Tensor, ids_NL: Tensor) -> float:
    """Nats a code, of images that the network never saw, behind their labels; the tokenizer's codes are float32."""
    total = 0.0
    for labels_B, ids_BL in zip(labels_N.split(512), ids_NL.split(512), strict=True):
        logits_BLV = network(labels_B, tokenizer.carried(tokenizer.codes_VC[ids_BL]))
        total += float(cross_entropy(logits_BLV.transpose(1, 2), ids_BL, reduction="sum"))
    return total / ids_NL.numel()

"""What every recipe for a head shares: the seam, and the divergence from the teacher at the positions that count."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from decant.distill.trainer import Loss
from decant.models.heads.spec import HeadSpec
from decant.models.teacher import Reading, Teacher


class HeadRecipe(Protocol):
    """A way of teaching one kind of head; its fields are the knobs."""

    kind: ClassVar[str]
    draft_vocab: int

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher."""
        ...

    def rate(self, spec: HeadSpec) -> float:
        """The peak of the learning rate, where the user names none."""
        ...

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Weighted nats, summed; gradients reach the head alone."""
        ...

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Of each depth, logits_KV over the guesses at `reading.columns(depth)`."""
        ...


def targets(reading: Reading, ids_V: Tensor | None) -> tuple[Tensor, Tensor]:
    """law_NV over the ids that can be guessed, and weight_N: zero where the teacher's likeliest cannot be."""
    if ids_V is None:
        return reading.logits_NV.softmax(-1), reading.weight_N
    covered_N = torch.isin(reading.logits_NV.argmax(-1), ids_V)
    return reading.logits_NV[:, ids_V].softmax(-1), reading.weight_N * covered_N


def cross_entropy(law_KV: Tensor, logits_KV: Tensor, weight_K: Tensor) -> Tensor:
    """The weighted sum of -sum p log q, in nats."""
    return (-(law_KV * logits_KV.float().log_softmax(-1)).sum(-1) * weight_K).sum()


def regression(
    reading: Reading, kept_K: Tensor, state_KD: Tensor, apart: Callable[..., Tensor] = smooth_l1_loss
) -> Tensor:
    """The weighted sum of how far states are apart from the teacher's last one at those positions, mean over width."""
    true_KD = reading.final_BTD[reading.row_N[kept_K], reading.at_N[kept_K]]
    return (apart(state_KD.float(), true_KD, reduction="none").mean(-1) * reading.weight_N[kept_K]).sum()


def chance(ids_BT: Tensor) -> torch.Generator:
    """It depends on the text alone, so that a run that resumes draws the same."""
    return torch.Generator().manual_seed(int(ids_BT.sum()))  # sync: the text is the seed


def noisy(reading: Reading, noise: float) -> Tensor:
    """The teacher's tapped states with uniform noise, as wide as `noise` for a text of 512 tokens."""
    if not noise:
        return reading.hidden_BTF
    drawn_BTF = torch.rand(reading.hidden_BTF.shape, generator=chance(reading.ids_BT)).to(reading.hidden_BTF.device)
    return reading.hidden_BTF + (drawn_BTF - 0.5) * noise * 512 / reading.ids_BT.shape[1]


def sized(chosen: int, otherwise: int) -> int:
    """A knob that is 0 where the teacher's own size is meant."""
    return chosen or otherwise


def layered(spec: HeadSpec, recipe: Any) -> HeadSpec:
    """With the layer's sizes that a recipe's knobs ask for."""
    names = ("intermediate", "heads", "kv_heads", "head_dim")
    return replace(spec, **{name: sized(getattr(recipe, name), getattr(spec, name)) for name in names})

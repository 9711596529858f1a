"""What recipes share that teach a head on its own states: several steps of it, each against the teacher's law.

Source: Li et al. 2025, arXiv:2503.01840.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor

from decant.distill.heads.lesson import cross_entropy, noisy, regression, targets
from decant.distill.trainer import Loss
from decant.models.build import mixed_precision
from decant.models.heads.block import angles_of
from decant.models.heads.recurrent import unrolled
from decant.models.teacher import Reading, Teacher

DEPTHS: Final = 5  # of a measurement


def own_states(net: Any, teacher: Teacher, unroll: int, decay: float) -> Loss:
    """Cross-entropy of every step; decay: what a step counts less than the one before."""
    angles = angles_of(net.spec, torch.float32, teacher.device)

    def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
        law_NV, weight_N = targets(reading, net.ids_V)
        total = law_NV.new_zeros(())
        with mixed_precision(teacher.device):
            for depth, logits_KV in enumerate(_steps(net, reading, angles, unroll)):
                kept_K, _ = reading.columns(depth)
                total = total + decay**depth * cross_entropy(law_NV[kept_K], logits_KV, weight_N[kept_K])
        return total

    return loss


def own_states_and_theirs(net: Any, teacher: Teacher, recipe: Any, said: Callable[[Tensor], Tensor]) -> Loss:
    """Of every step, how far its states are from the teacher's, and the cross-entropy of what is said of them.

    recipe: knobs noise, unroll, decay, regression, ce. said: state_KD -> logits_KV.
    Source: Li et al. 2024, arXiv:2401.15077.
    """
    angles = angles_of(net.spec, torch.float32, teacher.device)

    def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
        law_NV, weight_N = targets(reading, net.ids_V)
        total = law_NV.new_zeros(())
        with mixed_precision(teacher.device):
            steps = unrolled(net, reading.ids_BT, noisy(reading, recipe.noise), angles)
            for depth, state_BTD in enumerate(islice(steps, recipe.unroll)):
                kept_K, column_K = reading.columns(depth)
                state_KD = state_BTD[reading.row_N[kept_K], column_K]
                nats = cross_entropy(law_NV[kept_K], said(state_KD), weight_N[kept_K])
                missed = regression(reading, kept_K, state_KD)
                total = total + recipe.decay**depth * (recipe.regression * missed + recipe.ce * nats)
        return total

    return loss


def guessed(net: Any, reading: Reading) -> Iterator[Tensor]:
    """Depth 0 on the teacher's states, the others on the head's own."""
    angles = angles_of(net.spec, torch.float32, reading.ids_BT.device)
    yield from _steps(net, reading, angles, DEPTHS)


def _steps(net: Any, reading: Reading, angles: Any, steps: int) -> Iterator[Tensor]:
    for depth, state_BTD in enumerate(islice(unrolled(net, reading.ids_BT, reading.hidden_BTF, angles), steps)):
        kept_K, column_K = reading.columns(depth)
        yield net.logits(state_BTD[reading.row_N[kept_K], column_K])

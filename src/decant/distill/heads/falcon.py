"""Falcon's recipe, coupled sequential glancing distillation: what the head gets wrong at first decides how much of the
answer it is then shown, and it is taught the rest.

A first pass guesses. Of every text, as many slots as a share of the wrong guesses are then given what they were to
guess: runs from the heads of blocks, so that the tail of a block learns from its head. The second pass is taught, with
regression and law, at the slots that were shown nothing.

Not as published: the share falls from `glance` to 0 in the course of a run there; a lesson here does not know how far
the run is, and draws its share from the same range. A hard label, drawn from the teacher's law, is left out beside
that law, whose gradient it has in the mean. The published code also teaches the slots that were shown their answer,
and shows answers to the first text of a batch alone.
Source: Gao et al. 2024, arXiv:2412.12639; glancing: Qian et al. 2020, arXiv:2008.07905.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.distill.heads.lesson import chance, cross_entropy, layered, noisy, regression, targets
from decant.distill.trainer import Loss
from decant.errors import BadInput
from decant.models.build import mixed_precision
from decant.models.heads.block import angles_of
from decant.models.heads.falcon import ahead, passed, unrolled
from decant.models.heads.spec import HeadSpec
from decant.models.teacher import Reading, Teacher

DEPTHS: Final = 5  # of a measurement


@final
@dataclass(frozen=True, slots=True)
class Falcon:
    """block: states at a time. memory: width of the LSTM, 0: the teacher's. intermediate, heads, kv_heads, head_dim: of
    the layer; 0: the teacher's. draft_vocab: ids that can be guessed, 0: all. regression, ce: weights of the two
    losses. noise: on the teacher's states, for a text of 512 tokens. glance: the largest share of wrong guesses that is
    shown. Raises BadInput for a block below 1."""

    kind: ClassVar[str] = "falcon"
    block: int = 2
    memory: int = 0
    intermediate: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    draft_vocab: int = 0
    regression: float = 1.0
    ce: float = 0.1
    noise: float = 0.2
    glance: float = 0.4

    def __post_init__(self) -> None:
        if self.block < 1:
            raise BadInput(f"a block holds at least one state, got block={self.block}; take 2")

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher."""
        knobs = {"block": self.block, "memory": self.memory}
        spec = HeadSpec.beside(
            self.kind, teacher.name, teacher.config, taps=(-1,), draft_vocab=self.draft_vocab, knobs=knobs
        )
        return layered(spec, self)

    def rate(self, spec: HeadSpec) -> float:
        """3e-5 at a width of 4,096; more for narrower heads."""
        return 3e-5 * 4096 / spec.hidden

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Both losses, at every slot that was shown nothing; blocks begin where chance has it."""
        angles = angles_of(net.spec, torch.float32, teacher.device)

        def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
            reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
            law_NV, weight_N = targets(reading, net.ids_V)
            kept_K = (reading.at_N >= self.block).nonzero()[:, 0]
            row_K, slot_K = reading.row_N[kept_K], reading.at_N[kept_K] - self.block
            rng = chance(reading.ids_BT)
            first = int(torch.randint(self.block, (), generator=rng))
            ahead_T = ahead(ids_BT.shape[1], self.block, first)
            fed = pad(reading.ids_BT[:, 1:], (0, 1)), noisy(reading, self.noise)
            with mixed_precision(teacher.device):
                if self.glance and self.block > 1:
                    with torch.no_grad():
                        said_KV = net.logits(passed(net, *fed, angles, ahead_T)[row_K, slot_K])
                    wrong_K = said_KV.argmax(-1) != law_NV[kept_K].argmax(-1)
                    counted_BT = torch.zeros_like(reading.ids_BT, dtype=torch.bool)
                    wrong_BT = counted_BT.clone()
                    counted_BT[row_K, slot_K], wrong_BT[row_K, slot_K] = True, wrong_K
                    shown_BT = self.shown(counted_BT, wrong_BT, first, rng)
                    fed = glanced(*fed, reading, shown_BT, self.block)
                    unseen_K = ~shown_BT[row_K, slot_K]
                    kept_K, row_K, slot_K = kept_K[unseen_K], row_K[unseen_K], slot_K[unseen_K]
                state_KD = passed(net, *fed, angles, ahead_T)[row_K, slot_K]
                nats = cross_entropy(law_NV[kept_K], net.logits(state_KD), weight_N[kept_K])
                return self.regression * regression(reading, kept_K, state_KD) + self.ce * nats

        return loss

    def shown(self, counted_BT: Tensor, wrong_BT: Tensor, first: int, rng: torch.Generator) -> Tensor:
        """bool_BT: slots that are given what they are to guess: of blocks in any order the first 1 to block - 1 slots,
        until there are as many as a drawn share of the wrong guesses. counted_BT: slots that are taught at all."""
        batch, length = counted_BT.shape
        device = counted_BT.device
        where_T = torch.arange(length, device=device) - first + self.block
        number_T, place_T = where_T // self.block, where_T % self.block
        blocks = int(number_T.max()) + 1  # sync: a lesson
        budget_B = (wrong_BT.sum(-1) * torch.rand((), generator=rng).to(device) * self.glance).round()
        size_BJ = torch.randint(1, self.block, (batch, blocks), generator=rng).to(device)
        order_BJ = torch.rand(batch, blocks, generator=rng).argsort(-1).to(device)
        heads_BT = counted_BT & (place_T < size_BJ[:, number_T])
        cost_BJ = torch.zeros(batch, blocks, device=device).index_add_(1, number_T, heads_BT.float())
        spent_BJ = cost_BJ.gather(1, order_BJ).cumsum(-1)
        chosen_BJ = torch.zeros_like(spent_BJ, dtype=torch.bool).scatter(1, order_BJ, spent_BJ <= budget_B[:, None])
        return heads_BT & chosen_BJ[:, number_T]

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """The first block on the teacher's states, the others on the head's own."""
        angles = angles_of(net.spec, torch.float32, reading.ids_BT.device)
        for depth, state_BTD in enumerate(islice(unrolled(net, reading.ids_BT, reading.hidden_BTF, angles), DEPTHS)):
            kept_K, column_K = reading.columns(depth)
            yield net.logits(state_BTD[reading.row_N[kept_K], column_K])


def glanced(
    tokens_BT: Tensor, hidden_BTF: Tensor, reading: Reading, shown_BT: Tensor, block: int
) -> tuple[Tensor, Tensor]:
    """What enters the slots, those that are shown something a block further on: the state that they are to guess, and
    the token after it."""
    later_BT = pad(tokens_BT[:, block:], (0, block))
    later_BTF = pad(reading.hidden_BTF[:, block:], (0, 0, 0, block))
    return later_BT.where(shown_BT, tokens_BT), later_BTF.where(shown_BT[..., None], hidden_BTF)

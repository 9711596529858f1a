"""A network learns to jump from noise, or from an image begun, to the image that the teacher makes of it.

The teacher's draw of every code is replaced by a flow from a Gaussian vector of that place's own, so that the image is
a function of label and noise (`trajectories.py`); the student learns this function at a few states. Loss of a student
that says codes, at every place that is still noise: the nats of the teacher's codes, a distance of vectors for the
continuous head and one of pictures; the weights that the paper gave them were never published. A student with a flow
says laws: its loss is their distance from the teacher's laws behind the codes that this noise leads to. What is
exported is the running mean of the weights.
Source: Liu et al. 2024, arXiv:2412.17153 (Distilled Decoding 1).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, final

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy, mse_loss

from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.images.trajectories import Trajectories
from decant.distill.trainer import Share
from decant.errors import BadInput
from decant.images.jumping import Jumped, JumpStudent, jumped, settled_flags, spliced
from decant.images.layout import Layout
from decant.images.seams import AnyTeacher
from decant.models.images.jump import JumpNet, untrained
from decant.noise import sample_seed

Decode = Callable[[Tensor], Tensor]
"""vectors_BLC -> images_BYX, differentiable: the frozen tokenizer's."""
LEAST: Final = 10  # steps below which a running mean is mostly the latest weights: its rate is (1 + n) / (10 + n) then


@final
@dataclass(frozen=True, slots=True)
class DD1:
    """head: what the student says, codes as in the paper ("direct") or laws under which noise flows ("flow"). pairs: of
    noise and image. middle: settled units of the second state, none: a third of the places, half of the scales. split:
    units that the logits speak for, none: all. layers: of the student, 0: the teacher's. token, image: weights of the
    distances of vectors and of pictures, beside nats. other: share of a batch that begins at any other state than the
    two. ema: rate of the running mean. flow: steps of the solver. sharpness: the power of the laws that a student's
    noise flows under.

    Raises BadInput for what is out of range.
    """

    head: Literal["direct", "flow"] = "direct"
    pairs: int = 50_000
    middle: int | None = None
    split: int | None = None
    layers: int = 0
    token: float = 1.0
    image: float = 1.0
    other: float = 0.0
    ema: float = 0.9999
    flow: int = 20
    sharpness: float = 1.0

    def __post_init__(self) -> None:
        if self.flow < 1 or self.sharpness <= 0:
            raise BadInput(f"dd1 needs flow of at least one step and a sharpness above 0, got {self}")
        if min(self.token, self.image) < 0 or not 0 <= self.other <= 1 or not 0 <= self.ema < 1 or self.layers < 0:
            raise BadInput(
                f"dd1 needs weights token and image of 0 or more, 0 <= other <= 1, 0 <= ema < 1 and layers >= 0, got "
                f"{self}"
            )

    def steps(self, layout: Layout) -> tuple[int, ...]:
        """Settled units of the states that are taught. Raises BadInput for a middle that is no later unit."""
        usual = layout.units // 3 if layout.is_raster else -(-layout.units // 2)  # as in the paper
        middle = max(1, usual) if self.middle is None else self.middle
        if layout.units == 1:
            return (0,)
        if not 0 < middle < layout.units:
            raise BadInput(f"the middle of {layout.units} units lies in 1 ... {layout.units - 1}, got {middle}")
        return (0, middle)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Pairs of one step. units_B: how many units of each are settled. Every tensor leads with B."""

    labels_B: Tensor
    eps_BLC: Tensor
    ids_BL: Tensor
    units_B: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Jumping:
    """A `trainer.Training`. What is remembered is the running mean of the weights, by name. decode: of a tokenizer, for
    the distance of pictures. teacher: whose laws a student with a flow learns."""

    net: JumpNet
    recipe: DD1
    pairs: Trajectories
    batch: int
    seed: int
    decode: Decode | None = None
    teacher: AnyTeacher | None = None
    noise: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", self.pairs.eps())

    def start(self) -> dict[str, Tensor]:
        """The weights themselves."""
        return {name: value.detach().clone() for name, value in self.net.named_parameters()}

    def batches(self, state: dict[str, Tensor], step: int, share: Share) -> tuple[list[Piece], dict[str, Tensor]]:
        """Pairs and states, drawn by the number of the step."""
        # A generator of torch's CPU reads the low 32 bits of a seed alone.
        drawing = Generator().manual_seed(sample_seed(self.seed, step + 1) % 2**32)
        rows_B = torch.randint(len(self.pairs), (self.batch,), generator=drawing)
        units_B = self._units(drawing)
        parts = share.pieces(self.batch, self.batch)
        return [self.piece(rows_B[part], units_B[part]) for part in parts], state

    def piece(self, rows_B: Tensor, units_B: Tensor) -> Piece:
        """Some pairs, each with so many units settled."""
        device = self.pairs.labels_N.device
        rows_B = rows_B.to(device)
        return Piece(
            self.pairs.labels_N[rows_B], self.noise[rows_B], self.pairs.ids_NL[rows_B].long(), units_B.to(device)
        )

    def weight(self, piece: Piece) -> Tensor:
        """Places that are noise."""
        return (settled_flags(piece.units_B, self.net.layout) == 0).sum()

    def nats(self, state: dict[str, Tensor], step: int, piece: Piece) -> Tensor:
        """Summed over places that are noise."""
        if self.teacher is not None:
            return lawful(self.net, piece, self.teacher)
        return torch.stack(list(losses(self.net, piece, self.recipe, self.decode).values())).sum()

    def observe(self, state: dict[str, Tensor], step: int, nats: float) -> dict[str, Tensor]:
        """One step of the running mean, in place."""
        rate = min(self.recipe.ema, (1 + step) / (LEAST + step))
        with torch.no_grad():
            for name, value in self.net.named_parameters():
                state[name].lerp_(value.detach(), 1 - rate)
        return state

    def _units(self, drawing: Generator) -> Tensor:
        steps = torch.tensor(self.net.steps)
        taught_B = steps[torch.randint(len(steps), (self.batch,), generator=drawing)]
        any_B = torch.randint(self.net.layout.units, (self.batch,), generator=drawing)
        other_B = torch.rand(self.batch, generator=drawing) < self.recipe.other
        return any_B.where(other_B, taught_B)


def lawful(net: JumpNet, piece: Piece, teacher: AnyTeacher) -> Tensor:
    """Nats by which the student's laws are off, KL(teacher || student), summed over places that are noise; the
    teacher's stand behind the codes that the same noise leads to."""
    flags_BL = settled_flags(piece.units_B, net.layout)
    codes_BLC = net.codes_VC[piece.ids_BL]
    said_BLV = net.laws(piece.labels_B, spliced(codes_BLC, piece.eps_BLC, flags_BL), flags_BL)
    apart_BL = ForwardKL()(teacher.laws(piece.labels_B, codes_BLC), said_BLV)
    return apart_BL.masked_fill(flags_BL == 1, 0.0).sum()


def losses(net: JumpNet, piece: Piece, recipe: DD1, decode: Decode | None) -> dict[str, Tensor]:
    """Parts of the loss, each summed over places that are noise.

    nats: of the teacher's codes. vectors: squared distance to them, a mean over dimensions, in the units that the
    continuous head speaks for. pictures: squared distance of pixels, a mean over an image, times its places that are
    noise; of images whose other units are the teacher's.
    """
    flags_BL = settled_flags(piece.units_B, net.layout)
    noisy_BL = flags_BL == 0
    codes_BLC = net.codes_VC[piece.ids_BL]
    said = net.jump(piece.labels_B, spliced(codes_BLC, piece.eps_BLC, flags_BL), flags_BL)
    nats_BL = cross_entropy(said.logits_BLV.transpose(1, 2), piece.ids_BL, reduction="none")
    parts = {"nats": nats_BL.masked_fill(~noisy_BL, 0.0).sum()}
    free_BL = noisy_BL & (net.layout.unit_of_L.to(noisy_BL.device) >= net.split)
    if net.split < net.layout.units:
        apart_BL = mse_loss(said.vectors_BLC, codes_BLC, reduction="none").mean(-1)
        parts["vectors"] = recipe.token * apart_BL.masked_fill(~free_BL, 0.0).sum()
        if decode is not None and recipe.image:
            parts["pictures"] = recipe.image * _pictures(said, codes_BLC, free_BL, decode)
    return parts


def _pictures(said: Jumped, codes_BLC: Tensor, free_BL: Tensor, decode: Decode) -> Tensor:
    wanted_BYX = decode(codes_BLC).detach()
    made_BYX = decode(torch.where(free_BL[..., None], said.vectors_BLC, codes_BLC))
    return ((made_BYX - wanted_BYX).square().mean((1, 2)) * free_BL.sum(-1)).sum()


def averaged(net: JumpNet, mean: dict[str, Tensor]) -> JumpNet:
    """A copy of the student with the running mean for weights, ready to jump."""
    kept = untrained(net.spec, net.codes_VC, carried=net.carried).to(net.codes_VC.device)
    kept.load_state_dict({**net.state_dict(), **mean})
    return kept.requires_grad_(False).eval()


@torch.no_grad()
def measured(student: JumpStudent, pairs: Trajectories, decode: Decode | None = None) -> dict[str, dict[str, float]]:
    """By the number of passes: on pairs that were not learnt from, the share of places, and of whole images, whose
    codes are the teacher's; and the squared distance of pixels to the teacher's pictures, a mean."""
    eps_BLC, wanted_BL = pairs.eps(), pairs.ids_NL.long()
    found: dict[str, dict[str, float]] = {}
    for calls in range(1, len(student.steps) + 1):
        vectors_BLC, ids_BL = jumped(student, pairs.labels_N, eps_BLC, calls)
        right_BL = ids_BL == wanted_BL
        said = {"codes": float(right_BL.float().mean()), "images": float(right_BL.all(-1).float().mean())}
        if decode is not None:
            said["pixels"] = float((decode(vectors_BLC) - decode(student.codes_VC[wanted_BL])).square().mean())
        found[str(calls)] = {name: round(value, 5) for name, value in said.items()}
    return found

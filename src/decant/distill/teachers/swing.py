"""A teacher that is blunted where it may leak private training text: the more private a token, the hotter its law.

The student keeps its own temperature: softened on both sides, the distance would be least where the student says
exactly what the teacher does, secrets included. Reconstructed from a description of the paper; its formula is not
verified.
Source: Li et al. 2022, arXiv:2212.08349 (Swing distillation).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.distill.seams import Law, Signal, Teacher
from decant.distill.texts import Positions, TextBatch
from decant.errors import BadInput, IncompatibleParts
from decant.noise import Noise
from decant.numerics import floored

Privacy = Callable[[TextBatch, Positions], Tensor]
"""private_N in [0, 1] of each label: 0 is public."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Swing:
    """private: of which tokens. cool, hot: temperatures of public and of wholly private ones.

    noise: scale of Laplace noise on a wholly private token's logits. It is a function of the text and the place, so
    that asking again does not average it out.
    """

    teacher: Teacher
    private: Privacy
    cool: float = 1.0
    hot: float = 10.0
    noise: float = 0.0
    seed: int = 0

    gives: ClassVar[frozenset[str]] = frozenset({"law", "dense"})

    def __post_init__(self) -> None:
        if not 0 < self.cool <= self.hot or self.noise < 0:
            raise BadInput(f"0 < cool <= hot and noise >= 0, got {self.cool}, {self.hot} and {self.noise}")
        if "dense" not in self.teacher.gives:
            raise IncompatibleParts(f"{type(self.teacher).__name__} gives no whole law, which is what is blunted")

    def signal(self, batch: TextBatch, at: Positions) -> "Blunted":
        """The teacher's own, blunted."""
        private_N = self.private(batch, at).to(at.weight_N)
        if not bool(((private_N >= 0) & (private_N <= 1)).all()):  # sync: once a batch
            raise BadInput("privacy lies in [0, 1] for every token")
        noise = Noise.of(_seeds(batch, self.seed), at.row_N.device).select(at.row_N) if self.noise else None
        return Blunted(self.teacher.signal(batch, at), self, private_N, at, noise)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Blunted:
    """A `Signal`."""

    own: Signal
    swing: Swing
    private_N: Tensor
    at: Positions
    noise: Noise | None

    def law(self, rows: slice) -> "BluntedLaw":
        """At these positions."""
        noise = None if self.noise is None else Noise(self.noise.seed_B[rows], self.at.at_N[rows])
        return BluntedLaw(self.own.law(rows), self.swing, self.private_N[rows], noise)


@final
@dataclass(frozen=True, slots=True, eq=False)
class BluntedLaw:
    """A `Law`. temperature: the objective's, which comes on top."""

    own: Law
    swing: Swing
    private_X: Tensor
    noise: Noise | None
    temperature: float = 1.0

    def softened(self, temperature: float) -> "BluntedLaw":
        """At a temperature."""
        return replace(self, temperature=temperature)

    def beside(self, q_logp_XV: Tensor, label_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's side, blunted; the student's as it is."""
        p, q, label_X = self.own.beside(q_logp_XV, label_X)
        private_X1 = self.private_X.to(p)[:, None]
        heat_X1 = self.swing.cool + (self.swing.hot - self.swing.cool) * private_X1
        softened = floored(p) / heat_X1
        if self.noise is not None:
            lane_1V = torch.arange(p.shape[-1], device=p.device)[None]
            u_XV = self.noise.uniform(torch.zeros_like(label_X)[:, None], "swing", lane_1V) - 0.5
            laplace_XV = -u_XV.sign() * torch.log1p(-2 * u_XV.abs())
            softened = softened + self.swing.noise * private_X1 * laplace_XV.to(p)
        return (softened / self.temperature).log_softmax(-1), q, label_X


def _seeds(batch: TextBatch, seed: int) -> list[int]:
    """Of each text: a hash of its ids, as far as the last that counts."""
    found = []
    for row in range(len(batch)):
        said = f"{seed} {batch.text(row).ids}".encode()
        found.append(int.from_bytes(hashlib.sha256(said).digest()[:8], "little"))
    return found

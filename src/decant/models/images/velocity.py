"""The networks of Distilled Decoding 2: a body, and a small head that says how a vector flows where a code comes next.

The generator and its guidance network have this one shape. The body reads vectors of earlier units, or their noise; the
head reads a noisy vector, the time, and the body's state, and says a velocity; it is cheap, so that many noises of one
vector share a pass of the body. The generator asks its head once, at t = 1, where there is nothing but noise.
Source: Liu et al. 2025, arXiv:2510.21003 (Distilled Decoding 2); the head: Li et al. 2024, arXiv:2406.11838 (MAR).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from decant.errors import BadInput
from decant.images.layout import Layout
from decant.models.images import students
from decant.models.images.body import Body, BodySpec
from decant.models.images.folder import read_tokenizer

ARCHITECTURE: Final = "DistilledDecoding2"
KIND: Final = "dd2"
WAVES: Final = 8  # of a time; their lengths halve, and the shortest tells apart times that differ by 0.01

Carried = Callable[[Tensor], Tensor]
"""`ImageTokenizer.carried`: vectors_BLC -> inputs_BLC."""


@final
@dataclass(frozen=True, slots=True)
class VelocitySpec:
    """teacher: as the user named it. codes: in the codebook. width, depth: of the head."""

    teacher: str
    body: BodySpec
    codes: int
    width: int = 96
    depth: int = 2

    def __post_init__(self) -> None:
        if min(self.width, self.depth) < 1:
            raise BadInput(f"a head has a width and a depth of 1 or more, got {self.width} and {self.depth}")


@final
class Block(nn.Module):
    """One residual step of the head; condition_XW says how it is scaled, shifted and weighed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.condition = nn.Linear(width, 3 * width)
        self.inward, self.outward = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)

    def forward(self, h_XW: Tensor, condition_XW: Tensor) -> Tensor:
        """Begins as the identity."""
        scale_XW, shift_XW, gate_XW = self.condition(condition_XW).chunk(3, -1)
        return h_XW + gate_XW * self.outward(silu(self.inward(self.norm(h_XW) * (1 + scale_XW) + shift_XW)))


@final
class VelocityHead(nn.Module):
    """v_XC of x_XC at t_X1, behind features that broadcast against them."""

    def __init__(self, hidden: int, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.vector, self.feature = nn.Linear(channels, width), nn.Linear(hidden, width)
        self.time = nn.Sequential(nn.Linear(2 * WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.condition = nn.Linear(width, 2 * width)
        self.outward = nn.Linear(width, channels)
        for part in (self.condition, self.outward):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)

    def forward(self, x_XC: Tensor, t_X1: Tensor, f_XD: Tensor) -> Tensor:
        """Begins as no velocity at all."""
        waves = torch.arange(WAVES, device=t_X1.device)
        angle_XE = t_X1 * (math.pi / 2 * 2.0**waves)
        time_XW = self.time(torch.cat([angle_XE.sin(), angle_XE.cos()], dim=-1))
        condition_XW = silu(time_XW + self.feature(f_XD))
        h_XW = self.vector(x_XC)
        for block in self.blocks:
            h_XW = block(h_XW, condition_XW)
        scale_XW, shift_XW = self.condition(condition_XW).chunk(2, -1)
        return self.outward(self.norm(h_XW) * (1 + scale_XW) + shift_XW)


@final
class VelocityNet(nn.Module):
    """An `images.scoring.OnePassStudent`, in float32; its guidance network is another of the same spec."""

    codes_VC: Tensor

    def __init__(self, spec: VelocitySpec, carried: Carried, codes_VC: Tensor | None = None) -> None:
        super().__init__()
        self.spec, self.carried = spec, carried
        self.body = Body(spec.body)
        self.head = VelocityHead(spec.body.hidden, spec.body.channels, spec.width, spec.depth)
        empty = torch.zeros(spec.codes, spec.body.channels)
        self.register_buffer("codes_VC", empty if codes_VC is None else codes_VC.detach().clone().float())

    @property
    def layout(self) -> Layout:
        """In which order places come."""
        return self.body.layout

    @property
    def classes(self) -> int:
        """Labels beside "no class"."""
        return self.spec.body.classes

    def features(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        """f_BLD: of place i, from the class and the vectors of earlier units."""
        return self.body.features(labels_B, self.carried(vectors_BLC))

    def velocity(self, x_XLC: Tensor, t_XL1: Tensor, f_BLD: Tensor) -> Tensor:
        """v_XLC; X is B, or B with the noises of one vector in front."""
        return self.head(x_XLC, t_XL1, f_BLD)

    def draw(self, labels_B: Tensor, eps_BLC: Tensor) -> Tensor:
        """vectors_BLC, in one pass, with gradients where they are wanted."""
        f_BLD = self.features(labels_B, eps_BLC)
        return eps_BLC - self.velocity(eps_BLC, torch.ones_like(eps_BLC[..., :1]), f_BLD)


def untrained(spec: VelocitySpec, carried: Carried, codes_VC: Tensor | None = None, seed: int = 0) -> VelocityNet:
    """Fresh weights, the same for the same seed; the global generator does not move."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VelocityNet(spec, carried, codes_VC)


def inherit(net: VelocityNet, teacher: Body) -> None:
    """Begin with the teacher's body. Raises BadInput where it has another shape."""
    try:
        net.body.load_state_dict(teacher.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"the student's body cannot begin as its teacher's: {reason}") from error


def save(net: VelocityNet, folder: Path) -> None:
    """config.json and model.safetensors (`students.write`); the tokenizer is not its affair."""
    students.write(net, written(net.spec), folder)


def written(spec: VelocitySpec) -> dict[str, Any]:
    """config.json."""
    public = {"hidden_size": spec.body.hidden, "num_hidden_layers": spec.body.layers, "vocab_size": spec.codes}
    ours = {"kind": KIND, "teacher": spec.teacher}
    head = {"body": asdict(spec.body), "width": spec.width, "depth": spec.depth}
    return {"architectures": [ARCHITECTURE], "dtype": "float32", **public, "decant": ours, "velocity": head}


def read(folder: Path) -> VelocityNet:
    """The student of a folder, float32, ready to draw; it reads the tokenizer beside it. Raises BadInput for a folder
    that holds none."""
    spec = _spec(students.described(folder, ARCHITECTURE, KIND), folder)
    net = untrained(spec, read_tokenizer(folder).carried)
    students.fill(net, folder)
    return net


def _spec(config: Mapping[str, Any], folder: Path) -> VelocitySpec:
    try:
        said = config["velocity"]
        body = students.body_of(said["body"])
        return VelocitySpec(config["decant"]["teacher"], body, config["vocab_size"], said["width"], said["depth"])
    except (KeyError, TypeError) as error:
        raise BadInput(f"{folder / 'config.json'} lacks or misspells {error}; teach the student anew") from error

"""The student of Distilled Decoding 1: the teacher's body, fed with noise, and heads that say the image at once.

As published, every place reads its own vector, a code's or noise, and says its own code; a table of two rows tells
which of them it is. The logits head is the teacher's; the continuous one is new: a norm whose scale and shift follow
from flag and class, then a matrix. With `flow` the student says the *law* of a place's code behind the noise of earlier
units, reading what the teacher reads, and the place's own noise flows under that law in closed form: on settled units
it is then its teacher from the first step on, and what it has to learn is to look through the noise.
Source: Liu et al. 2024, arXiv:2412.17153 (Distilled Decoding 1; the student with `flow` is our own).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from decant.errors import BadInput
from decant.images.jumping import Jumped, flowed_unit
from decant.images.layout import Layout
from decant.models.images import students
from decant.models.images.body import Body, BodySpec
from decant.models.images.folder import read_tokenizer

ARCHITECTURE: Final = "DistilledDecoding1"
KIND: Final = "dd1"

Carried = Callable[[Tensor], Tensor]
"""vectors_BLC -> inputs_BLC, as `ImageTokenizer.carried`."""


@final
@dataclass(frozen=True, slots=True)
class JumpSpec:
    """teacher: as the user named it. body: flagged. codes: in the codebook. steps, split: as in
    `images.jumping.JumpStudent`. flow: steps of the solver, 0: codes are said directly. sharpness: the power of the
    laws that noise flows under; above 1 it makes up for what the student is unsure of and the teacher is not.

    Raises BadInput for steps that do not ascend from 0 below the number of units; for a split before the last of them,
    as what a later pass reads must be codes; and, under a flow, which ends on codes, for a split at all.
    """

    teacher: str
    body: BodySpec
    codes: int
    steps: tuple[int, ...]
    split: int
    flow: int = 0
    sharpness: float = 1.0

    def __post_init__(self) -> None:
        units = len(self.body.sides)
        steps = self.steps
        if self.flow and self.split != units:
            raise BadInput(f"flows end on codes, so all {units} units are read off them; leave split {self.split} out")
        if not steps or steps[0] != 0 or list(steps) != sorted(set(steps)) or steps[-1] >= units:
            raise BadInput(f"steps ascend from 0 to below the {units} units of an image, got {steps}")
        if not steps[-1] <= self.split <= units:
            raise BadInput(
                f"a split lies between the last step and the {units} units of an image, so that later steps read "
                f"codes; got split {self.split} with steps {steps}"
            )


@final
class Continuous(nn.Module):
    """vectors_BLC from features."""

    def __init__(self, spec: BodySpec) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(spec.hidden, elementwise_affine=False)
        self.kinds = nn.Embedding(2, 2 * spec.hidden)
        self.classes = nn.Embedding(spec.classes + 1, 2 * spec.hidden)
        self.outward = nn.Linear(spec.hidden, spec.channels)
        nn.init.zeros_(self.kinds.weight)
        nn.init.zeros_(self.classes.weight)

    def forward(self, f_BLD: Tensor, labels_B: Tensor, flags_BL: Tensor) -> Tensor:
        """Scale and shift start at none."""
        scale_BLD, shift_BLD = (self.kinds(flags_BL) + self.classes(labels_B)[:, None]).chunk(2, -1)
        return self.outward(self.norm(f_BLD) * (1 + scale_BLD) + shift_BLD)


@final
class JumpNet(nn.Module):
    """An `images.jumping.JumpStudent`, in float32. carried: of the tokenizer; under a flow alone it is asked."""

    codes_VC: Tensor

    def __init__(self, spec: JumpSpec, codes_VC: Tensor | None = None, carried: Carried | None = None) -> None:
        super().__init__()
        self.spec, self.carried = spec, carried
        self.body = Body(spec.body)
        self.logits = nn.Linear(spec.body.hidden, spec.codes, bias=False)
        if not spec.flow:
            self.continuous = Continuous(spec.body)
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

    @property
    def steps(self) -> tuple[int, ...]:
        """Settled units of the states that it was taught on."""
        return self.spec.steps

    @property
    def split(self) -> int:
        """Units whose codes are read off the logits."""
        return self.spec.split

    def jump(self, labels_B: Tensor, vectors_BLC: Tensor, flags_BL: Tensor) -> Jumped:
        """With gradients where they are wanted, but for flows: what these say has none."""
        if self.spec.flow:
            with torch.no_grad():
                logp_BLV = self.laws(labels_B, vectors_BLC, flags_BL)
                logp_BLV = (self.spec.sharpness * logp_BLV).log_softmax(-1)
                ids_BL = flowed_unit(logp_BLV, vectors_BLC, self.codes_VC, self.spec.flow)
            return Jumped(one_hot(ids_BL, self.spec.codes).float(), self.codes_VC[ids_BL])
        f_BLD = self.body.aligned(labels_B, vectors_BLC, flags_BL)
        return Jumped(self.logits(f_BLD), self.continuous(f_BLD, labels_B, flags_BL))

    def laws(self, labels_B: Tensor, vectors_BLC: Tensor, flags_BL: Tensor) -> Tensor:
        """logp_BLV of every place behind the vectors of earlier units; of students with a flow. Differentiable."""
        assert self.carried is not None, "`read` and `imitating.student` give it"
        unit_L = self.layout.unit_of_L.to(flags_BL.device)
        before_L = torch.searchsorted(unit_L, unit_L - 1)  # the first place of the unit before
        read_BL = flags_BL[:, before_L].masked_fill(unit_L == 0, 1)
        return self.logits(self.body.features(labels_B, self.carried(vectors_BLC), read_BL)).log_softmax(-1)


def untrained(spec: JumpSpec, codes_VC: Tensor | None = None, seed: int = 0, carried: Carried | None = None) -> JumpNet:
    """Fresh weights, the same for the same seed; the global generator does not move."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return JumpNet(spec, codes_VC, carried)


def inherit(net: JumpNet, teacher: Body, head_VD: Tensor) -> list[str]:
    """Begin with the teacher's weights, by name and shape; head_VD: its logits of codes. What stays as it was, by name.

    Layers that the teacher does not have begin as none: they add zero.
    """
    theirs = teacher.state_dict()
    mine = net.body.state_dict()
    taken = {name: value for name, value in theirs.items() if name in mine and mine[name].shape == value.shape}
    net.body.load_state_dict(taken, strict=False)
    with torch.no_grad():
        if head_VD.shape == net.logits.weight.shape:
            net.logits.weight.copy_(head_VD)
            taken["logits.weight"] = head_VD
        for layer in list[Any](net.body.llama.layers)[teacher.spec.layers :]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    return sorted((mine.keys() | {"logits.weight"}) - taken.keys())


def save(net: JumpNet, folder: Path) -> None:
    """config.json and model.safetensors (`students.write`)."""
    students.write(net, written(net.spec), folder)


def written(spec: JumpSpec) -> dict[str, Any]:
    """config.json."""
    public = {"hidden_size": spec.body.hidden, "num_hidden_layers": spec.body.layers, "vocab_size": spec.codes}
    ours = {"kind": KIND, "teacher": spec.teacher}
    jump = {"body": asdict(spec.body), "steps": list(spec.steps), "split": spec.split}
    jump |= {"flow": spec.flow, "sharpness": spec.sharpness} if spec.flow else {}
    return {"architectures": [ARCHITECTURE], "dtype": "float32", **public, "decant": ours, "jump": jump}


def read(folder: Path) -> JumpNet:
    """The student of a folder, float32, ready to jump. Raises BadInput for a folder that holds none."""
    spec = _spec(students.described(folder, ARCHITECTURE, KIND), folder)
    net = untrained(spec, carried=read_tokenizer(folder).carried if spec.flow else None)
    students.fill(net, folder)
    return net


def _spec(config: Mapping[str, Any], folder: Path) -> JumpSpec:
    try:
        jump = config["jump"]
        body = students.body_of(jump["body"])
        flow = {name: jump[name] for name in ("flow", "sharpness") if name in jump}
        steps, codes = tuple(jump["steps"]), config["vocab_size"]
        return JumpSpec(config["decant"]["teacher"], body, codes, steps, jump["split"], **flow)
    except (KeyError, TypeError) as error:
        raise BadInput(f"{folder / 'config.json'} lacks or misspells {error}; teach the student anew") from error

"""A small target, and heads for it that were taught nothing."""

from pathlib import Path

import torch
from torch import Tensor

from decant.export.source import Source
from decant.models.build import LlamaSpec, untrained
from decant.models.heads import folder as heads
from decant.models.heads.block import angles_of
from decant.models.heads.ends import Ends
from decant.models.heads.recurrent import unrolled
from decant.models.heads.spec import HeadSpec

VOCAB, WIDTH, LAYERS = 48, 32, 4
IDS = torch.arange(2, VOCAB, 3)
TAPS = {"eagle3": (1, 2, 3)}
KNOBS = {"medusa": {"num_heads": 3, "num_layers": 2, "shared": True}}


def target() -> Source:
    spec = LlamaSpec(VOCAB, WIDTH, LAYERS, 4, 2, 64, head_dim=8, positions=128, eos=(1,))
    return Source("target", untrained(spec, seed=0), None)


def head(kind: str, folder: Path, ids: Tensor | None = IDS, **knobs: object) -> Path:
    """The folder of a head whose every weight is noise."""
    config = target().config
    spec = HeadSpec.beside(
        kind, "target", config, taps=TAPS.get(kind, (-1,)), draft_vocab=0 if ids is None else len(ids),
        knobs={**KNOBS.get(kind, {}), **knobs}, intermediate=24, heads=2, kv_heads=1, head_dim=16,
    )  # fmt: skip
    net = heads.untrained(spec, ids, seed=1)
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn(weight.shape, generator=noise) * 0.2)
    heads.save(net, folder)
    return folder


def read(folder: Path, whose: Source):
    """Bound to its target, in float32."""
    net = heads.read(folder, LAYERS)
    return net.bind(Ends.of_teacher(whose.network, net.ids_V))


def text(layers: int) -> tuple[Tensor, Tensor]:
    """ids_T and states_TF of random rows."""
    noise = torch.Generator().manual_seed(3)
    ids_T = torch.randint(VOCAB, (9,), generator=noise)
    return ids_T, torch.randn(9, layers * WIDTH, generator=noise)


@torch.no_grad()
def states(net, ids_T: Tensor, hidden_TF: Tensor) -> Tensor:
    """state_TD of decant's own first step: row t knows token t + 1. The last row has no such token."""
    angles = angles_of(net.spec, torch.float32, ids_T.device)
    return next(unrolled(net, ids_T[None], hidden_TF[None], angles))[0, :-1]

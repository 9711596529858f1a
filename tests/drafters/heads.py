"""Untrained heads that are ready to draft for a toy target, whose states are as wide as its vocabulary."""

from typing import Any

import torch
from torch.nn.functional import linear

from decant.models.heads.ends import Ends
from decant.models.heads.folder import untrained
from decant.models.heads.full_context import FullContext
from decant.models.heads.medusa import Parallel
from decant.models.heads.recurrent import Recurrent
from decant.models.heads.semi_autoregressive import SemiAutoregressive
from decant.models.heads.spec import HeadSpec

LOUD = {"medusa": 1.0, "eagle3": 1.0, "glide": 1.0, "chimera": 0.1}
READY = {"medusa": Parallel, "falcon": SemiAutoregressive, "chimera": FullContext}


def toy(kind: str, vocab: int = 5, ids: tuple[int, ...] = (), seed: int = 0) -> Any:
    """Of a kind; ids: those that it can guess, all where none are given."""
    taps = (1, 2, -1) if kind in {"eagle3", "glide"} else (-1,)
    knobs = {"medusa": {"num_heads": 3}, "glide": {"width": 6, "layers": 2}}.get(kind, {})
    spec = HeadSpec(kind, "toy", vocab, vocab, 3, taps, 8, 2, 1, 4, len(ids), knobs=knobs)
    ids_V = torch.tensor(ids) if ids else None
    net = untrained(spec, ids_V, seed).requires_grad_(False)
    rng = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        if weight.dim() > 1:
            # Heads without a norm behind their layer make states large, and laws certain, which tests nothing.
            weight.copy_(torch.randn(weight.shape, generator=rng) * LOUD.get(kind, 0.4))
    table, out = (torch.randn(vocab, vocab, generator=rng) for _ in range(2))
    out = out if ids_V is None else out[ids_V]
    net.bind(Ends(table, lambda hidden: linear(hidden, out)))
    return READY.get(kind, Recurrent)(net, taps, vocab, torch.empty(0))

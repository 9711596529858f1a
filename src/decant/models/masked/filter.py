"""The network that says which guesses of a block will last, and its folder in Hugging Face format.

It reads how sure a model is at each place of a block and sees no token, so that a few examples teach it.
Source: Bao et al. 2025, arXiv:2509.25188 (Learn2PD).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import gelu

from decant.errors import BadInput

ARCHITECTURE: Final = "SettlingFilter"
WEIGHTS: Final = "model.safetensors"


@final
@dataclass(frozen=True, slots=True)
class FilterSpec:
    """block: places that are read together. hidden: width of the layer between."""

    block: int = 32
    hidden: int = 32

    def __post_init__(self) -> None:
        if min(self.block, self.hidden) < 1:
            raise BadInput(f"a filter reads at least one place with a width of at least 1, got {self}")


@final
class FilterNet(nn.Module):
    """Two linear maps: 2,112 weights for the authors' 32 places."""

    def __init__(self, spec: FilterSpec) -> None:
        super().__init__()
        self.spec = spec
        self.inner = nn.Linear(spec.block, spec.hidden)
        self.out = nn.Linear(spec.hidden, spec.block)

    @property
    def block(self) -> int:
        """Places that are read together."""
        return self.spec.block

    def forward(self, sure_XW: Tensor) -> Tensor:
        """score_XW, logits of lasting. sure_XW: probabilities of the guesses, from left to right."""
        return self.out(gelu(self.inner(sure_XW)))


def untrained(spec: FilterSpec, seed: int = 0) -> FilterNet:
    """Fresh weights, the same for the same seed; the global generator does not move."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FilterNet(spec)


def save(net: FilterNet, folder: Path) -> None:
    """Write config.json and model.safetensors, float32."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().to("cpu", torch.float32).contiguous() for name, weight in net.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    text = json.dumps({"architectures": [ARCHITECTURE], "filter": asdict(net.spec)}, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> FilterNet:
    """The network of a folder, for decoding. Raises BadInput for a folder that holds no filter."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        net = untrained(FilterSpec(**config["filter"]))
        net.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{folder} holds no filter that can be read ({reason}); train one for this model") from error
    return net.eval().requires_grad_(False)

"""The network that says where a small model's token would lead elsewhere, and its folder in Hugging Face format.

Three linear maps (of the small model's last hidden state, of the embedding of the token that it proposes, of its best
logits), one after the other into a residual stack of feed-forward blocks, to one logit. The embedding is the small
model's own table, frozen, which the folder does not repeat.
Source: Fu et al. 2025, arXiv:2505.21600.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu

from decant.errors import BadInput, IncompatibleParts
from decant.models.causal import Causal
from decant.models.network import Network

ARCHITECTURE: Final = "TokenRouter"
WEIGHTS: Final = "model.safetensors"


@final
@dataclass(frozen=True, slots=True)
class RouterSpec:
    """The shape of a router. The authors' is 1024 wide beside a small model of 1536.

    hidden:    width of the small model, and of its embedding.
    vocab:     its logits; top: how many of the best are read.
    width:     of the stack; expansion: of a block's inner layer, in widths.
    threshold: the probability from which on a token goes to the target (`distill.router` finds it).
    """

    hidden: int
    vocab: int
    top: int = 100
    width: int = 1024
    blocks: int = 6
    expansion: int = 4
    dropout: float = 0.1
    threshold: float = 0.5

    @classmethod
    def beside(cls, network: Network, **changes: Any) -> "RouterSpec":
        """For a small model: as wide as it is."""
        config = network.config.get_text_config()
        vocab = config.vocab_size
        return cls(
            **({"width": config.hidden_size, "top": min(100, vocab)} | changes), hidden=config.hidden_size, vocab=vocab
        )


@final
class RouterNet(nn.Module):
    """The weights; fresh ones as the authors', from normal numbers of variance 2 / inputs."""

    def __init__(self, spec: RouterSpec) -> None:
        super().__init__()
        self.spec = spec
        self.from_hidden = nn.Linear(spec.hidden, spec.width)
        self.from_token = nn.Linear(spec.hidden, spec.width)
        self.from_logits = nn.Linear(spec.top, spec.width)
        self.together = nn.Linear(3 * spec.width, spec.width)
        self.blocks = nn.ModuleList(_Block(spec) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(spec.width)
        self.out = nn.Linear(spec.width, 1)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.kaiming_normal_(part.weight)
                nn.init.zeros_(part.bias)

    def forward(self, hidden_XD: Tensor, token_XD: Tensor, top_XK: Tensor) -> Tensor:
        """score_X, logits. token_XD: embeddings of the proposed tokens; top_XK: the best logits, best first."""
        inputs = [self.from_hidden(hidden_XD), self.from_token(token_XD), self.from_logits(top_XK)]
        x_XE = self.together(torch.cat(inputs, -1))
        for block in self.blocks:
            x_XE = block(x_XE)
        return self.out(self.norm(x_XE)).squeeze(-1)


@final
class _Block(nn.Module):
    def __init__(self, spec: RouterSpec) -> None:
        super().__init__()
        self.share = spec.dropout
        self.norm = nn.LayerNorm(spec.width)
        self.up = nn.Linear(spec.width, spec.expansion * spec.width)
        self.down = nn.Linear(spec.expansion * spec.width, spec.width)

    def forward(self, x_XE: Tensor) -> Tensor:
        inner = dropout(gelu(self.up(self.norm(x_XE))), self.share, self.training)
        return x_XE + dropout(self.down(inner), self.share, self.training)


@final
@dataclass(frozen=True, slots=True, eq=False)
class TokenRouter:
    """A router ready to decode: what `decoders.r2r` calls.

    embedded: ids -> their embeddings in the small model.
    """

    net: RouterNet
    embedded: Callable[[Tensor], Tensor]

    @property
    def threshold(self) -> float:
        """The probability from which on a token goes to the target."""
        return self.net.spec.threshold

    def __call__(self, hidden_BD: Tensor, logits_BV: Tensor, tokens_B: Tensor) -> Tensor:
        """score_B. Of an enlarged small model the first columns are the model that taught the router."""
        width = self.net.spec.hidden
        top_BK = best(logits_BV, self.net.spec.top)
        return self.net(hidden_BD[:, :width].float(), self.embedded(tokens_B)[:, :width].float(), top_BK)


def best(logits_XV: Tensor, count: int) -> Tensor:
    """The best logits, best first; a forbidden token counts as the row's least allowed one."""
    logits_XV = logits_XV.float()
    least_X1 = logits_XV.masked_fill(logits_XV == -torch.inf, torch.inf).amin(-1, keepdim=True)
    return torch.maximum(logits_XV, least_X1).topk(count, -1).values


def untrained(spec: RouterSpec, seed: int = 0) -> RouterNet:
    """Fresh weights, the same for the same seed; the global generator does not move."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RouterNet(spec)


def save(net: RouterNet, folder: Path) -> None:
    """Write config.json and model.safetensors, float32."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().to("cpu", torch.float32).contiguous() for name, weight in net.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    text = json.dumps({"architectures": [ARCHITECTURE], "router": asdict(net.spec)}, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> RouterNet:
    """The network of a folder, for decoding. Raises BadInput for a folder that holds no router."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        net = untrained(RouterSpec(**config["router"]))
        net.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{folder} holds no router that can be read ({reason}); train one for this pair") from error
    return net.eval().requires_grad_(False)


def ready(net: RouterNet, small: Causal) -> TokenRouter:
    """Bound to the small model whose tokens it judges. Raises IncompatibleParts for another one."""
    config = small.network.config.get_text_config()
    if config.hidden_size < net.spec.hidden or config.vocab_size != net.spec.vocab:
        raise IncompatibleParts(
            f"this router was trained beside a model of width {net.spec.hidden} and {net.spec.vocab} ids, but the "
            f"draft model has width {config.hidden_size} and {config.vocab_size} ids; train one for this pair"
        )
    return TokenRouter(net.to(small.network.device), small.network.embedded)

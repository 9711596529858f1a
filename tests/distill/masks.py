"""Shared by tests of lessons with masks: networks that say what a table says, and tiny real ones."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from decant.diffusion import Fresh
from decant.models.build import LlamaSpec, untrained
from decant.models.masked.convention import Convention
from decant.models.masked.training import adapt
from decant.testing.canvases import TableLM

SPEC = LlamaSpec(vocab=11, hidden=16, layers=2, heads=2, kv_heads=1, intermediate=24, head_dim=8, positions=64)


class Told(nn.Module):
    """A network whose logits at every place are what `says` makes of a canvas."""

    def __init__(self, says) -> None:
        super().__init__()
        self.says = says
        self.device = torch.device("cpu")
        self.config = SimpleNamespace(get_text_config=SimpleNamespace)

    def get_decoder(self):
        return lambda input_ids, attention_mask, use_cache: SimpleNamespace(last_hidden_state=self.says(input_ids))

    def get_output_embeddings(self):
        return nn.Identity()


def free(logits_BTV: Tensor) -> Told:
    """The same logits for every canvas."""
    return Told(lambda canvas_BT: logits_BTV)


def tabled(model: TableLM) -> Told:
    """The exact conditionals of a joint law, behind one place of prompt."""

    def says(canvas_BT: Tensor) -> Tensor:
        canvas_BL = canvas_BT[:, 1:]
        state = model.start(canvas_BT[:, :1], canvas_BL)
        every_BL = torch.ones_like(canvas_BL, dtype=torch.bool)
        _, logits_NV = model.predict(state, canvas_BL, Fresh.whole(canvas_BL), every_BL)
        logits_BLV = logits_NV.view(*canvas_BL.shape, model.vocab)
        return torch.cat([torch.zeros_like(logits_BLV[:, :1]), logits_BLV], dim=1)

    return Told(says)


def tiny(shift: bool = False):
    """A Llama with opinions and a row for a mask, and how it is read."""
    network = untrained(SPEC)
    for weight in network.parameters():
        weight.data.mul_(4.0 if weight.dim() == 2 else 1.0)
    return network, adapt(network, shift)


def texts(step: int) -> tuple[Tensor, Tensor]:
    """Four texts of a step; the first two places are given."""
    ids_BT = torch.randint(SPEC.vocab, (4, 12), generator=torch.Generator().manual_seed(step))
    weights_BT = torch.ones(4, 12)
    weights_BT[:, :2] = 0
    weights_BT[1, 8:] = 0.5
    return ids_BT, weights_BT


MASK = Convention(SPEC.vocab)

"""Who moves the weights: AdamW, and Muon for the matrices that are no table.

Source: Loshchilov & Hutter 2019, arXiv:1711.05101 (AdamW); Liu et al. 2025, arXiv:2502.16982 (Muon, at AdamW's scale).
"""

import torch
from torch import nn

from decant.distill.settings import Settings


def optimisers(model: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices that are no table if it has a peak; `peak` lies in each group."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in trained if weight.dim() >= 2]
    vectors = [weight for weight in trained if weight.dim() < 2]  # norms and biases are not decayed
    found: list[torch.optim.Optimizer] = []
    if settings.muon is not None:
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        hidden = [weight for weight in matrices if id(weight) not in tables and weight.dim() == 2]
        matrices = [weight for weight in matrices if id(weight) in tables or weight.dim() > 2]
        muon = [{"params": hidden, "peak": settings.muon}]
        found.append(torch.optim.Muon(muon, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"))
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay, "peak": settings.peak},
        {"params": vectors, "weight_decay": 0.0, "peak": settings.peak},
    ]
    return [*found, torch.optim.AdamW(groups, betas=settings.betas, fused=True)]

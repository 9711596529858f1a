"""A causal model of transformers, read in both directions while it learns to fill in masks."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from decant.models.build import mixed_precision
from decant.models.masked.convention import Convention
from decant.models.student import head


def masked_logits(
    network: PreTrainedModel,
    convention: Convention,
    canvas_BT: Tensor,
    present_BT: Tensor,
    at: tuple[Tensor, Tensor],
    ahead_BTT: Tensor | None = None,
) -> Tensor:
    """logits_NV, float32, of the places (row_N, place_N) of a canvas; the mask itself is never said.

    present_BT: false for padding. ahead_BTT: which later places each place may read; None: all of them.
    """
    seen_BTT = present_BT[:, None].expand(-1, canvas_BT.shape[1], -1)
    if ahead_BTT is not None:
        seen_BTT = seen_BTT & (ahead_BTT | torch.ones_like(seen_BTT).tril())
    body: Any = network.get_decoder()
    with mixed_precision(network.device):
        # Four dimensions: transformers takes such a mask as it is, and adds no causal one.
        out = body(input_ids=canvas_BT, attention_mask=seen_BTT[:, None], use_cache=False).last_hidden_state
    row_N, place_N = at
    # Under the shift the first place has nothing in front; it is the prompt's, and nobody asks for it.
    logits_NV = head(network)(out[row_N, place_N - int(convention.shift)]).float()
    return logits_NV.index_fill(-1, torch.tensor([convention.mask_token_id], device=logits_NV.device), -torch.inf)


def adapt(network: PreTrainedModel, shift: bool = False) -> Convention:
    """Give it one more row for a mask, which starts as the mean of all; its configuration says so.

    Source: Gong et al. 2024, arXiv:2410.17891 (DiffuLLaMA); the row's start is ours.
    """
    config = network.config.get_text_config()
    mask = config.vocab_size
    with torch.random.fork_rng():
        network.resize_token_embeddings(mask + 1, mean_resizing=False)
    with torch.no_grad():
        for part in (network.get_input_embeddings(), network.get_output_embeddings()):
            assert isinstance(part, nn.Embedding | nn.Linear)
            part.weight[mask] = part.weight[:mask].mean(0)
    convention = Convention(mask, shift)
    convention.write(network.config)
    return convention

"""A causal model of transformers, read in both directions while it learns to fill in masks."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from decant.models.build import mixed_precision
from decant.models.masked.convention import Convention
from decant.models.student import head
from decant.types import PAD


def masked_logits(
    network: PreTrainedModel,
    convention: Convention,
    ids_BT: Tensor,
    answer_BT: Tensor,
    at: tuple[Tensor, Tensor],
    ahead_BTT: Tensor | None = None,
) -> Tensor:
    """logits_NV, float32, of the places (row_N, place_N) of texts; the mask itself is never said.

    ids_BT: masks where a text is hidden, PAD behind it. answer_BT: a text's canvas begins at the first of these.
    ahead_BTT: which later places each place may read, as far as the convention lets it; None: all of them.
    """
    seen_BTT = (ids_BT != PAD)[:, None].expand(-1, ids_BT.shape[1], -1)
    if convention.causal_prompt:
        prompt_B = (answer_BT.cumsum(-1) == 0).sum(-1)
        causal_B = (prompt_B - int(convention.shift)).clamp_min(0)
        open_BT1 = (torch.arange(ids_BT.shape[1], device=ids_BT.device) >= causal_B[:, None])[..., None]
        ahead_BTT = open_BT1 if ahead_BTT is None else ahead_BTT & open_BT1
    if ahead_BTT is not None:
        seen_BTT = seen_BTT & (ahead_BTT | torch.ones_like(seen_BTT).tril())
    body: Any = network.get_decoder()
    with mixed_precision(network.device):
        # Four dimensions: transformers takes such a mask as it is, and adds no causal one.
        out = body(
            input_ids=ids_BT.clamp_min(0), attention_mask=seen_BTT[:, None], use_cache=False
        ).last_hidden_state
    row_N, place_N = at
    # Under the shift the first place has nothing in front; it is the prompt's, and nobody asks for it.
    logits_NV = head(network)(out[row_N, place_N - int(convention.shift)]).float()
    return logits_NV.index_fill(-1, torch.tensor([convention.mask_token_id], device=logits_NV.device), -torch.inf)


def adapt(network: PreTrainedModel, shift: bool = False, causal_prompt: bool = False) -> Convention:
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
    convention = Convention(mask, shift, causal_prompt)
    convention.write(network.config)
    return convention

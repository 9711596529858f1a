"""Where a layer of a model of transformers looks: its attention weights, computed anew from what enters it."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from decant.models.attention import MaskForm
from decant.models.spans import additive


@torch.no_grad()
def attention(network: PreTrainedModel, hidden_BTD: Tensor, layer: int) -> Tensor:
    """weights_BHTT of a layer, counted from 0; hidden_BTD: what entered it (`States.layers[layer]`).

    Fused kernels do not give them, so that one layer is run again without: memory grows with T squared.
    """
    stack: Any = network.get_decoder()
    block, config = stack.layers[layer], stack.layers[layer].self_attn.config
    form = MaskForm.of(network.config.get_text_config(), hidden_BTD.dtype)
    place_T = torch.arange(hidden_BTD.shape[1], device=hidden_BTD.device)
    allow_TT = place_T[None] <= place_T[:, None]
    if form.window and form.kind == "sliding":
        allow_TT = allow_TT & (place_T[None] > place_T[:, None] - form.window)
    own = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        normed_BTD = block.input_layernorm(hidden_BTD.to(block.input_layernorm.weight.dtype))
        angles = stack.rotary_emb(normed_BTD, place_T[None])
        mask_11TT = additive(allow_TT, normed_BTD.dtype)[None, None]
        _, weights_BHTT = block.self_attn(
            hidden_states=normed_BTD, position_embeddings=angles, attention_mask=mask_11TT
        )[:2]
    finally:
        config._attn_implementation = own
    return weights_BHTT

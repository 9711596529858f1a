"""A causal model of transformers, read as its convention says while it learns to fill in masks."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from decant.models.build import mixed_precision
from decant.models.masked.convention import Convention
from decant.models.student import head
from decant.types import PAD


@final
@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Texts, each read V times with other places hidden.

    ids_BT:     PAD behind a text.
    answer_BT:  a text's canvas begins at the first of these, and its blocks count these.
    masked_VBT: what is hidden; asked_VBT: the places that are asked about.
    ahead_BTT:  which later places each place may read, as far as the convention lets it; None: all of them.
    said_BT:    of a model that reads block by block, places of the text itself that are asked about behind the others:
                as a causal model says them. None: none.
    """

    ids_BT: Tensor
    answer_BT: Tensor
    masked_VBT: Tensor
    asked_VBT: Tensor
    ahead_BTT: Tensor | None = None
    said_BT: Tensor | None = None


def masked_logits(network: PreTrainedModel, convention: Convention, texts: Readings) -> Tensor:
    """logits_NV, float32, of the places that are asked about, in their order; the mask itself is never said."""
    read = _apart if convention.block is None else _packed
    hidden_NF = read(network.get_decoder(), network.device, convention, texts)
    logits_NV = head(network)(hidden_NF).float()
    return logits_NV.index_fill(-1, torch.tensor([convention.mask_token_id], device=logits_NV.device), -torch.inf)


def _apart(body: Any, device: torch.device, convention: Convention, texts: Readings) -> Tensor:
    """Each reading as a row of its own."""
    ids_BT, views = texts.ids_BT, len(texts.masked_VBT)
    length = ids_BT.shape[1]
    seen_BTT = (ids_BT != PAD)[:, None].expand(-1, length, -1)
    ahead_BTT = texts.ahead_BTT
    if convention.causal_prompt:
        open_BT1 = (_groups(convention, texts.answer_BT) > 0)[..., None]
        ahead_BTT = open_BT1 if ahead_BTT is None else ahead_BTT & open_BT1
    if ahead_BTT is not None:
        seen_BTT = seen_BTT & (ahead_BTT | torch.ones_like(seen_BTT).tril())
    canvas_VBT = ids_BT.masked_fill(texts.masked_VBT, convention.mask_token_id)
    with mixed_precision(device):
        # Four dimensions: transformers takes such a mask as it is, and adds no causal one.
        out = body(
            input_ids=canvas_VBT.flatten(0, 1).clamp_min(0),
            attention_mask=seen_BTT.repeat(views, 1, 1)[:, None],
            use_cache=False,
        ).last_hidden_state
    view_N, row_N, place_N = texts.asked_VBT.nonzero(as_tuple=True)  # sync: how many places are asked about
    # Under the shift the first place has nothing in front; it is the prompt's, and nobody asks for it.
    return out[view_N * len(ids_BT) + row_N, place_N - int(convention.shift)]


def _packed(body: Any, device: torch.device, convention: Convention, texts: Readings) -> Tensor:
    """All readings of a text behind the text itself, in one row: a block of a reading reads itself, and of the text
    what stands in front of it, so that all blocks are learnt at once; the text is read from left to right.

    Source: Arriola et al. 2025, arXiv:2503.09573 (BD3-LM); Gat et al. 2025, arXiv:2509.04185 (what is settled is read
    causally, and goes on being learnt so).
    """
    assert convention.block is not None
    ids_BT, views, shift = texts.ids_BT, len(texts.masked_VBT), int(convention.shift)
    length = ids_BT.shape[1]
    group_BT = _groups(convention, texts.answer_BT)
    first = int((group_BT == 0).sum(-1).min())  # sync: readings leave out what all texts have in front
    place_T = torch.arange(length, device=ids_BT.device)
    place_S = torch.cat([place_T, place_T[first:].repeat(views)])
    view_S = torch.arange(1, views + 1, device=ids_BT.device).repeat_interleave(length - first)
    view_S = torch.cat([torch.zeros_like(place_T), view_S])
    group_BS = torch.cat([group_BT, group_BT[:, first:].repeat(1, views)], -1)
    here_BT = ids_BT != PAD
    here_BS = torch.cat([here_BT, (here_BT & (group_BT > 0))[:, first:].repeat(1, views)], -1)
    of_text_S, same_SS = view_S == 0, view_S[:, None] == view_S
    text_SS = same_SS & of_text_S & (place_S <= place_S[:, None])
    earlier_BSS = of_text_S & ~of_text_S[:, None] & (group_BS[:, None] < group_BS[:, :, None])
    own_BSS = same_SS & ~of_text_S & (group_BS[:, None] == group_BS[:, :, None])
    nobody_SS = torch.eye(len(place_S), dtype=torch.bool, device=ids_BT.device)  # a row that reads nothing has no mean
    seen_BSS = (text_SS | earlier_BSS | own_BSS) & here_BS[:, None] | nobody_SS
    # The row that speaks for a block's first place holds the last one in front, which is settled by then.
    ahead_BT = group_BT > _block(convention.block, texts.answer_BT.cumsum(-1))
    canvas_VBR = ids_BT.masked_fill(texts.masked_VBT & ~ahead_BT, convention.mask_token_id)[..., first:]
    with mixed_precision(device):
        out = body(
            input_ids=torch.cat([ids_BT, *canvas_VBR], -1).clamp_min(0),
            attention_mask=seen_BSS[:, None],
            position_ids=place_S.expand(len(ids_BT), -1),
            use_cache=False,
        ).last_hidden_state
    view_N, row_N, place_N = texts.asked_VBT.nonzero(as_tuple=True)  # sync: how many places are asked about
    found_NF = out[row_N, length + view_N * (length - first) + place_N - first - shift]
    if texts.said_BT is None:
        return found_NF
    row_M, place_M = texts.said_BT.nonzero(as_tuple=True)
    return torch.cat([found_NF, out[row_M, place_M - 1]])


def _groups(convention: Convention, answer_BT: Tensor) -> Tensor:
    """group_BT, as in `Convention.groups`; blocks count answers."""
    shift = int(convention.shift)
    answered_BT = answer_BT.cumsum(-1)
    open_BT = torch.cat([answered_BT, answered_BT[:, -1:].expand(-1, shift)], -1)[:, shift:] > 0
    if convention.block is None:
        return open_BT.long()
    return _block(convention.block, answered_BT + shift) * open_BT


def _block(places: int, answered_BT: Tensor) -> Tensor:
    """block_BT, from 1, of the answer's first place, second ...; 0 of none."""
    return (answered_BT + places - 1).div(places, rounding_mode="floor")


def adapt(
    network: PreTrainedModel, shift: bool = False, causal_prompt: bool = False, block: int | None = None
) -> Convention:
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
    convention = Convention(mask, shift, causal_prompt, block)
    convention.write(network.config)
    return convention

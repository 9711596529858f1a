"""Hugging Face transformers, as from_pretrained gives it: no compiling, no other attention than its own choice."""

import copy
from collections.abc import Iterator
from functools import partial

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from .seam import CannotRun, Engine, Weights, versions

LOOKUP = 10  # tokens that prompt lookup drafts: the number in transformers' documentation


def engines(weights: Weights, kind: str) -> Iterator[Engine]:
    torch.set_num_threads(weights.threads)
    said = f"{versions('transformers')}, torch {torch.__version__}"
    dtype = getattr(torch, kind)
    network = AutoModelForCausalLM.from_pretrained(weights.folder, dtype=dtype, use_safetensors=True).eval()
    yield Engine("", said, partial(_generate, network, None, None))
    yield Engine("prompt-lookup", said, partial(_generate, network, None, LOOKUP))
    if weights.draft is None:
        raise CannotRun("the model names no draft")
    draft = AutoModelForCausalLM.from_pretrained(weights.draft, dtype=dtype, use_safetensors=True).eval()
    yield Engine("assisted", said, partial(_generate, network, draft, None))


@torch.inference_mode()
def _generate(
    network: PreTrainedModel, draft: PreTrainedModel | None, lookup: int | None, ids: list[int], new_tokens: int
) -> list[int]:
    settings = copy.deepcopy(network.generation_config)
    settings.update(max_new_tokens=new_tokens, do_sample=False, eos_token_id=None, max_length=None, pad_token_id=0)
    settings.update(prompt_lookup_num_tokens=lookup)
    ids_1T = torch.tensor([ids])
    mask_1T = torch.ones_like(ids_1T)
    out_1T = network.generate(ids_1T, attention_mask=mask_1T, generation_config=settings, assistant_model=draft)
    return out_1T[0, len(ids) :].tolist()

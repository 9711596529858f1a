"""What the tests of early exits share."""

import torch
from torch import Tensor

from decant.models.causal import Causal
from decant.models.load import load
from decant.types import PAD, Draft
from tests.models.families import VOCAB, build

CLOSE = {"rtol": 0, "atol": 2e-5}
PARENTS = [-1, -1, 0, 0, 2, 1]


def prompts() -> Tensor:
    """prompt_BT of three lengths."""
    prompt_BT = torch.randint(3, VOCAB, (3, 20), generator=torch.Generator().manual_seed(1))
    prompt_BT[1, 14:] = PAD
    prompt_BT[2, 1:] = PAD
    return prompt_BT


def made(folder, family: str = "llama", exact: str = "off", lean: bool = True) -> Causal:
    network = build(family)
    network.model.norm.weight.data.mul_(8)  # laws far from flat, so that nothing is nearly tied
    network.save_pretrained(folder)
    return load(str(folder), exact=exact, dtype="float32", lean=lean).model


def nodes(*parents: int, seed: int = 2) -> Draft:
    tokens_BN = torch.randint(3, VOCAB, (3, len(parents)), generator=torch.Generator().manual_seed(seed))
    return Draft(tokens_BN, torch.tensor([parents] * 3))


def beginning(draft: Draft, count: int) -> Draft:
    return Draft(draft.tokens_BN[:, :count], None if draft.parents_BN is None else draft.parents_BN[:, :count])


def anyhow(logits_RV: Tensor) -> Tensor:
    return torch.ones(len(logits_RV), dtype=torch.bool)

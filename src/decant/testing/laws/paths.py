"""What drafts and models say, written as paths of tokens: the form in which two of them can be compared."""

import torch
from torch import Tensor

from decant.numerics import chain_parents
from decant.protocols import LanguageModel, State, Warp
from decant.types import PAD, Draft

Path = tuple[int, ...]


def parents_of(draft: Draft) -> Tensor:
    """parents_BN, spelt out for chains too."""
    return chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN


def paths(draft: Draft) -> list[list[Path]]:
    """For each request the tokens from the root to every node that is present, in the order of the nodes."""
    every: list[list[Path]] = []
    for tokens, parents in zip(draft.tokens_BN.tolist(), parents_of(draft).tolist(), strict=True):
        to: list[Path] = []
        for token, parent in zip(tokens, parents, strict=True):
            to.append((*(to[parent] if parent != PAD else ()), token))
        every.append([path for path in to if path[-1] != PAD])
    return every


def full_tree(vocab: int, depth: int) -> Draft:
    """Every path of up to `depth` tokens, breadth first, for one request."""
    parents, level = [], [PAD]
    for _ in range(depth):
        first = len(parents)
        parents += [parent for parent in level for _ in range(vocab)]
        level = list(range(first, len(parents)))
    return Draft(torch.arange(len(parents))[None] % vocab, torch.tensor([parents]))


def joint_law(target: LanguageModel[State], warp: Warp, prompt_BT: Tensor, length: int = 3) -> Tensor:
    """probs of every `length` tokens that may follow one prompt, flattened with the first token slowest.

    Needs a model that scores trees and a vocabulary of a few tokens: it scores all V ** (length - 1) + ... paths.
    """
    context, _ = target.start(prompt_BT[:1])
    tree = full_tree(target.vocab, length - 1)
    probs_MV = warp(target.score(context, tree).logits_BMV[0].float()).double().softmax(-1)
    joint_P, row = probs_MV[0], 1
    for _ in range(length - 1):
        paths_here = len(joint_P)
        joint_P = (joint_P[:, None] * probs_MV[row : row + paths_here]).flatten()
        row += paths_here
    return joint_P

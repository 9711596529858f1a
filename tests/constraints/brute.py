"""What each constraint with a history means, in plain Python; and trees whose histories are known."""

from collections.abc import Callable

import torch
from torch import Tensor

from decant.types import PAD, Draft

VOCAB = 7
Rule = Callable[[list[int], list[int], Tensor], Tensor]
"""(prompt, output so far, logits_V) -> logits_V."""


def repetition_penalty(penalty: float) -> Rule:
    def rule(prompt: list[int], output: list[int], logits_V: Tensor) -> Tensor:
        logits_V = logits_V.clone()
        for token in {*prompt, *output}:
            logits_V[token] = logits_V[token] / penalty if logits_V[token] > 0 else logits_V[token] * penalty
        return logits_V

    return rule


def presence_penalty(penalty: float) -> Rule:
    return lambda prompt, output, logits_V: logits_V - penalty * torch.tensor([v in output for v in range(VOCAB)])


def frequency_penalty(penalty: float) -> Rule:
    return lambda prompt, output, logits_V: logits_V - penalty * torch.tensor([output.count(v) for v in range(VOCAB)])


def no_repeat_ngram(size: int) -> Rule:
    def rule(prompt: list[int], output: list[int], logits_V: Tensor) -> Tensor:
        text = prompt + output
        grams = {tuple(text[at : at + size]) for at in range(len(text) - size + 1)}
        banned = [tuple([*text, token][-size:]) in grams for token in range(VOCAB)]
        return logits_V if all(banned) else logits_V.masked_fill(torch.tensor(banned), -torch.inf)

    return rule


def bad_words(sequences: tuple[tuple[int, ...], ...]) -> Rule:
    def rule(prompt: list[int], output: list[int], logits_V: Tensor) -> Tensor:
        text = prompt + output
        banned = [any(tuple([*text, v][-len(word) :]) == word for word in sequences) for v in range(VOCAB)]
        return logits_V if all(banned) else logits_V.masked_fill(torch.tensor(banned), -torch.inf)

    return rule


def logit_bias(bias: tuple[tuple[int, float], ...]) -> Rule:
    return lambda prompt, output, logits_V: logits_V + torch.tensor([dict(bias).get(v, 0.0) for v in range(VOCAB)])


def dry(
    multiplier: float, base: float, allowed: int, breakers: tuple[int, ...] = (), window: int | None = None
) -> Rule:
    def rule(prompt: list[int], output: list[int], logits_V: Tensor) -> Tensor:
        text = (prompt + output)[-(window or 10**9) :]
        longest: dict[int, int] = {}
        for at in range(1, len(text)):
            count = 0
            while count < min(at, 50) and text[at - 1 - count] == text[-1 - count] not in breakers:
                count += 1
            if text[at] not in breakers:
                longest[text[at]] = max(count, longest.get(text[at], 0))
        logits_V = logits_V.clone()
        for token, count in longest.items():
            if count >= allowed:
                logits_V[token] -= multiplier * base ** (count - allowed)
        return logits_V

    return rule


def random_tree(generator: torch.Generator, nodes: int, vocab: int, batch: int = 3) -> Draft:
    """Nodes that hang anywhere above, some absent with what hangs from them; one id lies behind the vocabulary."""
    tokens_BN = torch.randint(vocab, (batch, nodes), generator=generator)
    parents_BN = torch.stack(
        [torch.randint(-1, max(node, 1), (batch,), generator=generator) for node in range(nodes)], 1
    )
    parents_BN[:, 0] = PAD
    tokens_BN[0, nodes // 2] = PAD
    tokens_BN[1, nodes - 1] = VOCAB + 3
    for node in range(nodes):
        orphan_B = (parents_BN[:, node] != PAD) & (
            tokens_BN.gather(1, parents_BN[:, node, None].clamp_min(0))[:, 0] == PAD
        )
        tokens_BN[orphan_B, node] = PAD
    probe_BN = torch.zeros_like(tokens_BN, dtype=torch.bool)
    probe_BN[1, nodes - 1] = True
    return Draft(tokens_BN, parents_BN, probe_BN=probe_BN)


def paths(draft: Draft, request: int) -> dict[int, list[int]]:
    """Row -> the tokens of its path; rows of absent nodes and of riders are left out."""
    assert draft.parents_BN is not None
    found: dict[int, list[int]] = {0: []}
    rows = zip(draft.tokens_BN[request].tolist(), draft.parents_BN[request].tolist(), strict=True)
    for node, (token, parent) in enumerate(rows):
        if 0 <= token < VOCAB and parent + 1 in found:
            found[node + 1] = [*found[parent + 1], token]
    return found

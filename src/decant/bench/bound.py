"""What the verifiers make of a pair of models, beside the most that any verifier could: `decant bench` along real text.

Source: Hu et al. 2025, arXiv:2502.18779.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from decant.bench.transport import ESTIMATED, REACHED, bound, reached
from decant.decoders.workload import Workload
from decant.errors import BadInput, IncompatibleParts
from decant.noise import Noise
from decant.protocols import LanguageModel, Warp
from decant.types import PAD, Draft, Siblings, Verdict

__all__ = ["bound", "laws_along", "reached", "report"]

KINDS: Final[tuple[Siblings, ...]] = ("independent", "without_replacement", "greedy_multi", "fixed")
ROWS: Final = 16  # positions looked at together: a dozen copies of their laws are alive


def report(pairs: Iterable[tuple[Tensor, Tensor]], drafts: Sequence[int]) -> dict[str, Any]:
    """Means over positions, JSON-ready; pairs are (p_XV, q_XV) of some positions each, as `laws_along` yields them.

    Raises BadInput where there is no position.
    """
    wanted: list[tuple[Siblings, int]] = [(kind, count) for kind in KINDS for count in dict.fromkeys(drafts)]
    optimal = dict.fromkeys(wanted, 0.0)
    rates = {(*row, name): 0.0 for row in wanted for name, kind in REACHED if kind == row[0]}
    positions = 0
    for p_XV, q_XV in (some for pair in pairs for some in zip(*(laws.split(ROWS) for laws in pair), strict=True)):
        positions += len(p_XV)
        for kind, count in optimal:
            optimal[kind, count] += float(bound(p_XV, q_XV, count, kind).sum())
        for kind, count, name in rates:
            rates[kind, count, name] += float(reached(name, p_XV, q_XV, count, kind).sum())
    if not positions or not wanted:
        raise BadInput(
            f"nothing to report: {positions} positions, numbers of guesses {list(drafts)}; give some of both"
        )
    return {
        "positions": positions,
        "rows": [
            {
                "kind": kind,
                "drafts": count,
                "optimal": round(best / positions, 6),
                "verifiers": [
                    {
                        "verifier": name,
                        "reached": round(rate / positions, 6),
                        "share": round(rate / best, 6) if best else None,
                        "estimated": (name, kind) in ESTIMATED,
                    }
                    for (of, among, name), rate in rates.items()
                    if (of, among) == (kind, count)
                ],
            }
            for (kind, count), best in optimal.items()
        ],
    }


def laws_along(
    target: LanguageModel[Any], draft: LanguageModel[Any], workload: Workload, warp: Warp, positions: int = 64
) -> Iterator[tuple[Tensor, Tensor]]:
    """(p_XV, q_XV) of each prompt: both models' warped laws at every position of the target's own plain decoding.

    At most `positions` in all, spread over the prompts; a prompt ends at the workload's ends or its max_tokens. Raises
    IncompatibleParts where the vocabularies differ, BadInput for positions below 1.
    """
    if target.vocab != draft.vocab:
        raise IncompatibleParts(
            f"p and q must be over the same tokens, but the target has {target.vocab} logits and the draft model "
            f"{draft.vocab}; take a draft of the same tokenizer"
        )
    if positions < 1:
        raise BadInput(f"at least one position is needed, got {positions}")
    left = positions
    for index in range(len(workload.prompts)):
        share = -(-left // (len(workload.prompts) - index))
        if share:
            p_XV, q_XV = _walk((target, draft), workload, index, warp, share)
            left -= len(p_XV)
            yield p_XV, q_XV


@torch.inference_mode()
def _walk(
    models: tuple[LanguageModel[Any], LanguageModel[Any]], workload: Workload, index: int, warp: Warp, positions: int
) -> tuple[Tensor, Tensor]:
    """The laws of both models along one text of the first."""
    prompt_1T = torch.tensor([workload.prompts[index]], device=workload.device)
    contexts = [model.start(prompt_1T)[0] for model in models]
    noise, nothing = Noise.of([workload.seed_of(index)], workload.device), Draft.nothing(1, workload.device)
    said: list[list[Tensor]] = []
    for _ in range(min(positions, workload.max_tokens)):
        scored = [model.score(context, nothing) for model, context in zip(models, contexts, strict=True)]
        said.append([warp(scores.logits_BMV[:, 0].float()).softmax(-1) for scores in scored])
        token_B = noise.draw(said[-1][0], torch.zeros_like(noise.root_B))
        noise = noise.advance(torch.ones_like(token_B))
        verdict = Verdict(token_B[:, None], torch.full_like(token_B[:, None], PAD))
        contexts = [model.commit(context, verdict) for model, context in zip(models, contexts, strict=True)]
        if int(token_B) in workload.ends:  # sync: the text may be over
            break
    p_XV, q_XV = (torch.cat(laws) for laws in zip(*said, strict=True))
    return p_XV, q_XV

"""The law of constraints."""

import torch
from torch import Tensor

from decant.protocols import Constraint, State
from decant.testing.laws.paths import parents_of
from decant.types import PAD, Draft, Scores, Verdict, join_rows, select_rows


def check_constraint(
    constraint: Constraint[State], prompt_BT: Tensor, draft: Draft, *, vocab: int, seed: int = 0
) -> None:
    """What a row allows depends on its own path alone, and committing the path changes nothing about it.

    prompt_BT: three requests; draft: one for each, with at least one path that the constraint allows.
    """
    assert len(prompt_BT) == len(draft.tokens_BN) == 3, "this law wants three requests"
    generator = torch.Generator().manual_seed(seed)
    logits_BMV = torch.randn(3, draft.tokens_BN.shape[1] + 1, vocab, generator=generator)
    given_BMV = logits_BMV.clone()
    state = constraint.start(prompt_BT)
    adjusted_BMV = constraint.adjust(state, draft, logits_BMV)
    assert torch.equal(logits_BMV, given_BMV), "a constraint must not write into the logits"
    assert adjusted_BMV.shape == logits_BMV.shape, "a constraint keeps the shape"
    assert not adjusted_BMV.isnan().any(), "a constraint must not make NaN"
    assert (adjusted_BMV[:, 0] > -torch.inf).any(-1).all(), "something must be allowed to come next"
    assert torch.equal(constraint.adjust(state, draft, logits_BMV), adjusted_BMV), "adjusting must not change the state"

    rows_R = torch.tensor([2, 0])
    some = constraint.adjust(select_rows(state, rows_R), select_rows(draft, rows_R), logits_BMV[rows_R])
    assert torch.equal(some, adjusted_BMV[rows_R]), "a request's neighbours must not matter"
    both = join_rows(select_rows(state, torch.tensor([0])), select_rows(state, torch.tensor([1, 2])))
    assert torch.equal(constraint.adjust(both, draft, logits_BMV), adjusted_BMV), "joining must not change a request"
    _check_committed(constraint, state, draft, logits_BMV, adjusted_BMV)


def _check_committed(
    constraint: Constraint[State], state: State, draft: Draft, logits_BMV: Tensor, adjusted_BMV: Tensor
) -> None:
    """After a path was committed the root's row is what the row at its end was."""
    for request, (tokens, parents) in enumerate(zip(draft.tokens_BN.tolist(), parents_of(draft).tolist(), strict=True)):
        to: list[list[int]] = []  # the nodes from the root to each node
        for node, parent in enumerate(parents):
            to.append([*(to[parent] if parent != PAD else ()), node])
            path = [tokens[at] for at in to[node]]
            rows = [0, *(at + 1 for at in to[node])]
            if PAD in path or (adjusted_BMV[request, rows[:-1], path] == -torch.inf).any():
                continue  # a path that can never be committed
            row_R = torch.tensor([request])
            # Its last token stands in for the target's own.
            verdict = Verdict(torch.tensor([path]), torch.tensor([[*to[node][:-1], PAD]]))
            after = constraint.observe(select_rows(state, row_R), verdict, Scores(logits_BMV[row_R]))
            again_11V = constraint.adjust(after, Draft.nothing(1), logits_BMV[row_R, node + 1 : node + 2])
            assert torch.equal(again_11V[0, 0], adjusted_BMV[request, node + 1]), (
                f"request {request}: once {path} is committed something else is allowed than the draft's row said"
            )

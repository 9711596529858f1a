"""The law of drafters: well-formed guesses, drawn from the law that is handed over with them."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from decant.noise import Noise
from decant.numerics import take
from decant.protocols import Drafter, LanguageModel, State, Warp
from decant.testing.chi_square import assert_distributed_as
from decant.testing.laws.growth import check_offspring
from decant.testing.laws.paths import parents_of, paths
from decant.types import PAD, Draft, DraftShape, join_rows, select_rows
from decant.verifiers.coupled import Coupled

PROMPTS = torch.tensor([[1, 2, 3, 1, 2], [0, 3, 0, 3, PAD], [2, PAD, PAD, PAD, PAD]])
ENOUGH = 500  # requests with one path: fewer say too little about what follows it


def check_drafter(
    drafter: Drafter[State],
    target: LanguageModel,
    warp: Warp,
    shape: DraftShape,
    *,
    shared: bool = False,
    rounds: int = 4,
    draws: int = 20_000,
) -> None:
    """Pure; parents first; inside the shape; absent parents have absent children; guesses inside q's support and drawn
    from it; a request's guesses do not depend on its neighbours, who may leave and join.

    target: any model of at least 4 tokens, which judges the guesses. shared: requests teach each other, so that their
    guesses may depend on their neighbours.
    Guesses of the root's children whose law is wrong by an effect (see `chi_square`) of 0.006 are caught with power
    above 0.99 at a vocabulary of 5.
    """
    generator_before = torch.get_rng_state()
    _check_rounds(drafter, target, warp, shape, shared, rounds)
    _check_chances(drafter, target, warp, shape, draws)
    assert torch.equal(torch.get_rng_state(), generator_before), "a drafter must not touch the global generator"


def _check_rounds(
    drafter: Drafter[State], target: LanguageModel, warp: Warp, shape: DraftShape, shared: bool, rounds: int
) -> None:
    """Several rounds of three requests, together and each alone."""
    crowd = _Round.first(drafter, target, warp, shape, PROMPTS, Noise.of([5, 6, 7]))
    lone = [
        _Round.first(drafter, target, warp, shape, prompt_T[prompt_T != PAD][None], Noise.of([seed]))
        for prompt_T, seed in zip(PROMPTS, (5, 6, 7), strict=True)
    ]
    for _ in range(rounds):
        draft = crowd.draft()
        _check_form(draft, shape, target.vocab)
        said = paths(draft)
        assert paths(crowd.draft()) == said, "drafting must not change the state"
        rows_R = torch.tensor([2, 0])
        if not shared:
            for request, alone in enumerate(lone):
                assert paths(alone.draft()) == [said[request]], "a request's guesses must not depend on its neighbours"
            some = crowd.among(rows_R).draft()
            assert paths(some) == [said[2], said[0]], "requests that stay must not be changed by those that leave"
        back = crowd.among(rows_R[1:]).join(crowd.among(torch.tensor([1, 2])))
        assert paths(back.draft()) == said, "joining must not change a request"
        crowd.after(draft)
        assert paths(crowd.draft()) == said, "observing must not change the old state"
        crowd = crowd.after(draft)
        lone = [alone.after(alone.draft()) for alone in lone]


@dataclass(frozen=True)
class _Round:
    """A target and a drafter at work on some requests; the target's own draws decide."""

    drafter: Drafter
    target: LanguageModel
    warp: Warp
    shape: DraftShape
    noise: Noise
    context: Any
    state: Any

    @classmethod
    def first(
        cls, drafter: Drafter, target: LanguageModel, warp: Warp, shape: DraftShape, prompt_BT: Tensor, noise: Noise
    ) -> "_Round":
        context, prefill = target.start(prompt_BT, drafter.taps)
        return cls(drafter, target, warp, shape, noise, context, drafter.start(prompt_BT, prefill))

    def draft(self) -> Draft:
        return self.drafter.draft(self.state, self.shape, self.warp, self.noise, self.context)

    def among(self, rows_R: Tensor) -> "_Round":
        """Some of the requests."""
        noise, context, state = (select_rows(part, rows_R) for part in (self.noise, self.context, self.state))
        return replace(self, noise=noise, context=context, state=state)

    def join(self, other: "_Round") -> "_Round":
        """These requests, then the other's."""
        pairs = ((self.noise, other.noise), (self.context, other.context), (self.state, other.state))
        noise, context, state = (join_rows(*pair) for pair in pairs)
        return replace(self, noise=noise, context=context, state=state)

    def after(self, draft: Draft) -> "_Round":
        """The next round. Calling it again starts from this one again."""
        scores = self.target.score(self.context, draft)
        verdict = Coupled().verify(draft.guesses, self.warp(scores.logits_BMV.float()).softmax(-1), self.noise)
        return replace(
            self,
            noise=self.noise.advance(verdict.committed_B),
            context=self.target.commit(self.context, verdict),
            state=self.drafter.observe(self.state, draft, verdict, scores),
        )


def _check_form(draft: Draft, shape: DraftShape, vocab: int) -> None:
    tokens_BN, parents_BN = draft.tokens_BN, parents_of(draft)
    nodes = tokens_BN.shape[1]
    real_BN = tokens_BN != PAD
    assert tokens_BN.dtype == torch.int64, f"ids are int64, not {tokens_BN.dtype}"
    assert (tokens_BN[real_BN] >= 0).all(), "ids are not negative"
    assert (draft.guesses.tokens_BN < vocab).all(), "guesses lie below the vocabulary's size"
    assert shape.budget is None or nodes <= shape.budget, f"{nodes} nodes exceed the budget of {shape.budget}"
    assert shape.depth or not nodes, f"{nodes} nodes where a depth of 0 asks for none, not for probes either"
    assert (parents_BN < torch.arange(nodes)).all(), "parents come before children"
    assert (parents_BN >= PAD).all(), "a parent is a node, or PAD for the root"
    above_BN = torch.cat([real_BN.new_ones(len(real_BN), 1), real_BN], 1).gather(1, parents_BN + 1)
    assert (real_BN <= above_BN).all(), "an absent node has absent children"
    said, real_BN = paths(draft.guesses), draft.guesses.tokens_BN != PAD  # probes are no guesses
    depth = max((len(path) for row in paths(draft.guesses) for path in row), default=0)
    assert depth <= shape.depth, "deeper than asked for"
    if draft.probe_BN is not None:
        above_BN = torch.cat([real_BN.new_zeros(len(real_BN), 1), draft.probe_BN], 1).gather(1, parents_BN + 1)
        assert (above_BN <= draft.probe_BN).all(), "what hangs from a probe is a probe"
    if draft.siblings in {"without_replacement", "greedy_multi"}:
        assert all(len(set(row)) == len(row) for row in said), "siblings without replacement are distinct"
    if draft.siblings == "fixed":
        return
    assert draft.laws_BMV is not None, f"{draft.siblings} siblings need the law that they were drawn from"
    law_BNV = draft.laws_BMV[torch.arange(len(tokens_BN))[:, None], parents_BN + 1]
    total_BN = law_BNV.sum(-1)[real_BN]
    torch.testing.assert_close(total_BN, torch.ones_like(total_BN), msg="a law that has children sums to one")
    assert (take(law_BNV, draft.guesses.tokens_BN)[real_BN] > 0).all(), "a guess lies inside the support of its law"


def _check_chances(drafter: Drafter[State], target: LanguageModel, warp: Warp, shape: DraftShape, draws: int) -> None:
    """Many requests with one prompt: children of the root, and of node 0 given what node 0 says, follow their law; and
    whether they are there must not depend on what they would have said (the trap of dropping unlikely guesses)."""
    noise = Noise(torch.arange(draws), torch.zeros(draws, dtype=torch.int64))
    draft = _Round.first(drafter, target, warp, shape, PROMPTS[:1].expand(draws, -1), noise).draft().guesses
    if shape.growth is not None:
        check_offspring(draft)  # whose children depend on what was drawn before
        return
    if draft.siblings not in {"independent", "without_replacement"} or draft.laws_BMV is None:
        return
    _check_children(draft, PAD, torch.arange(draws))
    if draft.tokens_BN.shape[1]:
        first_B = draft.tokens_BN[:, 0]
        for token in first_B.unique().tolist():
            same_R = (first_B == token).nonzero().squeeze(-1)
            if token != PAD and len(same_R) >= ENOUGH:
                _check_children(draft, 0, same_R)


def _check_children(draft: Draft, parent: int, same_R: Tensor) -> None:
    """The first two children of `parent` in requests that agree about all that came before."""
    assert draft.laws_BMV is not None
    children = (parents_of(draft)[0] == parent).nonzero().squeeze(-1)[:2].tolist()
    if not children:
        return
    laws_RV = draft.laws_BMV[same_R, parent + 1]
    torch.testing.assert_close(laws_RV, laws_RV[:1].expand_as(laws_RV), msg="one history, one law")
    tokens_RW = draft.tokens_BN[same_R][:, children]
    there_W = (tokens_RW != PAD).float().mean(0)
    assert ((there_W == 0) | (there_W == 1)).all(), (
        "whether a guess is made must not depend on what it would have been: dropping unlikely draws biases the output"
    )
    law_V = laws_RV[0].double()
    vocab = len(law_V)
    present = int(there_W.sum())
    if present == 1:
        assert_distributed_as(tokens_RW[:, 0], law_V, f"children of node {parent}")
    if present == 2:
        two_VV = law_V[:, None] * law_V
        if draft.siblings == "without_replacement":
            two_VV = (two_VV / (1 - law_V[:, None]).clamp_min(1e-300)).fill_diagonal_(0.0)
        pairs_R = tokens_RW[:, 0] * vocab + tokens_RW[:, 1]
        assert_distributed_as(pairs_R, two_VV.flatten(), f"pairs of {draft.siblings} children of node {parent}")

"""The law of growths: trees that grow out of laws, rightly put together, and without a look at what is thrown away."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from decant.drafting.growing import grown
from decant.drafting.growth import Children, Growth, Level
from decant.noise import Noise
from decant.protocols import Warp
from decant.testing.chi_square import assert_distributed_as
from decant.testing.laws.paths import parents_of, paths
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Siblings

DRAFTER = MarkovLM.random(vocab=5, seed=1)
PROMPTS = torch.tensor([[1, 2, 3, 1, 2], [0, 3, 0, 3, PAD], [2, PAD, PAD, PAD, PAD]])
ENOUGH = 500  # requests with one history: fewer say too little about what follows it


def check_growth(growth: Growth, shape: DraftShape, warp: Warp, *, draws: int = 20_000) -> None:
    """Parents before children, and evaluated before them; what is evaluated next is a node, and never was before; what
    is kept holds its parents; no more nodes than a shape's budget, a smaller one too, nor deeper than its depth; the
    same laws give the same draft, whoever the neighbours are; and drawn guesses follow their law, given that they are
    there.

    shape: what a policy asks for together with this growth. Guesses of the root's children whose law is wrong by an
    effect (see `chi_square`) of 0.006 are caught with power above 0.99 at a vocabulary of 5.
    """
    generator_before = torch.get_rng_state()
    kinds: tuple[Siblings | None, ...] = (None,) if shape.siblings == "fixed" else (None, shape.siblings)
    noise = Noise.of([5, 6, 7])
    for siblings in kinds:
        coupled = siblings is None
        crowd = _draft(growth, shape, warp, PROMPTS, noise, coupled)
        _check_form(crowd, shape)
        again = _draft(growth, shape, warp, PROMPTS, noise, coupled)
        assert _same(again, crowd), "the same laws must give the same draft"
        for fewer in (1, 3):
            few = replace(shape, budget=fewer)
            _check_form(_draft(growth, few, warp, PROMPTS, noise, coupled), few)
        for request, prompt_T in enumerate(PROMPTS):
            here = torch.tensor([request])
            alone = _draft(growth, shape, warp, prompt_T[prompt_T != PAD][None], noise.select(here), coupled)
            # Nodes too, not paths alone: verifiers count their own draws by them.
            assert _numbered(alone)[0] == _numbered(crowd)[request], "a tree must not depend on its neighbours"
    if not kinds[1:]:
        fixed = _draft(growth, shape, warp, PROMPTS, noise, coupled=False)
        assert fixed.siblings == "fixed", "a growth of fixed guesses is fixed whoever verifies"
        _check_form(fixed, shape)
    else:
        many = Noise(torch.arange(draws), torch.zeros(draws, dtype=torch.int64))
        drawn = _draft(growth, shape, warp, PROMPTS[:1].expand(draws, -1), many, coupled=False)
        _check_form(drawn, shape)
        check_offspring(drawn)
    assert torch.equal(torch.get_rng_state(), generator_before), "a growth must not touch the global generator"


def check_offspring(draft: Draft) -> None:
    """Of many requests with one prompt: the first two children of the root, and of each of these given what it says,
    follow their law wherever they are there. Whether they are there must not depend on what they say."""
    if draft.laws_BMV is None or not draft.tokens_BN.shape[1]:
        return
    everybody_R = torch.arange(len(draft.tokens_BN))
    root_R = torch.full_like(everybody_R, PAD)
    _, there_R = _child(draft, root_R, 0)
    assert there_R.all() or not there_R.any(), "whether the root has a child must not depend on chance"
    _check_brood(draft, everybody_R, root_R, "the root")
    for rank in (0, 1):
        child_R, there_R = _child(draft, root_R, rank)
        said_R = draft.tokens_BN.gather(1, child_R[:, None]).squeeze(1).where(there_R, PAD)
        for token in said_R[there_R].unique().tolist():
            same_R = (said_R == token).nonzero().squeeze(-1)
            _check_brood(draft, same_R, child_R[same_R], f"the root's child {rank}, which says {token}")


def _check_brood(draft: Draft, requests_R: Tensor, parent_R: Tensor, what: str) -> None:
    """The first two children of a node, in requests that agree about its law."""
    assert draft.laws_BMV is not None
    some = Draft(draft.tokens_BN[requests_R], parents_of(draft)[requests_R])
    (one_R, has_one_R), (two_R, has_two_R) = (_child(some, parent_R, rank) for rank in (0, 1))
    laws_RV = draft.laws_BMV[requests_R, parent_R + 1][has_one_R]
    if len(laws_RV) < ENOUGH:
        return
    torch.testing.assert_close(laws_RV, laws_RV[:1].expand_as(laws_RV), msg="one history, one law")
    law_V = laws_RV[0].double()
    one_R, two_R = (some.tokens_BN.gather(1, node_R[:, None]).squeeze(1) for node_R in (one_R, two_R))
    assert_distributed_as(one_R[has_one_R], law_V, f"the first child of {what}")
    for token in range(len(law_V)):
        left_V = law_V.clone()
        if draft.siblings == "without_replacement":
            left_V[token] = 0.0
        second_R = two_R[has_two_R & (one_R == token)]
        if len(second_R) >= ENOUGH and left_V.sum() > 0:
            assert_distributed_as(second_R, left_V, f"the second child of {what}, beside {token}")


def _child(draft: Draft, parent_R: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Which node is the child of this rank, and whether there is one."""
    child_RN = (parents_of(draft) == parent_R[:, None]) & (draft.tokens_BN != PAD)
    this_RN = child_RN & (child_RN.long().cumsum(-1) == rank + 1)
    return this_RN.long().argmax(-1), this_RN.any(-1)


def _draft(growth: Growth, shape: DraftShape, warp: Warp, prompt_BT: Tensor, noise: Noise, coupled: bool) -> Draft:
    """One draft, watched."""
    context, _ = DRAFTER.start(prompt_BT)
    seen: list[Draft] = []

    def evaluate(tree: Draft) -> Tensor:
        seen.append(tree)
        return DRAFTER.score(context, tree).logits_BMV

    watched = DraftShape(shape.depth, shape.width, shape.budget, growth=_Watched(growth), siblings=shape.siblings)
    draft = grown(evaluate, watched, warp, noise, coupled)
    if seen and draft.evaluated_BN is not None:
        _check_evaluated(draft, seen[-1])
    return draft


def _check_form(draft: Draft, shape: DraftShape) -> None:
    """Inside the shape."""
    assert shape.budget is None or draft.tokens_BN.shape[1] <= shape.budget, "a tree stays inside its budget"
    deepest = max((len(path) for request in paths(draft) for path in request), default=0)
    assert deepest <= shape.depth, f"a tree of depth {shape.depth} was {deepest} deep"


def _check_evaluated(draft: Draft, last: Draft) -> None:
    """A drafter finds its own rows again."""
    assert draft.evaluated_BN is not None
    known_BN = draft.evaluated_BN != PAD
    assert (draft.evaluated_BN < last.tokens_BN.shape[1]).all(), "a node that was never evaluated has no place"
    if last.tokens_BN.shape[1]:
        there_BN = last.tokens_BN.gather(1, draft.evaluated_BN.clamp_min(0))
        assert torch.equal(there_BN[known_BN], draft.tokens_BN[known_BN]), "a node is where it was evaluated"


def _same(one: Draft, two: Draft) -> bool:
    laws = one.laws_BMV is two.laws_BMV is None
    if one.laws_BMV is not None and two.laws_BMV is not None:
        laws = torch.equal(one.laws_BMV, two.laws_BMV)
    return laws and _numbered(one) == _numbered(two)


def _numbered(draft: Draft) -> list[list[tuple[int, int, int]]]:
    """Each request's nodes: number, token, parent."""
    return [
        [(node, token, parent) for node, (token, parent) in enumerate(zip(*request, strict=True)) if token != PAD]
        for request in zip(draft.tokens_BN.tolist(), parents_of(draft).tolist(), strict=True)
    ]


@dataclass(frozen=True)
class _Watched:
    """A growth that is looked over its shoulder."""

    inner: Growth
    tokens: list[Tensor] = field(default_factory=list)
    parents: list[Tensor] = field(default_factory=list)
    asked: list[Tensor] = field(default_factory=list)

    def within(self, nodes: int, depth: int) -> "_Watched":
        return replace(self, inner=self.inner.within(nodes, depth))

    def start(self, batch: int, device: torch.device) -> Any:
        self.asked.append(torch.full((batch, 1), PAD))  # the root, which is evaluated first
        return self.inner.start(batch, device)

    def grow(self, state: Any, level: Level) -> tuple[Any, Children]:
        after, new = self.inner.grow(state, level)
        before = sum(tokens_BC.shape[1] for tokens_BC in self.tokens)
        real_BC = new.tokens_BC != PAD
        asked_BE = torch.cat(self.asked, 1)
        known_BC = (new.parents_BC[..., None] == asked_BE[:, None]).any(-1)
        assert known_BC[real_BC].all(), "a child hangs from a row that was evaluated"
        assert (new.parents_BC[real_BC] < before).all(), "parents come before children"
        self.tokens.append(new.tokens_BC)
        self.parents.append(new.parents_BC)
        wanted_BE = new.next_BE
        assert (wanted_BE < before + new.tokens_BC.shape[1]).all(), "what is evaluated next is a node"
        assert (wanted_BE >= PAD).all(), "what is evaluated next is a node"
        every_BE = torch.cat([asked_BE[:, 1:], wanted_BE], 1)
        self.asked.append(wanted_BE)
        for nodes in every_BE.tolist():
            once = [node for node in nodes if node != PAD]
            assert len(set(once)) == len(once), "a node is evaluated once"
        return after, new

    def kept(self, state: Any) -> Tensor | None:
        kept_BK = self.inner.kept(state)
        if kept_BK is None or not self.tokens:
            return kept_BK
        tokens_BN, parents_BN = torch.cat(self.tokens, 1), torch.cat(self.parents, 1)
        there_BK = (tokens_BN.gather(1, kept_BK.clamp_min(0)) != PAD) | (kept_BK == PAD)
        assert there_BK.all(), "what is kept is there"
        assert (kept_BK != PAD).any(0).all(), "a node that is absent everywhere costs a row for nothing"
        for nodes, parents in zip(kept_BK.tolist(), parents_BN.tolist(), strict=True):
            some = [node for node in nodes if node != PAD]
            assert some == sorted(set(some)), "what is kept is given in ascending order, each node once"
            assert nodes == some + [PAD] * (len(nodes) - len(some)), "PAD stands behind what is kept"
            assert {parents[node] for node in some} <= {*some, PAD}, "with a node its parent is kept"
        return kept_BK

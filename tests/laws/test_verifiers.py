"""Every verifier obeys the law of verifiers, and the law sees the classic mistakes."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from decant.noise import TARGET
from decant.numerics import normalise, take
from decant.testing.laws import check_verifier
from decant.types import PAD, Draft, Siblings, Verdict
from decant.verifiers.block import Block
from decant.verifiers.coupled import Coupled
from decant.verifiers.greedy_multi import GreedyMulti
from decant.verifiers.k_seq import KSeq
from decant.verifiers.lenience import Lenience
from decant.verifiers.rejection import Rejection
from decant.verifiers.threshold import Threshold
from decant.verifiers.tree_rejection import TreeRejection
from decant.verifiers.typical_acceptance import TypicalAcceptance

VERIFIERS = [Coupled(), Rejection(), TreeRejection()]
VERIFIERS += [Block(), KSeq(), GreedyMulti(), TypicalAcceptance(), Lenience(), Threshold()]


@pytest.mark.parametrize("verifier", VERIFIERS, ids=repr)
def test_verifier(verifier) -> None:
    check_verifier(verifier)


@dataclass(frozen=True)
class Chain:
    """Rejection sampling of chains, written plainly, with a hook for one mistake."""

    mistake: str = ""

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"fixed", "independent"})
    trees: ClassVar[bool] = False

    def verify(self, draft, target_BMV, noise):
        batch, nodes = draft.tokens_BN.shape
        p_BMV, q_BMV = target_BMV, self.laws(draft, target_BMV)
        p_BN, q_BN = (take(law_BMV[:, :nodes], draft.tokens_BN) for law_BMV in (p_BMV, q_BMV))
        if self.mistake == "p and q swapped":
            p_BN, q_BN = q_BN, p_BN
        depth_BN = torch.arange(nodes).expand(batch, -1)
        if self.mistake == "noise reused across positions":
            depth_BN = torch.zeros_like(depth_BN)
        accepted_BN = noise.uniform(depth_BN, "accept") * q_BN < p_BN
        if self.mistake == "absent guesses are accepted":
            accepted_BN |= draft.tokens_BN == PAD
        accepted_B = (accepted_BN & (draft.tokens_BN != PAD)).long().cumprod(-1).sum(-1)
        if self.mistake == "goes on after a refusal":
            accepted_B = (accepted_BN & (draft.tokens_BN != PAD)).long().sum(-1)
        rows_B = torch.arange(batch)
        last_B = self.last(p_BMV[rows_B, accepted_B], q_BMV[rows_B, accepted_B], accepted_B, noise, nodes)
        return Verdict.of_chain(draft.tokens_BN, accepted_B, last_B)

    def laws(self, draft, target_BMV):
        """q, one row more than there are nodes; nothing where there is no guess."""
        batch, nodes = draft.tokens_BN.shape
        q_BMV = torch.zeros_like(target_BMV)
        if draft.siblings == "fixed":
            q_BMV[:, :nodes].scatter_(-1, draft.tokens_BN.clamp_min(0)[..., None], 1.0)
        elif draft.laws_BMV is not None:
            q_BMV[:, :nodes] = draft.laws_BMV[:, :nodes]
        if self.mistake == "residual at the end of a ragged draft":
            return q_BMV
        return q_BMV.where(torch.cat([draft.tokens_BN != PAD, torch.zeros(batch, 1).bool()], 1)[..., None], 0)

    def last(self, p_BV, q_BV, accepted_B, noise, nodes):
        left_BV = (p_BV - q_BV).clamp_min(0)
        if self.mistake == "residual drawn from p":
            left_BV = p_BV
        if self.mistake == "residual |p - q|":
            left_BV = (p_BV - q_BV).abs()
        if self.mistake == "bonus from the untempered law":
            left_BV = torch.where(accepted_B[:, None] == nodes, p_BV**0.7, left_BV)
        stream = "accept" if self.mistake == "one number used twice" else "residual"
        if self.mistake == "one number used twice":
            u_B1 = noise.uniform(accepted_B[:, None], stream)
            law_BV = normalise(left_BV, p_BV).double()
            return (law_BV.cumsum(-1) < u_B1).sum(-1).clamp_max(p_BV.shape[-1] - 1)
        return noise.draw(normalise(left_BV, p_BV), accepted_B, stream)


CHAIN_MISTAKES = [
    "residual drawn from p",
    "p and q swapped",
    "residual |p - q|",
    "bonus from the untempered law",
    "noise reused across positions",
    "residual at the end of a ragged draft",
    "goes on after a refusal",
    "one number used twice",
]


def test_the_plain_chain_itself_is_right() -> None:
    check_verifier(Chain())


@pytest.mark.parametrize("mistake", CHAIN_MISTAKES)
def test_a_planted_bug_in_a_chain_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError):
        check_verifier(Chain(mistake))


@dataclass(frozen=True)
class Tree:
    """TreeRejection, given something wrong or doing something wrong with what it says."""

    mistake: str = ""

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"without_replacement"})
    trees: ClassVar[bool] = True

    def verify(self, draft, target_BMV, noise):
        if not draft.branches:
            return TreeRejection().verify(draft, target_BMV, noise)
        if self.mistake == "siblings sorted by p":
            draft, node_BN = self.sorted_pairs(draft, target_BMV)
            verdict = TreeRejection().verify(draft, target_BMV, noise)
            nodes_BC = node_BN.gather(1, verdict.nodes_BC.clamp_min(0)).where(verdict.nodes_BC != PAD, PAD)
            return Verdict(verdict.tokens_BC, nodes_BC)
        if self.mistake == "q keeps what was refused":
            draft = Draft(draft.tokens_BN, draft.parents_BN, draft.laws_BMV, "independent")
        if self.mistake == "laws of two siblings swapped":
            rows_M = [0, 2, 1, 3, 4, 5]  # the children of node 0 are judged by the law of node 1's, and the other way
            draft = Draft(draft.tokens_BN, draft.parents_BN, draft.laws_BMV[:, rows_M], draft.siblings)
        return TreeRejection().verify(draft, target_BMV, noise)

    def sorted_pairs(self, draft, target_BMV):
        """The last two leaves swapped where the target likes the second better; leaves have no children to confuse."""
        tokens_BN = draft.tokens_BN.clone()
        node_BN = torch.arange(tokens_BN.shape[1]).expand_as(tokens_BN).clone()
        p_BV = target_BMV[:, int(draft.parents_BN[0, -1]) + 1]
        swap_B = take(p_BV, tokens_BN[:, -2]) < take(p_BV, tokens_BN[:, -1])
        for values_BN in (tokens_BN, node_BN):
            values_BN[swap_B, -2:] = values_BN[swap_B, -2:].flip(1)
        return Draft(tokens_BN, draft.parents_BN, draft.laws_BMV, draft.siblings), node_BN


TREE_MISTAKES = ["siblings sorted by p", "q keeps what was refused", "laws of two siblings swapped"]


def test_the_tree_itself_is_right() -> None:
    check_verifier(Tree())


@pytest.mark.parametrize("mistake", TREE_MISTAKES)
def test_a_planted_bug_in_a_tree_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError, match="not the law that was promised"):
        check_verifier(Tree(mistake))


@dataclass(frozen=True)
class Seeded:
    """Coupled, with a hook for one mistake."""

    mistake: str = ""

    exact: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    accepts: ClassVar[frozenset[Siblings]] = frozenset({"fixed", "without_replacement"})
    trees: ClassVar[bool] = True

    def verify(self, draft, target_BMV, noise):
        if self.mistake == "claims to be seeded":
            return TreeRejection().verify(draft, target_BMV, noise)
        verdict = Coupled().verify(draft, target_BMV, noise)
        if self.mistake == "the last token from a stream of its own":
            depth_B, rows_B = verdict.accepted_B, torch.arange(len(verdict.tokens_BC))
            ends_B1 = verdict.nodes_BC.gather(1, (depth_B - 1).clamp_min(0)[:, None])
            row_B = ends_B1.squeeze(1).where(depth_B > 0, PAD) + 1
            last_B = noise.draw(target_BMV[rows_B, row_B], depth_B, "bonus")
            return Verdict(verdict.tokens_BC.scatter(1, depth_B[:, None], last_B[:, None]), verdict.nodes_BC)
        if self.mistake == "noise reused across positions":
            return Coupled().verify(draft, target_BMV, Stuck(noise))
        return verdict


class Stuck:
    """Noise that has forgotten where it is."""

    def __init__(self, noise):
        self.noise = noise

    def select(self, rows_R):
        return Stuck(self.noise.select(rows_R))

    def draw(self, weights_BXV, depth_BX, stream=TARGET):
        return self.noise.draw(weights_BXV, torch.zeros_like(depth_BX), stream)


@pytest.mark.parametrize(
    "mistake", ["claims to be seeded", "the last token from a stream of its own", "noise reused across positions"]
)
def test_a_planted_bug_in_a_seeded_verifier_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError):
        check_verifier(Seeded(mistake))


def test_the_law_says_how_sure_it_is() -> None:
    with pytest.raises(AssertionError, match=r"chi-square \d+ on \d+ degrees of freedom from 20000 draws, p = "):
        check_verifier(Chain("residual drawn from p"))

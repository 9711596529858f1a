"""How a tree grows out of a drafter's laws: which children a row gets, and which nodes are evaluated next.

`growing.grown` drives it. A growth sees laws, and tokens of nodes that stay in the draft; never a token that it then
throws away, unless guesses are fixed: choosing by what was drawn biases what a rejection verifier lets through.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from decant.drafting.templates import Stage, cut, even, stages
from decant.noise import LIKELY, TARGET, Noise
from decant.numerics import likeliest
from decant.types import PAD, DraftShape, Path, Siblings


@final
@dataclass(frozen=True, eq=False)
class Level:
    """Rows that were evaluated last.

    rows_BL:   the row of the draft that each is: 0 the root, i + 1 node i; PAD: nobody's.
    depth_BL:  their depth, the root's is 0.
    logits_BLV: the drafter's, before any warp.
    law_BLV:   q, warped: what children are drawn from.
    coupled:   whether the target's own noise draws, which makes every guess a fixed one.
    siblings:  how children are to be drawn otherwise.
    apart:     whether each row draws with numbers of its own: for growths in which rows compete, so that what one of
        them draws decides how many children another gets.
    """

    rows_BL: Tensor
    depth_BL: Tensor
    logits_BLV: Tensor
    law_BLV: Tensor
    noise: Noise
    coupled: bool
    siblings: Siblings
    apart: bool = False

    @cached_property
    def sure_BLV(self) -> Tensor:
        """The law before any warp: how sure the drafter is."""
        return self.logits_BLV.softmax(-1)

    @cached_property
    def race_BLV(self) -> Tensor:
        """log q + Gumbel: its k largest are k draws without replacement; of guesses that are coupled, and so may be
        any, only the likeliest compete. Rows of one depth share their numbers, unless they are to lie apart: a verifier
        walks one path and meets one of them."""
        if self.coupled:
            return self.noise.gumbel(likeliest(self.law_BLV, LIKELY), self.depth_BL, TARGET)
        if not self.apart:
            return self.noise.gumbel(self.law_BLV, self.depth_BL, "draft")
        law_RV, depth_R, noise = self._each_alone
        return noise.gumbel(law_RV, depth_R, "draft").view_as(self.law_BLV)

    @cached_property
    def chance_BLV(self) -> Tensor:
        """How likely each token is the target's next, as far as the drafter can tell: the race itself where its
        numbers are the target's, so that a lead counts; where chance is out of it, the law before any warp."""
        if not self.coupled:
            return self.law_BLV
        certain_BL1 = (self.law_BLV > 0).sum(-1, keepdim=True) == 1
        return torch.where(certain_BL1, self.sure_BLV, self.race_BLV.softmax(-1))

    @cached_property
    def _each_alone(self) -> tuple[Tensor, Tensor, Noise]:
        """law_RV, depth_R and noise of rows as requests of their own. What tells two rows of a request apart is their
        place in the level, which neighbours do not move."""
        batch, rows = self.rows_BL.shape
        place_BL = torch.arange(rows, device=self.rows_BL.device).expand(batch, rows)
        depth_BL = self.depth_BL.expand(batch, rows)
        # A uniform number holds 52 bits; they make a seed.
        seed_BL = (self.noise.uniform(depth_BL, "row", place_BL) * 2.0**52).long()
        noise = Noise(seed_BL.flatten(), self.noise.root_B.repeat_interleave(rows))
        return self.law_BLV.flatten(0, 1), depth_BL.flatten(), noise

    def children(self, width: int) -> Tensor:
        """tokens_BLW: guesses for every row, likeliest or drawn first; PAD where q ends, and beside absent rows.

        All `width` of a row belong together: of greedy_multi siblings the last is the one that was drawn.
        """
        again = self.siblings == "independent" and not self.coupled
        width = width if again else min(width, self.law_BLV.shape[-1])
        tokens_BLW = self._ranked(width) if self.coupled else self._drawn(width)
        return tokens_BLW.where((self.rows_BL != PAD)[..., None], PAD)

    def children_of(self, counts: Sequence[int]) -> Tensor:
        """`children`, so many of each row, PAD behind."""
        width = max(counts)
        if self.coupled or self.siblings != "greedy_multi" or min(counts) == width:
            return self.children(width)
        tokens_BLW = self.rows_BL.new_full((*self.rows_BL.shape, width), PAD)
        for count in {*counts} - {0}:
            rows = [row for row, own in enumerate(counts) if own == count]
            tokens_BLW[:, rows, :count] = self.children(count)[:, rows]
        return tokens_BLW

    def _ranked(self, width: int) -> Tensor:
        """The best of the race; where the warp leaves fewer, the likeliest of the rest: fixed guesses need no law."""
        best_BLW, tokens_BLW = self.race_BLV.topk(width, dim=-1)
        real_BLW = best_BLW > -torch.inf
        if width == 1:
            return tokens_BLW.where(real_BLW, PAD)
        spare_BLV = self.logits_BLV.masked_fill(self.race_BLV > -torch.inf, -torch.inf)
        spare_BLW = spare_BLV.topk(width, dim=-1).indices
        return torch.where(real_BLW, tokens_BLW, spare_BLW.gather(-1, _rank_among(~real_BLW)))

    def _drawn(self, width: int) -> Tensor:
        if self.siblings == "fixed":
            best_BLW, tokens_BLW = self.law_BLV.topk(width, dim=-1)
            return tokens_BLW.where(best_BLW > 0, PAD)
        if self.siblings == "independent":
            return torch.stack([self._drawn_again(_stream(lane)) for lane in range(width)], -1)
        if self.siblings == "without_replacement":
            best_BLW, tokens_BLW = self.race_BLV.topk(width, dim=-1)
            return tokens_BLW.where(best_BLW > -torch.inf, PAD)
        likely_BLW, first_BLW = self.law_BLV.topk(width - 1, dim=-1)
        rest_BLV = self.law_BLV.scatter(-1, first_BLW, 0.0)
        last_BL1 = self.noise.draw(rest_BLV, self.depth_BL, "draft")[..., None]
        last_BL1 = last_BL1.where(rest_BLV.sum(-1, keepdim=True) > 0, PAD)
        return torch.cat([first_BLW.where(likely_BLW > 0, PAD), last_BL1], -1)

    def _drawn_again(self, stream: str) -> Tensor:
        """One draw a row. Two rows that hold the same text, which only such draws give, must not say the same next."""
        if self.rows_BL.shape[1] == 1:
            return self.noise.draw(self.law_BLV, self.depth_BL, stream)
        law_RV, depth_R, noise = self._each_alone
        return noise.draw(law_RV, depth_R, stream).view(self.rows_BL.shape)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Children:
    """What a level adds to a draft.

    tokens_BC:  new nodes, PAD where there is none.
    parents_BC: the node that each hangs from, PAD for the root.
    next_BE:    nodes of the whole draft, new or old, to evaluate next; PAD where there is none. Each is evaluated once.
    """

    tokens_BC: Tensor
    parents_BC: Tensor
    next_BE: Tensor


@runtime_checkable
class Growth(Protocol):
    """How a tree grows. `grown` drives it; a policy hands it over in a `DraftShape`."""

    def within(self, nodes: int, depth: int) -> "Growth":
        """The same rule for a tree of at most `nodes` nodes and, `nodes` or fewer, `depth` levels."""
        ...

    def start(self, batch: int, device: torch.device) -> Any:
        """What it remembers while one draft grows."""
        ...

    def grow(self, state: Any, level: Level) -> tuple[Any, Children]:
        """Children of the rows evaluated last, and what is evaluated next."""
        ...

    def kept(self, state: Any) -> Tensor | None:
        """nodes_BK that stay in the end, ascending, PAD behind; with each its parent. None keeps all. A drawn guess may
        be dropped for what was known before it was drawn, never for what it says; an absent one always."""
        ...


def ascending(kept_BN: Tensor) -> Tensor:
    """nodes_BK: the indices of what is kept, ascending, PAD behind."""
    width = int(kept_BN.sum(-1).max())  # sync: absent nodes cost a row each
    order_BK = (~kept_BN).long().argsort(dim=1, stable=True)[:, :width]
    return order_BK.where(kept_BN.gather(1, order_BK), PAD)


@final
@dataclass(frozen=True, slots=True)
class Static:
    """A tree decided beforehand: `Growth` by a template of ranks, given breadth first."""

    paths: tuple[Path, ...]

    @property
    def levels(self) -> tuple[Stage, ...]:
        """The template level by level."""
        return stages(self.paths)

    @classmethod
    def of(cls, shape: DraftShape) -> "Static":
        """The template of a shape, cut to its depth and budget; without one, `width` children each, breadth first."""
        if shape.template is not None:
            return cls(cut(shape.template, shape.depth, shape.budget))
        return cls(even(shape.depth, shape.width, shape.budget))

    def within(self, nodes: int, depth: int) -> "Static":
        """The template, cut."""
        return Static(cut(self.paths, depth, nodes))

    def start(self, batch: int, device: torch.device) -> tuple[int, int]:
        """The level that comes next, and how many nodes there are."""
        return 0, 0

    def grow(self, state: tuple[int, int], level: Level) -> tuple[tuple[int, int], Children]:
        """The children that the template names."""
        number, nodes = state
        batch, device = len(level.rows_BL), level.rows_BL.device
        if number == len(self.levels):
            none_B0 = level.rows_BL.new_empty(batch, 0)
            return state, Children(none_B0, none_B0, none_B0)
        stage = self.levels[number]
        tokens_BLW = level.children_of(stage.counts)
        count = len(stage.parents)
        if stage.whole == tokens_BLW.shape[1:].numel():
            tokens_BC = tokens_BLW.flatten(1)
        else:
            row_C, rank_C = (torch.tensor(numbers, device=device) for numbers in (stage.rows, stage.ranks))
            found_BC = tokens_BLW[:, row_C, rank_C.clamp_max(tokens_BLW.shape[2] - 1)]
            tokens_BC = found_BC.where(
                rank_C < tokens_BLW.shape[2], PAD
            )  # a vocabulary may be narrower than a template
        parents_BC = torch.tensor(stage.parents, device=device).expand(batch, -1)
        next_E = torch.tensor(stage.expanded, dtype=torch.int64, device=device)
        next_BE = (next_E + nodes).expand(batch, -1)
        return (number + 1, nodes + count), Children(tokens_BC, parents_BC, next_BE)

    def kept(self, state: tuple[int, int]) -> None:
        """All."""


def _stream(lane: int) -> str:
    return f"draft {lane}" if lane else "draft"


def _rank_among(these_XW: Tensor) -> Tensor:
    """How many of `these` come before each slot."""
    return (these_XW.long().cumsum(-1) - 1).clamp_min(0)

"""The nouns and verbs of masked diffusion. Read `types.py` and `protocols.py` first.

A request has a prompt and a *canvas*: the places of its answer, of which some are open (they hold the mask) and some
are given. A decoder settles open places in any order. Letters beside those of `types.py`:

    L  places of a canvas, PAD where a request has fewer       N  places asked about, row by row, left to right
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, TypeVar, final

import torch
from torch import Tensor

from decant.noise import Noise
from decant.protocols import Warp
from decant.types import PAD

State = TypeVar("State")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
    """What a pass computes anew; it reads everything else from what earlier passes stored.

    prompt_B: of which requests the prompt. answer_BL: which places of the canvas.
    asked_BL: of the wanted places the only ones that may settle; None: all.
    """

    prompt_B: Tensor
    answer_BL: Tensor
    asked_BL: Tensor | None = None

    @classmethod
    def whole(cls, canvas_BL: Tensor) -> "Fresh":
        """Everything."""
        present_BL = canvas_BL != PAD
        return cls(present_BL.any(-1), present_BL)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What a schedule has worked on now.

    block_BL:  the places, settled ones included; nothing behind them settles before they are.
    wanted_BL: the open places about which the model is asked; more than may settle where a choice needs them.
    """

    block_BL: Tensor
    wanted_BL: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What may settle in one step.

    eligible_BL: open places.
    quota_B:     how many a ranked unmasker settles; None: its own number.
    trust_N:     what the confidence of each place that was asked about is multiplied with; None: 1.
    """

    eligible_BL: Tensor
    quota_B: Tensor | None = None
    trust_N: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Outlook:
    """What the model thinks of the places that it was asked about.

    canvas_BL: as it was. row_N, place_N: the places. logits_NV: float32, no temperature, -inf for the mask.
    warp, noise: what a guess is drawn with. trust_N: as in `Turn`.
    """

    canvas_BL: Tensor
    row_N: Tensor
    place_N: Tensor
    logits_NV: Tensor
    warp: Warp
    noise: Noise
    trust_N: Tensor | None = None

    @cached_property
    def asked_BL(self) -> Tensor:
        """Where these places are."""
        return self.table(torch.ones_like(self.row_N, dtype=torch.bool), False)

    @cached_property
    def probs_NV(self) -> Tensor:
        """Before any warp."""
        return self.logits_NV.softmax(-1)

    @cached_property
    def guess_N(self) -> Tensor:
        """The id that each place would get: its draw has the place's own number, so that a later step that thinks the
        same draws the same, and a guess never depends on how many steps there were."""
        return self.noise.select(self.row_N).draw(self.warp(self.logits_NV).softmax(-1), self.place_N)

    @cached_property
    def confidence_N(self) -> Tensor:
        """The probability of the guess, before any warp, as far as it is trusted."""
        found_N = self.probs_NV.gather(-1, self.guess_N[:, None])[:, 0]
        return found_N if self.trust_N is None else found_N * self.trust_N

    @cached_property
    def entropy_N(self) -> Tensor:
        """Nats, before any warp."""
        return torch.special.entr(self.probs_NV).sum(-1)

    @cached_property
    def guess_BL(self) -> Tensor:
        """PAD where nobody asked."""
        return self.table(self.guess_N, PAD)

    @cached_property
    def confidence_BL(self) -> Tensor:
        """0 where nobody asked."""
        return self.table(self.confidence_N, 0.0)

    def table(self, values_N: Tensor, elsewhere: float) -> Tensor:
        """values_BL."""
        values_BL = torch.full(self.canvas_BL.shape, elsewhere, dtype=values_N.dtype, device=values_N.device)
        return values_BL.index_put((self.row_N, self.place_N), values_N)

    def rethought(self, logits_NV: Tensor) -> "Outlook":
        """With other logits."""
        return replace(self, logits_NV=logits_NV)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reveal:
    """What changes on a canvas.

    settled_BL: open places that get `tokens_BL`; PAD as a token drops the place: the answer is shorter.
    again_BL:   settled places that open again; None: none.
    """

    tokens_BL: Tensor
    settled_BL: Tensor
    again_BL: Tensor | None = None


class MaskedLM(Protocol[State]):
    """Says what open places hold. Owns what it stored of earlier passes; the only part that mutates anything."""

    @property
    def vocab(self) -> int:
        """How many logits a place has, the mask's own included."""
        ...

    @property
    def mask(self) -> int:
        """The id of an open place, which it never says."""
        ...

    def start(self, prompt_BT: Tensor, canvas_BL: Tensor) -> State:
        """Nothing is computed, so the first pass is a whole one. Both are right-padded with PAD."""
        ...

    def predict(self, state: State, canvas_BL: Tensor, fresh: Fresh, wanted_BL: Tensor) -> tuple[State, Tensor]:
        """logits_NV, float32, of the wanted places, row by row; -inf for the mask."""
        ...

    def cache_bytes(self, tokens: Any) -> int:
        """Of requests of so many tokens each, at most."""
        ...


class Unmasker(Protocol[State]):
    """Decides which open places settle now, and what they hold."""

    foresight: ClassVar[bool]
    """Whether it looks at every open place, not only at those that may settle."""
    takes_back: ClassVar[bool]
    """Whether a settled place may open again."""

    def start(self, canvas_BL: Tensor, noise: Noise) -> State: ...

    def reveal(self, state: State, seen: Outlook, turn: Turn) -> tuple[Reveal, State]:
        """Where it settles nothing of a request that has eligible places, the decoder settles the surest of them."""
        ...


class Schedule(Protocol[State]):
    """Decides which open places may settle now."""

    def start(self, canvas_BL: Tensor) -> State: ...

    def scope(self, state: State, canvas_BL: Tensor) -> Scope: ...

    def turn(self, state: State, scope: Scope, seen: Outlook) -> tuple[Turn, State]: ...


class Refresh(Protocol[State]):
    """Decides what a pass computes anew."""

    @property
    def exact(self) -> bool:
        """Whether nothing changes by it."""
        ...

    def start(self, canvas_BL: Tensor, noise: Noise) -> State: ...

    def fresh(self, state: State, canvas_BL: Tensor, scope: Scope) -> tuple[Fresh, State]:
        """canvas_BL: as the pass will read it. The first pass of a request is a whole one."""
        ...


class Permits(Protocol):
    """Says which canvases can still become a text of a language: the ids of one request's places, open ones and PAD
    among them. Pure; what it found out it may remember, so that asking again about nearly the same costs little."""

    @property
    def kind_V(self) -> Tensor:
        """Tokens of one kind fit at the same places of the same canvases."""
        ...

    def fits(self, canvas_L: Sequence[int]) -> bool:
        """Whether it can. A canvas that fits has a token for each open place with which it still fits."""
        ...

    def implied(self, canvas_L: Sequence[int]) -> Mapping[int, int]:
        """Open places where one token alone can stand -> that token; as far as this is cheap to see."""
        ...

    def rescue(self, canvas_L: Sequence[int], place: int) -> int:
        """A token with which this open place of a canvas that fits still fits."""
        ...


def surest(score_BL: Tensor, among_BL: Tensor, count_B: Tensor | int) -> Tensor:
    """settled_BL: of each request the `count` places with the highest scores; of equal ones the left one."""
    order_BL = score_BL.masked_fill(~among_BL, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    rank_BL = torch.empty_like(order_BL).scatter_(
        1, order_BL, torch.arange(order_BL.shape[1], device=order_BL.device).expand_as(order_BL)
    )
    limit = count_B[:, None] if isinstance(count_B, Tensor) else count_B
    return (rank_BL < limit) & among_BL


def ranked(seen: Outlook, turn: Turn, score_BL: Tensor, per_step: int) -> Reveal:
    """The guesses at the surest of the eligible places: as many as the schedule says, else `per_step`."""
    quota = per_step if turn.quota_B is None else turn.quota_B
    return Reveal(seen.guess_BL, surest(score_BL, turn.eligible_BL, quota))

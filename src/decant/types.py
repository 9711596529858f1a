"""The nouns: what flows between the parts.

Every tensor name ends in its shape, one letter per dimension:

    B  requests in the batch          N  drafted nodes (a chain has N == depth)
    T  context tokens, right-padded   M  scored rows, M == N + 1 (row 0 is the root, row i + 1 is node i)
    V  vocabulary                     C  tokens committed by one step, right-padded
    D  hidden width                   K  the best few of V
    R  rows to pick out of B          X  any leading dimensions

The *root* is the last emitted token: it is never in the target's cache, and every draft hangs from it.
`p` is always the target, `q` always the draft.
"""

from bisect import bisect_left
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, final

import torch
from torch import Tensor

from decant.errors import ShapeError

PAD = -1  # fills unused slots of every token or index tensor; never a real id

Siblings = Literal["fixed", "independent", "without_replacement", "greedy_multi"]
"""How the children of one node came about: chosen without chance; drawn each from the node's law; drawn in order
without replacement; all but the last chosen greedily and the last drawn."""


@dataclass(frozen=True, slots=True)
class Taps:
    """What a part reads of the target besides the logits of drafted rows.

    layers: layers whose hidden states it wants (0 is the embedding; -1 the last layer after the final norm).
    top:    how many best ids of every prompt position it wants.
    logits: whether it wants the dense logits of the prompt (V floats a token: think twice).
    """

    layers: tuple[int, ...] = ()
    top: int = 0
    logits: bool = False

    def __or__(self, other: "Taps") -> "Taps":
        """Taps that satisfy both."""
        layers = tuple(dict.fromkeys(self.layers + other.layers))
        return Taps(layers, max(self.top, other.top), self.logits or other.logits)


Path = tuple[int, ...]
"""A node of a tree by ranks: (0, 2) is the third child of the root's first."""


@dataclass(frozen=True, slots=True)
class DraftShape:
    """How much to guess next: `depth` levels, `width` children each, at most `budget` nodes (None: no limit).

    stop_below: a drafter with a law stops its chain *after* a node whose law, before any warp (a greedy one is always
        certain), has no larger probability. It looks at the law, never at the token: dropping a token because it was
        unlikely biases the output.
    template:   the tree itself, which then counts instead of `width`: paths in any order, parents among them.
    growth:     a `growth.Growth`, which decides level by level, in place of a template; for drafters with a law.
    exit:       layers of the target that an early exit drafts with; None: the drafter's own choice.
    siblings:   how a drafter with a law draws, where guesses are not coupled to the target's draws; None: a chain of
        independent draws, or a tree of draws without replacement.
    """

    depth: int
    width: int = 1
    budget: int | None = None
    stop_below: float = 0.0
    template: tuple[Path, ...] | None = None
    growth: Any = None
    exit: int | None = None
    siblings: Siblings | None = None

    @property
    def branches(self) -> bool:
        """Whether a draft of this shape may be a tree."""
        return self.width > 1 or self.template is not None or self.growth is not None


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """Guessed continuations of each request: a chain, or a tree whose parents come before their children.

    tokens_BN:  guessed ids, int64; PAD is an absent node (ragged drafts; no match drafts nothing).
    parents_BN: index of each node's parent, PAD for a child of the root; None for a chain, where node i follows i - 1.
    laws_BMV:   row m is the law q, float32, from which the children of row m were drawn; None for fixed guesses.
    siblings:   how the children of one node came about.
    probe_BN:   true at nodes that are scored for the drafter's sake and can never be accepted; None: there are none.
        What hangs from a probe is one.
    evaluated_BN: where the drafter itself evaluated each node, PAD where it never did; None: at the node's own index.
    own:        where one drafter adds to the draft of another: that draft, whose nodes come first.
    """

    tokens_BN: Tensor
    parents_BN: Tensor | None = None
    laws_BMV: Tensor | None = None
    siblings: Siblings = "fixed"
    probe_BN: Tensor | None = None
    evaluated_BN: Tensor | None = None
    own: "Draft | None" = None

    def __post_init__(self) -> None:
        batch, nodes = self.tokens_BN.shape
        if self.parents_BN is not None and self.parents_BN.shape != self.tokens_BN.shape:
            raise ShapeError(
                f"every drafted token needs one parent: tokens_BN is {(batch, nodes)} "
                f"but parents_BN is {tuple(self.parents_BN.shape)}"
            )
        if self.laws_BMV is not None and self.laws_BMV.shape[:2] not in {(batch, nodes), (batch, nodes + 1)}:
            raise ShapeError(
                f"laws_BMV holds one law for each row that has children: {nodes} or {nodes + 1} rows for {nodes} "
                f"nodes, got {tuple(self.laws_BMV.shape)}"
            )

    @classmethod
    def nothing(cls, batch: int, device: torch.device | str = "cpu") -> "Draft":
        """No guess at all: the root alone is scored."""
        return cls(torch.empty(batch, 0, dtype=torch.int64, device=device))

    @property
    def branches(self) -> bool:
        """Whether this is a tree rather than a chain."""
        return self.parents_BN is not None

    @property
    def guesses(self) -> "Draft":
        """What a verifier may accept: probes are absent."""
        if self.probe_BN is None:
            return self
        return replace(self, tokens_BN=self.tokens_BN.masked_fill(self.probe_BN, PAD), probe_BN=None)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the target computed at M rows of each request.

    logits_BMV: what follows each row, before any warp; M is 0 in a prefill unless its logits were tapped.
    hidden_BMD: the tapped layers' hidden states, concatenated over layers, or None.
    top_BMK:    the tapped best ids, best first, PAD beside padding, or None.
    layers:     which layers those are; several parts may have tapped them.
    """

    logits_BMV: Tensor
    hidden_BMD: Tensor | None = None
    top_BMK: Tensor | None = None
    layers: tuple[int, ...] = ()

    def hidden(self, layers: tuple[int, ...]) -> Tensor:
        """hidden_BMD of some of the tapped layers, concatenated in the order asked for."""
        if self.hidden_BMD is None:  # a prefill without rows
            return self.logits_BMV.new_empty(len(self.logits_BMV), 0, 0)
        if layers == self.layers:
            return self.hidden_BMD
        each = self.hidden_BMD.chunk(len(self.layers), -1)
        return torch.cat([each[self.layers.index(layer)] for layer in layers], -1)


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the target kept of one draft.

    tokens_BC: committed ids: an accepted path, then one token of the target's own, then PAD.
    nodes_BC:  the draft node behind each accepted token; PAD elsewhere.
    """

    tokens_BC: Tensor
    nodes_BC: Tensor

    @classmethod
    def of_chain(cls, tokens_BN: Tensor, accepted_B: Tensor, last_B: Tensor) -> "Verdict":
        """The first `accepted` tokens of a chain, then `last`."""
        batch, depth = tokens_BN.shape
        slots_C = torch.arange(depth + 1, device=tokens_BN.device)
        kept_BC = slots_C < accepted_B[:, None]
        padded_BC = torch.cat([tokens_BN, tokens_BN.new_full((batch, 1), PAD)], dim=1)
        tokens_BC = padded_BC.where(kept_BC, PAD).scatter(1, accepted_B[:, None], last_B[:, None])
        return cls(tokens_BC, slots_C.expand(batch, -1).where(kept_BC, PAD))

    @classmethod
    def of_path(cls, tokens_BN: Tensor, nodes_BD: Tensor, last_B: Tensor) -> "Verdict":
        """The tokens of the nodes of a path, PAD where it has ended, then `last`."""
        nodes_BC = torch.cat([nodes_BD, torch.full_like(last_B[:, None], PAD)], dim=1)
        padded_BN = torch.cat([tokens_BN, tokens_BN.new_full((len(last_B), 1), PAD)], dim=1)
        end_B1 = (nodes_BC != PAD).sum(-1, keepdim=True)
        # PAD, which is -1, picks the column of PAD that was added last.
        tokens_BC = padded_BN.gather(1, nodes_BC.where(nodes_BC != PAD, tokens_BN.shape[1]))
        return cls(tokens_BC.scatter(1, end_B1, last_B[:, None]), nodes_BC)

    @property
    def accepted_B(self) -> Tensor:
        """How many drafted tokens were kept."""
        return (self.nodes_BC != PAD).sum(-1)

    @property
    def committed_B(self) -> Tensor:
        """How many tokens were emitted: the accepted ones and the target's own."""
        return (self.tokens_BC != PAD).sum(-1)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Which output positions one turn of a decoder made final, and what they hold.

    tokens_BC:    ids, PAD where nothing happened.
    positions_BC: output positions, counted from 0 at the first generated token; PAD beside PAD.
    drafted_BC:   true where the token had been guessed.
    logp_BC:      log-probability of each token, in nats, 0 beside PAD; None where it was not asked for.
    top_BCK:      the likeliest ids in its place, best first, and top_logp_BCK theirs; None likewise.
    drafts_BKL:   of a decoder that writes several: what it might have said from its first position on, best first, PAD
                  behind; worth_BK: of each, the higher the better, -inf where there are fewer.
    """

    tokens_BC: Tensor
    positions_BC: Tensor
    drafted_BC: Tensor
    logp_BC: Tensor | None = None
    top_BCK: Tensor | None = None
    top_logp_BCK: Tensor | None = None
    drafts_BKL: Tensor | None = None
    worth_BK: Tensor | None = None


@final
@dataclass(frozen=True, slots=True)
class CostCurve:
    """Seconds of one pass of a model over so many rows, measured; rows ascend."""

    rows: tuple[int, ...]
    measured: tuple[float, ...]

    def seconds(self, rows: int) -> float:
        """Between two measured points on the line through them; behind the last, on the line through the last two."""
        at = min(max(bisect_left(self.rows, rows), 1), len(self.rows) - 1)
        if len(self.rows) == 1 or rows <= self.rows[0]:
            return self.measured[0]
        (x0, x1), (y0, y1) = self.rows[at - 1 : at + 1], self.measured[at - 1 : at + 1]
        return y0 + (y1 - y0) * (rows - x0) / (x1 - x0)


State = TypeVar("State")


def select_rows(state: State, rows_R: Tensor) -> State:
    """The requests `rows_R` of any state, in that order, repeats allowed.

    Tensors lead with B; dataclasses and tuples are searched for them; an object with `select` answers for itself;
    anything else (a counter, a shared table's owner) is kept as it is.
    """
    return _each(state, lambda part: part.index_select(0, rows_R), lambda part: part.select(rows_R))


def join_rows(state: State, other: State) -> State:
    """The requests of `state`, then those of `other`; both came from the same part."""
    if isinstance(state, Tensor):
        assert isinstance(other, Tensor)
        return _concatenate(state, other)  # type: ignore[return-value]
    if hasattr(state, "join") and not isinstance(state, str):
        return state.join(other)  # type: ignore[attr-defined]
    if is_dataclass(state) and not isinstance(state, type):
        changes = {f.name: join_rows(getattr(state, f.name), getattr(other, f.name)) for f in fields(state)}
        return replace(state, **changes)  # type: ignore[type-var]
    if isinstance(state, tuple):
        assert isinstance(other, tuple)
        return type(state)(join_rows(a, b) for a, b in zip(state, other, strict=True))  # type: ignore[return-value]
    return state


def _each(part: Any, on_tensor: Any, on_rows: Any) -> Any:
    if isinstance(part, Tensor):
        return on_tensor(part)
    if hasattr(part, "select"):
        return on_rows(part)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{f.name: _each(getattr(part, f.name), on_tensor, on_rows) for f in fields(part)})
    if isinstance(part, tuple):
        return type(part)(_each(item, on_tensor, on_rows) for item in part)
    return part


def _concatenate(one: Tensor, two: Tensor) -> Tensor:
    """Stack along B; ragged second dimensions of tables are right-padded: ids with PAD, others with 0."""
    if one.dim() == 2 and one.shape[1] != two.shape[1]:
        width, fill = max(one.shape[1], two.shape[1]), PAD if one.dtype == torch.int64 else 0
        one, two = (torch.nn.functional.pad(rows, (0, width - rows.shape[1]), value=fill) for rows in (one, two))
    return torch.cat([one, two])

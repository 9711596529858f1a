"""A cache of its own for every request: joining and leaving a batch copies nothing, and the shapes that kernels see
depend on how long a request is, never on its neighbours.
"""

from collections.abc import Sequence
from typing import Final, final

from torch import Tensor
from torch.nn.functional import pad

GRAIN: Final = 256  # slots a lane grows by


@final
class Lane:
    """Keys and values of one request in all layers: rows_L2KSW (2: keys, values). `owner`: the mark of the batch that
    may write; not the batch itself, as two that know each other keep their memory until the garbage collector comes."""

    def __init__(self, rows_L2KSW: Tensor, owner: object) -> None:
        self.rows_L2KSW, self.owner = rows_L2KSW, owner

    @property
    def slots(self) -> int:
        """For how many tokens there is room."""
        return self.rows_L2KSW.shape[3]

    def reserve(self, slots: int) -> None:
        """Make room for `slots` tokens."""
        if slots > self.slots:
            more = -(-slots // GRAIN) * GRAIN - self.slots
            self.rows_L2KSW = pad(self.rows_L2KSW, (0, 0, 0, more))  # zeros: what a mask hides must not be nan

    def copy(self, cached: int, owner: object) -> "Lane":
        """The first `cached` tokens, in a lane of `owner`'s."""
        slots = -(-cached // GRAIN) * GRAIN
        rows_L2KSW = self.rows_L2KSW[:, :, :, :cached]
        return Lane(pad(rows_L2KSW, (0, 0, 0, slots - cached)), owner)


@final
class Lanes:
    """One lane a request.

    What leaves this batch for another (`select`, `join`) belongs to the other from then on: the others' rows begin
    behind what this one has committed, so it can still be read up to there, and is copied before this one writes again.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes, self._mark = list(lanes), object()

    @classmethod
    def empty(cls, requests: int, shape: tuple[int, int, int], like: Tensor) -> "Lanes":
        """shape: layers, heads of keys, width; like: for type and device."""
        layers, heads, width = shape
        found = cls([])
        found.lanes = [Lane(like.new_zeros(layers, 2, heads, 0, width), found._mark) for _ in range(requests)]
        return found

    def owns(self) -> bool:
        """Whether nobody else may have written here."""
        return all(lane.owner is self._mark for lane in self.lanes)

    def claim(self, cached: Sequence[int]) -> None:
        """Copy what belongs to others by now."""
        self.lanes = [
            lane if lane.owner is self._mark else lane.copy(count, self._mark)
            for lane, count in zip(self.lanes, cached, strict=True)
        ]

    def move(self, request: int, sources: list[int], first: int) -> None:
        """Gather the rows in slots `sources` of one request into the slots from `first` on."""
        rows = self.lanes[request].rows_L2KSW
        rows[:, :, :, first : first + len(sources)] = rows[:, :, :, sources]  # an index copies: the two may overlap

    def chunk(self, request: int, first: int, stop: int) -> Tensor:
        """rows_L2KSW: a copy of some slots."""
        return self.lanes[request].rows_L2KSW[:, :, :, first:stop].clone()

    def restore(self, request: int, first: int, rows: Tensor) -> None:
        """Put a chunk into the slots from `first` on."""
        lane, stop = self.lanes[request], first + rows.shape[3]
        lane.reserve(stop)
        lane.rows_L2KSW[:, :, :, first:stop] = rows

    def select(self, rows: list[int]) -> "Lanes":
        """Requests `rows`."""
        return self._moved([self.lanes[row] for row in rows])

    def join(self, other: "Lanes") -> "Lanes":
        """These requests, then the other's."""
        return self._moved([*self.lanes, *other.lanes])

    def _moved(self, lanes: Sequence[Lane]) -> "Lanes":
        """A batch of these lanes; of one that is there twice, the second is a copy."""
        found = Lanes([])
        for lane in lanes:
            found.lanes.append(lane.copy(lane.slots, found._mark) if lane.owner is found._mark else lane)
            lane.owner = found._mark
        return found

"""The order of places, and who sees whom."""

import pytest
import torch

from decant.errors import BadInput
from decant.images.layout import Layout

LAYOUTS = [Layout.raster(3), Layout.scales((1, 2, 4)), Layout((1, 1), 2)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("sees", ["earlier", "block", "strict"])
def test_masks_are_those_of_a_loop(layout: Layout, sees: str) -> None:
    unit = [at for at, side in enumerate(layout.sides) for _ in range(side**2)]
    rules = {
        "earlier": lambda i, j: unit[j] < unit[i],
        "block": lambda i, j: unit[j] <= unit[i],
        "strict": lambda i, j: unit[j] < unit[i] or i == j,
    }
    want = [[rules[sees](i, j) for j in range(layout.places)] for i in range(layout.places)]
    assert layout.seen(sees).tolist() == want  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_spans_share_out_all_places(layout: Layout) -> None:
    at = torch.arange(layout.places)
    assert torch.cat([at[layout.span(unit)] for unit in range(layout.units)]).tolist() == at.tolist()
    assert layout.unit_of_L.bincount().tolist() == list(layout.sizes)


def test_raster_order_is_causal() -> None:
    layout = Layout.raster(2)
    assert layout.is_raster
    assert not Layout.scales((1, 2)).is_raster
    assert torch.equal(layout.seen("block"), layout.seen("strict"))
    assert torch.equal(layout.seen("block"), torch.ones(4, 4).tril().bool())


@pytest.mark.parametrize(("sides", "grid"), [((), 1), ((0, 2), 2), ((1, 2), 4), ((1, 1, 1), 2)])
def test_units_that_fill_no_grid_are_refused(sides: tuple[int, ...], grid: int) -> None:
    with pytest.raises(BadInput):
        Layout(sides, grid)

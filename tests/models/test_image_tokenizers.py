"""Tokenizers of images: what they spell, what a place reads of what came before, and their folders."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from decant.errors import BadInput
from decant.images.layout import Layout
from decant.models.images.folder import read_tokenizer, write_tokenizer
from decant.models.images.multiscale import MultiScaleQuantizer
from decant.models.images.vq import TokenizerSpec, VectorQuantizer
from tests.images.tiny import RASTER, SCALES

LAYOUTS = [RASTER, SCALES, Layout.scales((1, 2, 3, 4))]


def tokenizer(layout: Layout) -> Any:
    """Untrained, over images of twice the grid, whose codes are as large as the vectors that choose among them."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = VectorQuantizer if layout.is_raster else MultiScaleQuantizer
        net = made(TokenizerSpec(2 * layout.grid, layout.sides, layout.grid, codes=7, channels=3, width=4))
    net.requires_grad_(False)
    last: Any = net.encoder[-1]
    last.weight.mul_(20)
    return net.eval()


def images(layout: Layout, count: int = 6) -> Tensor:
    side = 2 * layout.grid
    return torch.rand(count, side, side, generator=torch.Generator().manual_seed(1))


def vectors(layout: Layout, count: int = 3) -> Tensor:
    return torch.randn(count, layout.places, 3, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_codes_rebuild_the_grid_that_spelled_them(layout: Layout) -> None:
    net, pictures_BYX = tokenizer(layout), images(layout)
    f_SBCGG, ids_BL, pool_XC = net.quantised(net.grid(pictures_BYX))
    assert torch.equal(ids_BL, net.encode(pictures_BYX))
    assert ids_BL.shape == (len(pictures_BYX), layout.places)
    assert len(ids_BL.unique()) > 3
    assert len(pool_XC) == ids_BL.numel()
    rebuilt_BYX = net.decode(net.codes_VC[ids_BL])
    assert torch.allclose(rebuilt_BYX, net.pixels(f_SBCGG[-1]), atol=1e-6)
    assert rebuilt_BYX.shape == pictures_BYX.shape
    assert rebuilt_BYX.min() >= 0
    assert rebuilt_BYX.max() <= 1


@pytest.mark.parametrize("layout", LAYOUTS[1:], ids=str)
def test_each_scale_spells_what_is_left_over(layout: Layout) -> None:
    """Against a loop that takes means with its own arithmetic; spelling the whole grid at every scale fails."""
    net = tokenizer(layout)
    z_BCGG = net.grid(images(layout))
    f_SBCGG, ids_BL, _ = net.quantised(z_BCGG)
    left_BCGG = z_BCGG
    for unit, side in enumerate(layout.sides):
        if layout.grid % side == 0:
            step = layout.grid // side
            small_BCSS = left_BCGG.unflatten(3, (side, step)).unflatten(2, (side, step)).mean((3, 5))
            distance_BSSV = (small_BCSS.movedim(1, -1)[..., None, :] - net.codes_VC).square().sum(-1)
            assert torch.equal(distance_BSSV.argmin(-1).flatten(1), ids_BL[:, layout.span(unit)])
        left_BCGG = z_BCGG - f_SBCGG[unit]


def test_a_place_reads_the_vector_before() -> None:
    x_BLC = vectors(RASTER)
    carried_BLC = tokenizer(RASTER).carried(x_BLC)
    assert torch.equal(carried_BLC[:, 1:], x_BLC[:, :-1])
    assert not carried_BLC[:, 0].any()


def test_a_place_reads_the_sum_of_the_scales_before_at_its_own_size() -> None:
    net, x_BLC = tokenizer(SCALES), vectors(SCALES)
    flat_BC22 = net.phis[0](x_BLC[:, 0, :, None, None].expand(-1, -1, 2, 2)) / 2 + x_BLC[:, 0, :, None, None] / 2
    wanted_BLC = torch.cat([torch.zeros_like(x_BLC[:, :1]), flat_BC22.flatten(2).transpose(1, 2)], dim=1)
    assert torch.allclose(net.carried(x_BLC), wanted_BLC, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_what_is_carried_comes_from_earlier_units_alone(layout: Layout) -> None:
    net, x_BLC = tokenizer(layout), vectors(layout)
    carried_BLC = net.carried(x_BLC)
    for unit in range(layout.units - 1):
        changed_BLC, span = x_BLC.clone(), layout.span(unit)
        changed_BLC[:, span] += 1
        moved_BL = (net.carried(changed_BLC) != carried_BLC).any(-1)
        assert not moved_BL[:, : span.stop].any()
        assert moved_BL[:, layout.span(unit + 1)].all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_gradients_reach_vectors_through_pixels_and_through_what_is_carried(layout: Layout) -> None:
    net, x_BLC = tokenizer(layout), vectors(layout).requires_grad_()
    (grad_BLC,) = torch.autograd.grad(net.decode(x_BLC).square().sum(), x_BLC)
    assert grad_BLC.abs().sum(-1).gt(0).all()
    (grad_BLC,) = torch.autograd.grad(net.carried(x_BLC).square().sum(), x_BLC)
    assert grad_BLC[:, : layout.span(layout.units - 1).start].abs().sum(-1).gt(0).all()
    assert not grad_BLC[:, layout.span(layout.units - 1)].any()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_codes_of_another_size_say_the_same(layout: Layout) -> None:
    net, pictures_BYX = tokenizer(layout), images(layout)
    ids_BL, codes_VC = net.encode(pictures_BYX), net.codes_VC.clone()
    rebuilt_BYX = net.decode(codes_VC[ids_BL])
    net.rescale(4.0)  # a power of two: nothing is rounded
    assert torch.equal(net.codes_VC * 4, codes_VC)
    assert torch.equal(net.encode(pictures_BYX), ids_BL)
    assert torch.allclose(net.decode(net.codes_VC[ids_BL]), rebuilt_BYX, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_folder_gives_the_same_tokenizer_back(layout: Layout, tmp_path: Path) -> None:
    net, pictures_BYX = tokenizer(layout), images(layout)
    write_tokenizer(net, tmp_path)
    back: Any = read_tokenizer(tmp_path)
    assert back.layout == layout
    assert torch.equal(back.grid(pictures_BYX), net.grid(pictures_BYX))
    assert torch.equal(back.codes_VC, net.codes_VC)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no tokenizer of images.*decant\.house\.digits writes one"):
        read_tokenizer(tmp_path)


def test_images_that_do_not_halve_to_the_grid_are_refused() -> None:
    with pytest.raises(BadInput, match="an image of 28 pixels a side does not halve to a grid of 8"):
        TokenizerSpec(28, (1,) * 64, 8)


def test_scales_are_enlarged_without_leaving_their_corners() -> None:
    """Bilinear with the outer pixels at the edge of the image, as averages are taken; else codes drift."""
    net = tokenizer(LAYOUTS[2])
    x_BKC = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(3))
    grid_BCGG = interpolate(x_BKC.transpose(1, 2).unflatten(2, (2, 2)), (4, 4), mode="bilinear", align_corners=False)
    assert torch.allclose(grid_BCGG[0, :, 0, 0], x_BKC[0, 0])
    whole_BLC = torch.zeros(1, LAYOUTS[2].places, 3)
    whole_BLC[:, 1:5] = x_BKC
    empty_BLC = torch.zeros_like(whole_BLC)
    phi = net.phis[1]
    wanted_BCGG = 0.5 * grid_BCGG + 0.5 * (phi(grid_BCGG) - phi(torch.zeros_like(grid_BCGG)))
    assert torch.allclose(net.sums(whole_BLC)[1] - net.sums(empty_BLC)[1], wanted_BCGG, atol=1e-6)

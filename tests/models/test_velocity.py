"""The networks of Distilled Decoding 2: what a place is told from, and their folders."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decant.distill.images.dd2 import DD2
from decant.distill.images.imitating import Run
from decant.distill.images.rule import teacher_of
from decant.distill.images.scoring import students
from decant.errors import BadInput
from decant.images.layout import Layout
from decant.models.images.body import BodySpec
from decant.models.images.body import untrained as untrained_body
from decant.models.images.folder import write_tokenizer
from decant.models.images.teacher import CodeTeacher
from decant.models.images.velocity import VelocityNet, VelocitySpec, inherit, read, save
from tests.images.tiny import RASTER, SCALES, model

LAYOUTS = [RASTER, SCALES]
LABELS = torch.tensor([0, 1, 1])


def taught(folder: Path, layout: Layout) -> tuple[VelocityNet, CodeTeacher]:
    """A network of which everything depends on everything that it may, and its teacher."""
    teacher = teacher_of(model(folder / "teacher", layout))
    net = students(DD2(width=16, depth=1), teacher, Run("toy", folder, {}, 4)).generator
    assert isinstance(net, VelocityNet)
    net.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in net.head.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return net, teacher


def noise(layout: Layout, seed: int = 0) -> Tensor:
    return torch.randn(3, layout.places, 2, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_features_are_told_from_earlier_units_alone(tmp_path: Path, layout: Layout) -> None:
    net, _ = taught(tmp_path, layout)
    vectors_BLC = noise(layout)
    f_BLD = net.features(LABELS, vectors_BLC)
    for unit in range(layout.units):
        changed_BLC, span = vectors_BLC.clone(), layout.span(unit)
        changed_BLC[:, span.start :] += 0.5
        moved_BL = (net.features(LABELS, changed_BLC) - f_BLD).abs().amax(-1)
        assert float(moved_BL[:, : span.stop].max()) < 1e-5
        assert unit == layout.units - 1 or float(moved_BL[:, layout.span(unit + 1)].min()) > 1e-4


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_drawn_vector_is_told_from_its_own_noise_and_earlier_units(tmp_path: Path, layout: Layout) -> None:
    """A change of one place's noise moves its own vector and later units, and none of its siblings."""
    net, _ = taught(tmp_path, layout)
    eps_BLC = noise(layout)
    drawn_BLC = net.draw(LABELS, eps_BLC)
    for place in range(layout.places):
        changed_BLC = eps_BLC.clone()
        changed_BLC[:, place] += 0.5
        moved_L = (net.draw(LABELS, changed_BLC) - drawn_BLC).abs().amax((0, 2)) > 1e-5
        later_L = layout.unit_of_L > layout.unit_of_L[place]
        later_L[place] = True
        assert torch.equal(moved_L, later_L)


def test_the_class_is_read(tmp_path: Path) -> None:
    net, _ = taught(tmp_path, RASTER)
    one, two = (net.draw(labels_B, noise(RASTER)) for labels_B in (LABELS, 1 - LABELS))
    assert float((one - two).abs().amax(-1).min()) > 1e-4


def test_many_noises_of_one_vector_share_the_features(tmp_path: Path) -> None:
    net, _ = taught(tmp_path, RASTER)
    x_MBLC = torch.stack([noise(RASTER, seed) for seed in range(4)])
    t_MBL1, f_BLD = torch.linspace(0, 1, 48).view(4, 3, 4, 1), net.features(LABELS, noise(RASTER))
    each = [net.velocity(x_BLC, t_BL1, f_BLD) for x_BLC, t_BL1 in zip(x_MBLC, t_MBL1, strict=True)]
    assert torch.allclose(net.velocity(x_MBLC, t_MBL1, f_BLD), torch.stack(each), atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_it_begins_with_the_teacher_s_body(tmp_path: Path, layout: Layout) -> None:
    """Its features are the teacher's."""
    net, teacher = taught(tmp_path, layout)
    vectors_BLC = noise(layout)
    wanted_BLD = teacher.network.body.features(LABELS, teacher.tokenizer.carried(vectors_BLC))
    assert torch.equal(net.features(LABELS, vectors_BLC), wanted_BLD)


def test_another_body_is_refused(tmp_path: Path) -> None:
    net, _ = taught(tmp_path, RASTER)
    other = untrained_body(BodySpec(2, 2, (1, 1, 1, 1), 2, hidden=24, layers=1, heads=2))
    with pytest.raises(BadInput, match="cannot begin as its teacher's"):
        inherit(net, other)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_folder_holds_all_of_it(tmp_path: Path, layout: Layout) -> None:
    """Weights are rounded to bfloat16 on the disk, codes are not."""
    net, teacher = taught(tmp_path, layout)
    save(net, tmp_path)
    write_tokenizer(teacher.tokenizer, tmp_path)
    found = read(tmp_path)
    assert found.spec == net.spec
    assert torch.equal(found.codes_VC, teacher.codes_VC)
    rounded = {name: value.bfloat16().float() for name, value in net.state_dict().items() if name != "codes_VC"}
    assert all(torch.equal(found.state_dict()[name], value) for name, value in rounded.items())
    assert torch.allclose(found.draw(LABELS, noise(layout)), net.draw(LABELS, noise(layout)), atol=0.1)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["DistilledDecoding2"]


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    net, teacher = taught(tmp_path, RASTER)
    with pytest.raises(BadInput, match=r"no config\.json"):
        read(tmp_path)
    save(net, tmp_path)
    write_tokenizer(teacher.tokenizer, tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"architectures": ["LlamaForCausalLM"]}, "DistilledDecoding2"),
        ({"velocity": {}}, "lacks or misspells 'body'"),
        ({"velocity": said["velocity"] | {"width": 24}}, "does not hold the weights"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(said | change))
        with pytest.raises(BadInput, match=message):
            read(tmp_path)


def test_no_head_is_refused() -> None:
    with pytest.raises(BadInput, match="width and a depth of 1"):
        VelocitySpec("toy", BodySpec(2, 2, (1, 1, 1, 1), 2), 5, depth=0)

"""Image models are made from pictures by one command, which goes on where it was killed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from decant.errors import BadInput
from decant.house.digits import PLANS, Plan, make, named, tokenize
from decant.house.pictures import Pictures, digits, mnist, shifted
from decant.images import marginals
from decant.models.images.folder import read_images
from decant.models.images.vq import TokenizerSpec

SHORT = {"warmup": 1, "save_every": 2, "quiet": True}


def plan(name: str) -> Plan:
    """A plan of the house with few steps and a narrow network."""
    whole = PLANS[name]
    spec = TokenizerSpec(8, whole.tokenizer.sides, 4, codes=8, channels=2, width=4)
    body = replace(whole.body, channels=2, hidden=16, layers=1, heads=2, intermediate=24)
    looks, reads = replace(whole.looks, steps=4, **SHORT), replace(whole.reads, steps=4, **SHORT)
    return replace(whole, tokenizer=spec, body=body, looks=looks, reads=reads, rows=8)


def pictures() -> Pictures:
    rng = torch.Generator().manual_seed(0)
    images_NYX = torch.rand(30, 8, 8, generator=rng)
    return Pictures(images_NYX[:20], torch.arange(20) % 10, images_NYX[20:], torch.arange(10))


@pytest.mark.parametrize("name", ["digits-ar", "digits-var"])
def test_a_folder_is_whole_and_the_command_goes_on(name: str, tmp_path: Path) -> None:
    measured = make(name, plan(name), pictures(), tmp_path / "one", tmp_path / "shop")
    model = read_images(str(tmp_path / "one" / name))
    assert model.heads == {"judge": "../digits-judge", "dd1": f"../{name}-dd1", "dd2": f"../{name}-dd2"}
    assert marginals.read(model.folder, model.tokenizer.codes_VC).probs_YLV.shape[0] == 10
    card = (model.folder / "README.md").read_text()
    assert f"# house:{name}" in card
    assert f"{measured.nats:.3f}" in card
    assert measured.held == 10
    again = make(name, plan(name), pictures(), tmp_path / "two", tmp_path / "shop")
    assert again == measured
    for file in ("model.safetensors", "image_tokenizer/model.safetensors", "marginals.safetensors", "config.json"):
        assert (tmp_path / "one" / name / file).read_bytes() == (tmp_path / "two" / name / file).read_bytes()


def test_two_builds_are_the_same_to_the_last_bit(tmp_path: Path) -> None:
    made = [tokenize(plan("digits-ar"), pictures(), tmp_path / part) for part in ("one", "two")]
    assert torch.equal(made[0].codes_VC, made[1].codes_VC)


def test_a_shipped_teacher_names_its_students_by_house() -> None:
    from decant.house import HOME

    assert named("digits-ar", HOME)["dd2"] == "house:digits-ar-dd2"


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -2), (1, -1)])
def test_what_comes_in_by_a_shift_is_empty(down: int, right: int) -> None:
    images_NYX = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0)) + 1
    moved_NYX = shifted(images_NYX, down, right)
    for row in range(5):
        for column in range(4):
            there = 0 <= row - down < 5 and 0 <= column - right < 4
            wanted = images_NYX[:, row - down, column - right] if there else torch.zeros(2)
            assert torch.equal(moved_NYX[:, row, column], wanted)


def test_every_fifth_of_the_small_digits_is_held_out() -> None:
    pytest.importorskip("sklearn", reason="the 8x8 digits come with scikit-learn")
    found = digits()
    assert (len(found.images_NYX), len(found.held_MYX)) == (1438, 359)
    assert float(found.images_NYX.max()) == 1.0
    assert len(found.held_labels_M.unique()) == 10


def test_mnist_is_padded_and_keeps_its_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {"train_x": rng.integers(0, 256, (3, 28, 28), dtype=np.uint8), "train_y": np.array([1, 2, 3], np.uint8)}
    parts |= {"test_x": rng.integers(0, 256, (2, 28, 28), dtype=np.uint8), "test_y": np.array([4, 5], np.uint8)}
    np.savez(tmp_path / "mnist.npz", **parts)
    found = mnist(tmp_path / "mnist.npz")
    assert found.images_NYX.shape == (3, 32, 32)
    assert found.held_labels_M.tolist() == [4, 5]
    assert torch.equal(found.held_MYX[:, 2:30, 2:30], torch.from_numpy(parts["test_x"]).float() / 255)
    assert not found.images_NYX[:, :2].any()


def test_a_file_that_is_no_mnist_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(BadInput, match=r"is no mnist\.npz with train_x, train_y, test_x and test_y"):
        mnist(tmp_path / "other.npz")
    (tmp_path / "broken.npz").write_text(json.dumps({}))
    with pytest.raises(BadInput, match=r"is no mnist\.npz"):
        mnist(tmp_path / "broken.npz")

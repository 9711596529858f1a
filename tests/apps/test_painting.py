"""Labels become images under every method, and what cannot be is refused in a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decant.apps.painting import Palette, painter, spoken
from decant.distill.images.rule import teacher_of
from decant.errors import BadInput, IncompatibleParts
from decant.images import marginals
from decant.images.flow import nearest
from decant.models.images import folder as folders
from decant.models.images import jump as jumps
from decant.models.images.folder import Drawing, ImageModel, read_images
from decant.noise import Noise, sample_seed
from tests.images import tiny


@pytest.fixture(scope="module")
def model(pictures_folder: Path) -> ImageModel:
    return read_images(str(pictures_folder))


def test_plain_decoding_draws_what_the_teacher_draws(model: ImageModel) -> None:
    """The speaking model under guidance, cuts and suppressed ids, against the teacher's laws with the same seeds."""
    labels = [0, 1, 2] * 8
    painted = painter("plain", model).paint(labels, seed=5, batch=7)
    noise = Noise.of([sample_seed(5, at) for at in range(len(labels))])
    expected = marginals.drawn(teacher_of(model), torch.tensor(labels), noise)
    assert (painted.ids_NL == expected).all()
    assert painted.forwards == 16
    assert painted.images_NYX.shape == (24, 4, 4)
    assert torch.allclose(painted.images_NYX, model.tokenizer.decode(model.tokenizer.codes_VC[expected]), atol=1e-6)


def test_settings_reach_the_teacher_on_both_ways(model: ImageModel) -> None:
    """The same settings, once as a language model's, once as a teacher's law; other settings draw otherwise."""
    labels = [0, 1, 2] * 4
    loud = Palette(temperature=2.0, top_p=0.9, guidance=3.0)
    plain = painter("plain", model, loud).paint(labels, seed=1)
    drawing = loud.over(model.drawing)
    assert drawing == Drawing(guidance=3.0, temperature=2.0, top_k=5, top_p=0.9)
    noise = Noise.of([sample_seed(1, at) for at in range(len(labels))])
    assert (plain.ids_NL == marginals.drawn(teacher_of(model, drawing), torch.tensor(labels), noise)).all()
    assert (plain.ids_NL != painter("plain", model).paint(labels, seed=1).ids_NL).any()


@pytest.mark.parametrize("method", ["plain", "sjd", "one-step-baseline", "truncated-teacher:units=2"])
def test_an_image_does_not_depend_on_its_neighbours(model: ImageModel, method: str) -> None:
    made = painter(method, model)
    labels = [2, 0, 1, 1, 0]
    together, alone = made.paint(labels, seed=3), made.paint(labels, seed=3, batch=1)
    assert (together.ids_NL == alone.ids_NL).all()
    assert (together.ids_NL != made.paint(labels, seed=4).ids_NL).any()


def test_the_truncated_teacher_begins_as_the_teacher_and_counts_its_passes(model: ImageModel) -> None:
    labels = [0, 1, 2] * 10
    names = ("plain", "truncated-teacher:units=2", "one-step-baseline")
    plain, cut, marginal = (painter(name, model).paint(labels, seed=2) for name in names)
    assert (cut.ids_NL[:, :2] == plain.ids_NL[:, :2]).all()
    assert (cut.ids_NL[:, 2:] == marginal.ids_NL[:, 2:]).all()
    assert (cut.ids_NL[:, 2:] != plain.ids_NL[:, 2:]).any()
    assert (cut.forwards, marginal.forwards) == (3, 1)


def test_a_model_that_is_loaded_is_not_loaded_again(model: ImageModel) -> None:
    target = spoken(model)
    assert painter("plain", model, target=target).method.decoder.target.sides.model.network is target.model.network


@pytest.mark.parametrize(
    ("method", "palette", "said"),
    [
        ("one-step-baseline", Palette(temperature=0.5), "whatever --temperature says; leave it out"),
        ("truncated-teacher:units=0", Palette(top_k=2), "whatever --top-k says"),
        ("truncated-teacher:units=16", Palette(), "stops after 0 to 15 units of this teacher's 16, got 16"),
        ("dd1-1", Palette(), "dd1-1 needs a student and .* names none; teach one with decant distill dd1"),
        ("dd2-1", Palette(), "dd2-1 needs a student and .* names none; teach one with decant distill dd2"),
        ("one-step-baseline:units=2", Palette(), "one-step-baseline has no knobs"),
    ],
)
def test_what_cannot_be_is_refused(model: ImageModel, method: str, palette: Palette, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        painter(method, model, palette)


def test_a_method_of_other_models_is_refused(model: ImageModel) -> None:
    with pytest.raises(IncompatibleParts, match="low-confidence is for models that fill in masks"):
        painter("low-confidence", model)
    with pytest.raises(BadInput, match="top_p lies in"):
        Palette(top_p=3)


def test_a_teacher_without_its_table_names_the_remedy(model: ImageModel, tmp_path: Path) -> None:
    folders.write_images(replace(model, folder=tmp_path))
    with pytest.raises(BadInput, match=r"python -m decant\.house\.digits"):
        painter("one-step-baseline", read_images(str(tmp_path)))


def test_a_model_that_draws_whole_scales_is_decoded_scale_by_scale(tmp_path: Path) -> None:
    made = tiny.model(tmp_path, tiny.SCALES, guidance=2.0)
    painted = painter("plain", made).paint([0, 1, 1], seed=2, batch=2)
    noise = Noise.of([sample_seed(2, at) for at in range(3)])
    assert (painted.ids_NL == marginals.drawn(teacher_of(made), torch.tensor([0, 1, 1]), noise)).all()
    assert painted.forwards == 2
    with pytest.raises(IncompatibleParts, match=r"sjd is for models that speak code by code, and .* draws whole"):
        painter("sjd", made)


def test_a_student_is_read_from_its_folder_and_says_vectors(tmp_path: Path) -> None:
    made = tiny.model(tmp_path / "teacher")
    jumps.save(tiny.student(tiny.RASTER, split=1, codes_VC=made.tokenizer.codes_VC), tmp_path / "student")
    painters = {name: painter(name, made, student=str(tmp_path / "student")) for name in ("dd1-1", "dd1-2")}
    once, twice = (one.paint([0, 1, 0], seed=4) for one in painters.values())
    assert (once.forwards, twice.forwards) == (1, 2)
    assert (nearest(once.vectors_NLC, made.tokenizer.codes_VC)[:, 1:] == once.ids_NL[:, 1:]).all()
    assert (once.vectors_NLC != made.tokenizer.codes_VC[once.ids_NL]).any()
    assert (once.images_NYX == made.tokenizer.decode(once.vectors_NLC)).all()
    jumps.save(tiny.student(tiny.RASTER), tmp_path / "stranger")
    with pytest.raises(IncompatibleParts, match="was taught on other codes than those of"):
        painter("dd1-1", made, student=str(tmp_path / "stranger"))
    with pytest.raises(BadInput, match=r"plain asks no student; leave .* \(--draft\) out, or take dd1-1 or dd2-1"):
        painter("plain", made, student=str(tmp_path / "student"))
    with pytest.raises(BadInput, match="whatever --guidance says"):
        painter("dd1-1", made, Palette(guidance=3.0), student=str(tmp_path / "student"))

"""What a model of images needs of commands made for texts: its classes as prompts, its guidance, its length."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decant.apps.compose import compose
from decant.apps.guidance import Guidance, usual
from decant.apps.opening import Opening
from decant.apps.prompts import default_source, encode, read
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, Trial, prepare
from decant.drafters.speculative_jacobi import SpeculativeJacobi
from decant.errors import BadInput, IncompatibleParts
from decant.images import marginals
from decant.models.check import chain_probe, pass_seconds
from decant.models.images.folder import read_images
from decant.samplers.temperature import temperature
from decant.types import Draft


@pytest.fixture(scope="module")
def trial(pictures_folder: Path) -> Trial:
    name = str(pictures_folder)
    asked = Question(["sjd"], default_source(name), max_tokens=128)
    return prepare(name, asked, read(default_source(name)), Sampling(temperature=1.0), Opening(exact="off"))


def drafter_of(trial: Trial, spec: str, **parts: str) -> SpeculativeJacobi:
    method = compose(spec, trial.target, None, temperature(1.0), **parts)
    drafter = method.decoder.drafter
    assert isinstance(drafter, SpeculativeJacobi)
    return drafter


def test_its_prompts_are_its_classes(pictures_folder: Path, trial: Trial) -> None:
    images = read_images(str(pictures_folder))
    codes = len(images.tokenizer.codes_VC)
    found = encode(read(default_source(str(pictures_folder))), trial.target)
    assert found == [[codes + label] for label in range(len(images.classes))]
    assert trial.workload.prompts == found


def test_it_is_as_long_as_an_image(pictures_folder: Path, trial: Trial) -> None:
    assert trial.workload.max_tokens == read_images(str(pictures_folder)).tokenizer.layout.places


def test_the_probes_of_exact_mode_reach_behind_a_short_context(trial: Trial) -> None:
    model = trial.target.model
    assert model.context < 64
    assert chain_probe(model)(64, 16).shape == (64, model.vocab)
    assert pass_seconds({"many": (model, 64)})["many"] > 0


def test_it_is_guided_as_it_says_away_from_what_is_said_without_a_class(tmp_path: Path, trial: Trial) -> None:
    (tmp_path / "decant.json").write_text(json.dumps({"images": {"kind": "raster", "guidance": 2.5}}))
    assert usual(Guidance(), str(tmp_path)) == Guidance(2.5)
    assert usual(Guidance(1.0), str(tmp_path)) == Guidance(1.0), "what was asked for wins"
    assert usual(Guidance(), "house:target") == Guidance()
    guide = Guidance(2.0).opened(Opening())
    assert guide is not None
    none = trial.target.model.vocab - 1
    model = guide.lead(trial.target).model
    prompts_BT = torch.tensor([[none - 1], [none]])
    bare = trial.target.model.start(prompts_BT)[0]
    logp_BV = trial.target.model.score(bare, Draft.nothing(2)).logits_BMV[:, 0].log_softmax(-1)
    led = model.score(model.start(prompts_BT[:1])[0], Draft.nothing(1)).logits_BMV[0, 0].log_softmax(-1)
    torch.testing.assert_close(led, (2 * logp_BV[0] - logp_BV[1]).log_softmax(-1))


def test_speculative_jacobi_knows_its_codes_and_what_was_counted(pictures_folder: Path, trial: Trial) -> None:
    images = read_images(str(pictures_folder))
    raster = drafter_of(trial, "sjd").raster
    assert raster is not None
    assert (raster.codes, raster.columns) == (len(images.tokenizer.codes_VC), images.tokenizer.layout.grid)
    counted = (pictures_folder / marginals.FILE).is_file()
    assert (raster.probs_YLV is not None) == counted
    assert drafter_of(trial, "sjd:entering=vertical:draws=gumbel").draws == "gumbel"


def test_a_text_has_no_raster(trial: Trial) -> None:
    text = replace(trial, target=replace(trial.target, name="a model in memory"))
    assert drafter_of(text, "sjd").raster is None
    with pytest.raises(BadInput, match="take entering=repeat"):
        drafter_of(text, "sjd:entering=vertical")


def test_who_verifies_decides_how_it_draws(trial: Trial) -> None:
    assert drafter_of(trial, "sjd", verifier="coupled").coupled
    with pytest.raises(IncompatibleParts, match="take draws=fresh"):
        drafter_of(trial, "sjd", verifier="block")
    assert drafter_of(trial, "sjd:draws=fresh", verifier="block").hindsight

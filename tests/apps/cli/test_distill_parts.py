"""`decant distill RECIPE --distance NAME`, `--weighting`, `--curriculum`, `--rollouts`: one part of it is another."""

import json

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from tests.apps.cli.students import asked, decant, said, weights

__all__ = ["asked", "decant"]  # fixtures

PARTS = ["--distance", "acceptance:form=alpha", "--weighting", "uncertainty:whose=student", "--curriculum", "linear"]


def test_parts_are_written_down_and_repeated(decant, tmp_path) -> None:
    done = decant("hinton", *PARTS, "--rollouts", "mixture:lmbda=0.1:last=0.9")
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert kept["asked"]["distance"] == "acceptance:form=alpha"
    assert kept["asked"]["rollouts"] == "mixture:lmbda=0.1:last=0.9"
    assert "--weighting uncertainty:whose=student --curriculum linear --rollouts mixture" in kept["command"]
    again = ["distill", "--recipe", str(tmp_path / "out" / "recipe.json"), "--out", str(tmp_path / "again")]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert weights(tmp_path / "again") == weights(tmp_path / "out")
    assert "leave --distance out" in said(CliRunner().invoke(app, [*again, "--distance", "rank"]))
    assert decant("hinton", out=tmp_path / "plain").exit_code == 0
    assert weights(tmp_path / "plain") != weights(tmp_path / "out"), "nothing was swapped"
    assert "distance" not in json.loads((tmp_path / "plain" / "recipe.json").read_text())["asked"]
    other = said(decant("hinton", *PARTS, "--distance", "rank", "--rollouts", "mixture:lmbda=0.1:last=0.9"))
    assert "holds a run with distance 'acceptance:form=alpha', not 'rank'" in other


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hinton", "--distance", "adaptve_kl"], "no distance is called 'adaptve_kl'; did you mean adaptive_kl"),
        (["hinton", "--curriculum", "tiad"], "no curriculum is called 'tiad'"),
        (["hinton", "--distance", "rank:q=3"], "rank has no knob 'q'"),
        (["hinton", "--distance", "rank:k=1"], "ranking needs at least 2 ids, k is 1"),
        (["sft", "--distance", "rank"], "this recipe asks a teacher nothing about its texts"),
        (["plain_kd", "--distance", "rank"], "--distance is not for plain_kd: its loop is flat; hinton:alpha=1 is"),
        (["hinton", "--distance", "uld"], "ULD compares texts that two tokenizers cut differently"),
        (
            ["hinton", "--distance", "rank", "--cache", "laws"],
            "Pointwise needs dense of a teacher, and Cache gives law",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_part_without_a_place_is_refused(words, sentence, decant) -> None:
    assert sentence in said(decant(*words))


def test_a_recipe_of_no_whole_student_has_no_parts_to_swap(decant) -> None:
    refused = said(decant("eagle", "--weighting", "uncertainty", student=None))
    assert "--weighting is not for eagle: it teaches no whole student" in refused


@pytest.mark.parametrize("distance", ["uld", "gold"])
def test_a_teacher_with_another_tokenizer_may_be_heard_by_other_distances(distance, decant, stranger_folder) -> None:
    done = decant("alm_transfer", "--distance", distance, teacher=stranger_folder)
    assert done.exit_code == 0, done.output

"""An expert against an amateur: the laws of models, both forms' invariants, and the formula by brute force."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from decant.apps.guidance import contrasted as contrasted_target
from decant.errors import BadInput, IncompatibleParts
from decant.models.contrasted import contrast, contrasted
from decant.models.loaded import Loaded
from decant.models.other_prompts import InFront, Instead
from decant.models.sides import Apart, Together
from decant.testing.laws import check_model
from decant.testing.markov import MarkovLM
from decant.types import Draft
from tests.models.pairs import SMALL, TEXT, TOY, Begun, Lawful, blends_ignore_constants, check_speculation, house, row

HEAD = torch.tensor([[True, True, True, False]])
ROW_XV = torch.tensor([[0.5, 0.3, 0.16, 0.04]]).log()


@pytest.fixture(scope="module")
def expert() -> Loaded:
    return house("target")


@pytest.fixture(scope="module")
def amateur() -> Loaded:
    return house("draft")


@pytest.mark.parametrize("beta", [None, 0.5], ids=["ratio", "sharpened"])
@pytest.mark.parametrize("other", [None, InFront((3, 1)), Instead((3, 1, 4, 1, 5))], ids=repr)
def test_the_law_of_models(beta: float | None, other: Any) -> None:
    check_model(Lawful(contrasted(TOY, SMALL, 0.02, beta, prompt=other and Begun(other))))


def test_a_model_that_takes_no_trees_makes_a_pair_that_takes_none() -> None:
    model = contrasted(TOY, replace(SMALL, trees=False))
    assert not model.trees
    check_model(Lawful(model))


def test_the_law_of_models_without_an_amateur() -> None:
    """What is tapped of prompts included, with nothing in between: every weight is the expert's."""
    check_model(contrasted(MarkovLM(TOY.logits_UVV.log_softmax(-1)), SMALL, alpha=0.0, beta=0.0))


@torch.inference_mode()
def test_shipped_models_by_brute_force(expert: Loaded, amateur: Loaded) -> None:
    prompt, draft = expert.encode(TEXT), Draft(torch.tensor([[7, 8, 9]]), torch.tensor([[-1, 0, -1]]))
    paths = [[], [7], [7, 8], [9]]
    for beta, weights in ((None, (1.0, -1.0)), (0.5, (1.5, -0.5))):
        model: Any = contrasted_target(expert, amateur, beta=beta).model
        assert isinstance(model.sides, Apart)
        said_MV = model.score(model.start(torch.tensor([prompt]))[0], draft).logits_BMV[0]
        for have_V, path in zip(said_MV, paths, strict=True):
            one_V, two_V = (row(one.model, [*prompt, *path]).log_softmax(-1) for one in (expert, amateur))
            want_V = weights[0] * one_V + weights[1] * two_V
            sure_V = one_V.exp() >= 0.1 * one_V.exp().max()
            assert torch.equal(have_V.isfinite(), sure_V)
            torch.testing.assert_close(have_V[sure_V], want_V[sure_V], rtol=0, atol=2e-3)


def test_an_amateur_that_is_the_expert() -> None:
    """Nothing to contrast: uniform over the head set in the older form, the expert's own law in the newer."""
    ratio_XV = contrast(0.1, None)(ROW_XV, ROW_XV)
    assert torch.equal(ratio_XV.isfinite(), HEAD)
    torch.testing.assert_close(ratio_XV.softmax(-1)[HEAD], torch.full((3,), 1 / 3))
    for beta in (0.0, 0.5, 3.0):
        law_XV = contrast(0.1, beta)(ROW_XV, ROW_XV).softmax(-1)
        torch.testing.assert_close(law_XV, (ROW_XV.softmax(-1) * HEAD) / ROW_XV.softmax(-1)[HEAD].sum())


def test_the_amateurs_temperature_flattens_it() -> None:
    other_XV = torch.tensor([[0.7, 0.1, 0.1, 0.1]]).log()
    have_XV = contrast(0.0, None, temperature=2.0)(ROW_XV, other_XV)
    torch.testing.assert_close(have_XV, ROW_XV - (other_XV / 2).log_softmax(-1))


@pytest.mark.parametrize("beta", [None, 0.5])
def test_constants_do_not_matter(beta: float | None) -> None:
    blends_ignore_constants(contrast(0.01, beta))


def test_what_the_amateur_cannot_say_is_no_windfall() -> None:
    """An amateur of fewer logits counts as if it gave them its least."""
    other_XV = torch.tensor([[0.0, 0.0, -torch.inf, -2.0]])
    have_XV, want_XV = (contrast(0.0, 1.0)(ROW_XV, rows_XV) for rows_XV in (other_XV, other_XV.clamp_min(-2.0)))
    torch.testing.assert_close(have_XV.softmax(-1), want_XV.softmax(-1))


def test_speculation_says_what_plain_decoding_says() -> None:
    check_speculation(contrasted(MarkovLM(2 * TOY.logits_UVV), SMALL, 0.02, prompt=Instead((3, 1))))


def test_one_model_with_two_prompts(amateur: Loaded) -> None:
    model: Any = contrasted_target(amateur, negative="Once upon a time", alpha=1e-5).model
    assert isinstance(model.sides, Together)
    negative = amateur.encode("Once upon a time")
    prompt = amateur.encode(TEXT)
    want_V = contrast(1e-5)(row(amateur.model, prompt), row(amateur.model, negative))
    torch.testing.assert_close(row(model, prompt).softmax(-1), want_V.softmax(-1), rtol=0, atol=1e-4)
    assert model.context == amateur.model.context - len(negative) + 1


def test_both_caches_count(expert: Loaded, amateur: Loaded) -> None:
    model: Any = contrasted_target(expert, amateur).model
    assert model.cache_bytes([50, 9]) == expert.model.cache_bytes([50, 9]) + amateur.model.cache_bytes([50, 9])
    assert model.context == 2048
    assert model.rows is None
    assert model.network is expert.model.network


def test_what_cannot_be_is_said(expert: Loaded, amateur: Loaded) -> None:
    with pytest.raises(BadInput, match=r"alpha must lie in \[0, 1\], got -0.1"):
        contrast(-0.1)
    with pytest.raises(BadInput, match="beta must be 0 or more and finite, got -1"):
        contrast(0.1, -1)
    with pytest.raises(BadInput, match="temperature must be above 0 and finite, got 0"):
        contrast(0.1, temperature=0)
    with pytest.raises(IncompatibleParts, match="one has 9 logits and the other 4"):
        contrasted(TOY, MarkovLM.random(4, 0))
    other = replace(amateur, tokenizer=None)
    with pytest.raises(BadInput, match="has no tokenizer files"):
        contrasted_target(expert, other)

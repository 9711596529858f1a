"""Teachers of images: unit after unit and all at once they say the same, and nothing that comes later matters."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decant.apps.inherited import suppressed
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import generate
from decant.decoders.next_scale import NextScale
from decant.decoders.stopping import Stopping
from decant.distill.images.rule import rule_of, teacher_of
from decant.errors import BadInput, IncompatibleParts
from decant.images.layout import Layout
from decant.models.guided import guided
from decant.models.images.body import BodySpec, untrained
from decant.models.images.folder import Drawing, is_images, read_images, write_tokenizer
from decant.models.images.teacher import CodeTeacher
from decant.models.load import load
from decant.models.other_prompts import Instead
from decant.noise import Noise
from decant.types import Draft, Verdict, join_rows, select_rows
from tests.images.tiny import RASTER, SCALES, model

LAYOUTS = [RASTER, SCALES]
LABELS = torch.tensor([0, 1, 2, 0])  # the last but one asks for no class


def teacher(folder: Path, layout: Layout, **drawing: float) -> CodeTeacher:
    return teacher_of(model(folder, layout, **({"guidance": 1.7, "temperature": 0.8} | drawing)))


def spelled(layout: Layout, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(5, (len(LABELS), layout.places), generator=rng)


@pytest.mark.parametrize("drawing", [{}, {"guidance": 1.0}, {"top_k": 2}], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_unit_after_unit_says_what_all_at_once_says(tmp_path: Path, layout: Layout, drawing: dict[str, float]) -> None:
    asked, ids_BL = teacher(tmp_path, layout, **drawing), spelled(layout)
    laws_BLV = asked.laws(LABELS, asked.codes_VC[ids_BL])
    assert torch.allclose(laws_BLV.exp().sum(-1), torch.ones(ids_BL.shape), atol=1e-5)
    state = asked.start(LABELS)
    for unit in range(layout.units):
        span = layout.span(unit)
        assert torch.allclose(asked.law(state).exp(), laws_BLV[:, span].exp(), atol=1e-5)
        state = asked.follow(state, ids_BL[:, span])
    assert torch.equal(state.settled_BLC, asked.codes_VC[ids_BL])


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_laws_do_not_change_when_later_vectors_do(tmp_path: Path, layout: Layout) -> None:
    asked = teacher(tmp_path, layout)
    vectors_BLC = asked.codes_VC[spelled(layout)]
    laws_BLV = asked.laws(LABELS, vectors_BLC)
    for unit in range(layout.units - 1):
        changed_BLC, span = vectors_BLC.clone(), layout.span(unit)
        changed_BLC[:, span] += 0.5
        moved_BL = (asked.laws(LABELS, changed_BLC) - laws_BLV).abs().amax(-1)
        assert float(moved_BL[:, : span.stop].max()) < 1e-5
        assert float(moved_BL[:, layout.span(unit + 1)].min()) > 1e-4  # vectors need not be codes to be read


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_class_is_read_and_guidance_leads_away_from_none(tmp_path: Path, layout: Layout) -> None:
    asked = teacher(tmp_path, layout, guidance=3.0, temperature=1.0)
    bare = replace(asked, rule=rule_of(model(tmp_path, layout)), guided=False)
    vectors_BLC = asked.codes_VC[spelled(layout)]
    own_BLV, none_BLV = bare.laws(LABELS, vectors_BLC), bare.laws(torch.full_like(LABELS, 2), vectors_BLC)
    assert float((own_BLV - none_BLV)[LABELS != 2].abs().amax(-1).min()) > 1e-3
    share_L1 = torch.ones(layout.places, 1)
    if not layout.is_raster:
        share_L1 = layout.unit_of_L[:, None] / (layout.units - 1)
    wanted_BLV = (own_BLV + 2 * share_L1 * (own_BLV - none_BLV)).log_softmax(-1)
    assert torch.allclose(asked.laws(LABELS, vectors_BLC), wanted_BLV, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_an_old_state_stays_a_point_of_return(tmp_path: Path, layout: Layout) -> None:
    asked, one_BL, two_BL = teacher(tmp_path, layout), spelled(layout), spelled(layout, seed=1)
    span = layout.span(0)
    state = asked.start(LABELS)
    first = asked.law(asked.follow(state, one_BL[:, span]))
    asked.law(asked.follow(state, two_BL[:, span]))
    assert torch.equal(asked.law(asked.follow(state, one_BL[:, span])), first)
    rows_R = torch.tensor([2, 0])
    some = asked.follow(select_rows(state, rows_R), one_BL[rows_R, span])
    assert torch.allclose(asked.law(some), first[rows_R], atol=1e-5)
    both = asked.follow(join_rows(select_rows(state, rows_R), state), torch.cat([one_BL[rows_R], one_BL])[:, span])
    assert torch.allclose(asked.law(both), torch.cat([first[rows_R], first]), atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_folder_says_what_was_written(tmp_path: Path, layout: Layout) -> None:
    written = model(tmp_path, layout, guidance=1.5, top_k=3)
    back = read_images(str(tmp_path))
    assert (back.kind, back.classes, back.drawing) == (written.kind, ("0", "1"), Drawing(1.5, top_k=3))
    assert back.label("1") == 1
    vectors_BLC = written.tokenizer.codes_VC[spelled(layout)]
    near_BLV = teacher_of(written).laws(LABELS, vectors_BLC)
    assert torch.allclose(teacher_of(back).laws(LABELS, vectors_BLC).exp(), near_BLV.exp(), atol=0.03)  # bfloat16
    with pytest.raises(BadInput, match="knows no class '7'; it knows 0, 1"):
        back.label("7")


def test_the_laws_of_a_raster_folder_are_those_of_a_language_model(tmp_path: Path) -> None:
    """Code by code through the engine that decodes text, under its own guidance and suppression."""
    images = read_images(str(model(tmp_path, RASTER, guidance=2.0, temperature=0.9, top_k=3).folder))
    codes, ids_BL = len(images.tokenizer.codes_VC), spelled(RASTER)
    laws_BLV = teacher_of(images).laws(LABELS, images.tokenizer.codes_VC[ids_BL])
    loaded = load(str(tmp_path), dtype="float32", exact="off")
    target = guided(loaded.model, 2.0, Instead((codes + 2,)))
    (ban,) = suppressed(loaded.defaults, target.vocab)
    warp = rule_of(images).warp
    prompt_B1 = (LABELS + codes)[:, None]
    context, kept = target.start(prompt_B1)[0], ban.part.start(prompt_B1)
    for place in range(RASTER.places):
        draft = Draft.nothing(len(LABELS))
        scores = target.score(context, draft)
        logp_BV = warp(ban.part.adjust(kept, draft, scores.logits_BMV))[:, 0].log_softmax(-1)
        assert float(logp_BV[:, codes:].max()) == -torch.inf
        assert torch.allclose(logp_BV[:, :codes].exp(), laws_BLV[:, place].exp(), atol=1e-5)
        verdict = Verdict(ids_BL[:, place, None], torch.full((len(LABELS), 1), -1))
        context, kept = target.commit(context, verdict), ban.part.observe(kept, verdict, scores)


def test_a_raster_folder_draws_the_codes_that_text_decoding_draws(tmp_path: Path) -> None:
    images = read_images(str(model(tmp_path, RASTER).folder))
    loaded = load(str(tmp_path), dtype="float32", exact="off")
    prompt_B1, seeds = torch.tensor([[5], [6], [7]] * 8), list(range(24))
    stopping = [Stopping(RASTER.places)] * len(seeds)
    (ban,) = suppressed(loaded.defaults, loaded.model.vocab)
    said = [
        [output.tokens for output in generate(decoder, prompt_B1, Noise.of(seeds), stopping).outputs]
        for decoder in (
            NextScale(teacher_of(images)),
            Autoregressive(loaded.model, rule_of(images).warp, ban.part),
        )
    ]
    assert said[0] == said[1]


def test_words_are_codes_classes_and_none(tmp_path: Path) -> None:
    model(tmp_path, RASTER)
    words = load(str(tmp_path), exact="off").tokenizer
    assert words is not None
    assert [words(text).input_ids for text in ("c0", "0", "1", "none", "seven")] == [[0], [5], [6], [7], [7]]
    assert words.decode([0, 4]) == "c0 c4"


def test_a_table_that_is_no_image_of_the_codes_is_refused(tmp_path: Path) -> None:
    images = model(tmp_path, RASTER)
    images.tokenizer.codebook.data = images.tokenizer.codebook.data.flip(0)  # pyright: ignore[reportAttributeAccessIssue]
    write_tokenizer(images.tokenizer, tmp_path)
    with pytest.raises(BadInput, match="is no linear image of its code vectors"):
        read_images(str(tmp_path))


def test_weights_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    model(tmp_path / "own", SCALES)
    other = model(tmp_path / "other", RASTER)
    write_tokenizer(other.tokenizer, tmp_path / "own")
    with pytest.raises(BadInput, match="was made for another tokenizer of images"):
        read_images(str(tmp_path / "own"))


def test_a_model_of_texts_is_refused() -> None:
    assert not is_images("house:target")
    with pytest.raises(IncompatibleParts, match="house:target is no image model"):
        read_images("house:target")


def test_a_body_needs_heads_of_an_even_width() -> None:
    with pytest.raises(BadInput, match="a width of 10 does not divide into 2 heads of an even width"):
        BodySpec(2, 2, (1,) * 4, 2, hidden=10, heads=2)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_aligned_rows_see_themselves_and_no_neighbour_of_their_scale(layout: Layout) -> None:
    body = untrained(BodySpec(2, 2, layout.sides, layout.grid, 16, 2, 2, 24, flagged=True)).eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(0)
    x_BLC, flags_BL = torch.randn(2, layout.places, 2, generator=rng), torch.ones(2, layout.places, dtype=torch.int64)
    f_BLD = body.aligned(LABELS[:2], x_BLC, flags_BL)
    seen_LL = layout.seen("strict")
    for place in range(layout.places):
        changed_BLC = x_BLC.clone()
        changed_BLC[:, place] += 1
        moved_L = (body.aligned(LABELS[:2], changed_BLC, flags_BL) - f_BLD).abs().amax((0, 2)) > 1e-4
        assert torch.equal(moved_L, seen_LL[:, place])
    body.flags.weight[0] += 1  # noise
    assert torch.equal(body.aligned(LABELS[:2], x_BLC, flags_BL), f_BLD)
    assert not torch.allclose(body.aligned(LABELS[:2], x_BLC, 1 - flags_BL), f_BLD, atol=1e-3)

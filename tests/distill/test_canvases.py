"""Texts laid out as they are decoded: end tokens fill up blocks, what is given is never learnt."""

import pytest

from decant.distill.diffusion.canvases import LONGEST, TAIL, Canvases
from decant.distill.rollouts.dataset import Dataset
from decant.distill.texts import Text
from decant.errors import BadInput
from decant.types import PAD

END = 9
ANSWERS = [Text.answer([1, 2, 3, *([4] * count), END], 3, number) for number, count in enumerate((1, 6, 7, 11))]


def rows(canvases: Canvases, steps: int = 12) -> list[tuple[list[int], list[float]]]:
    found = []
    for step in range(steps):
        ids_BT, weights_BT = canvases.batch(step)
        assert ids_BT.shape == weights_BT.shape
        assert not weights_BT[ids_BT == PAD].any()
        for ids, weights in zip(ids_BT.tolist(), weights_BT.tolist(), strict=True):
            real = sum(token != PAD for token in ids)
            assert PAD not in ids[:real], "padding stands behind"
            found.append((ids[:real], weights[:real]))
    return found


def test_answers_are_filled_up_to_whole_blocks() -> None:
    lengths = set()
    for ids, weights in rows(Canvases(Dataset(ANSWERS, rows=2), END, block=4)):
        (text,) = [
            text for text in ANSWERS if ids[: len(text.ids)] == text.ids and ids[3:].count(4) == text.ids.count(4)
        ]
        places = len(ids) - 3
        assert places % 4 == 0
        assert places <= LONGEST
        assert ids[len(text.ids) :] == [END] * (len(ids) - len(text.ids))
        assert weights == pytest.approx([0.0] * 3 + [1.0] * (len(text.ids) - 3) + [TAIL] * (len(ids) - len(text.ids)))
        lengths.add((len(text.ids), places))
    assert {places for _, places in lengths} > {4, 8, 12}, "some canvases are longer than they need be"


def test_a_step_is_a_pure_function_of_its_number() -> None:
    made = [Canvases(Dataset(ANSWERS, rows=3, seed=seed), END, block=4) for seed in (0, 0, 1)]
    batches = [[canvases.batch(step)[0].tolist() for step in range(6)] for canvases in made]
    assert batches[0] == batches[1] != batches[2]
    assert made[0].batch(4)[0].tolist() == batches[0][4]


def test_what_is_cut_or_has_no_end_gets_no_tail() -> None:
    for canvases in (Canvases(Dataset(ANSWERS, length=8), END, 4), Canvases(Dataset(ANSWERS), None, 4)):
        for ids, weights in rows(canvases, 4):
            assert len(ids) <= (8 if canvases.end else 99)
            if canvases.end is None or (len(ids) == 8 and ids[-1] != END):
                assert TAIL not in [round(weight, 6) for weight in weights]
    short = rows(Canvases(Dataset(ANSWERS[:1], rows=1, length=6), END, 4), 3)
    assert all(len(ids) == 6 for ids, _ in short), "a tail ends where the text may not be longer"


def test_turns_of_others_stay_given_and_the_last_answer_counts_for_the_blocks() -> None:
    talk = Text([1, 2, 3, END, 5, 6, 7, END], [0.0, 1, 1, 1, 0, 0, 1, 1], prompt=1)
    for ids, weights in rows(Canvases(Dataset([talk], rows=1), END, block=4), 5):
        assert weights[:8] == talk.weights
        assert (len(ids) - 6) % 4 == 0


def test_a_text_without_a_prompt_is_cut_anywhere_and_partly_given() -> None:
    text = Text(list(range(10, 50)), [1.0] * 40)
    starts, givens = set(), set()
    for ids, weights in rows(Canvases(Dataset([text], rows=2, length=12), END), 30):
        assert len(ids) == 12
        assert ids == list(range(ids[0], ids[0] + 12))
        given = weights.count(0.0)
        assert weights == [0.0] * given + [1.0] * (12 - given)
        assert 1 <= given <= 6
        starts.add(ids[0])
        givens.add(given)
    assert len(starts) > 10
    assert givens == {1, 2, 3, 4, 5, 6}


def test_a_block_has_places() -> None:
    with pytest.raises(BadInput, match="a block has at least one place, not 0"):
        Canvases(Dataset(ANSWERS), END, 0)

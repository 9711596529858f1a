import random

import numpy as np
import pytest
import torch

from decant.house import tasks, tokenizer
from decant.house.evaluate import bigram_nats
from decant.house.mixture import Mixture, Phase, encode_code, encode_instance

SOURCE = ["def one(x):\n    return x + 1\n", "import os\n\n\nclass Name:\n    path = 'a\\n'\n"] * 40


@pytest.fixture(scope="module")
def words():
    rng = random.Random(0)
    drawn = [tasks.draw_any(rng) for _ in range(150)]
    return tokenizer.train([*SOURCE, *(one.prompt + one.answer for one in drawn)])


@pytest.fixture(scope="module")
def mixture(words):
    return Mixture(words, encode_code(words, SOURCE), (), [Phase(3, 4, 256), Phase(2, 1, 600)])


def test_a_batch_is_a_function_of_its_step(mixture):
    for step in (0, 4):
        (ids_BT, weights_BT), (again_BT, weights_again_BT) = mixture.batch(step), mixture.batch(step)
        assert torch.equal(ids_BT, again_BT)
        assert torch.equal(weights_BT, weights_again_BT)
    assert not torch.equal(mixture.batch(0)[0], mixture.batch(1)[0])


def test_phases_follow_one_another_and_the_last_one_goes_on(mixture):
    shapes = [tuple(mixture.batch(step)[0].shape) for step in (0, 2, 3, 9)]
    assert shapes == [(4, 256), (4, 256), (1, 600), (1, 600)]


def test_only_answers_and_code_have_weight(words):
    instance = tasks.Instance("lists", "List: [3, 4]\nWrite count.", "count: 2")
    ids, weights = encode_instance(words, instance)
    weighted = [token for token, weight in zip(ids, weights, strict=True) if weight]
    assert words.decode(weighted, skip_special_tokens=False) == "count: 2<|end|>"
    whole = words.decode(ids, skip_special_tokens=False)
    assert whole == "<|user|>\nList: [3, 4]\nWrite count.<|end|>\n<|assistant|>\ncount: 2<|end|>\n"


def test_no_answer_is_cut(mixture, words):
    end, assistant = words.token_to_id(tokenizer.END), words.token_to_id(tokenizer.ASSISTANT)
    for step in range(3):
        for ids_T in mixture.batch(step)[0]:
            assert int((ids_T == end).sum()) == 2 * int((ids_T == assistant).sum())


def test_training_text_holds_no_held_out_question(mixture, words):
    asked = []
    for step in range(3):
        for ids_T in mixture.batch(step)[0]:
            text = words.decode(ids_T.tolist(), skip_special_tokens=False)
            asked += [part.split("<|end|>")[0] for part in text.split("<|user|>\n")[1:]]
    assert asked
    assert not any(tasks.Instance("", prompt, "").held_out for prompt in asked)


@pytest.mark.parametrize("text", ["  a\tb\n\n\n c ", "x=12345", "naïve → 日本 🙂", "\r\n", " don't  ,stop", "<|end|>"])
def test_every_text_comes_back(words, text):
    assert words.decode(words.encode(text).ids, skip_special_tokens=False) == text


def test_digits_stand_alone_and_special_tokens_are_one_token(words):
    assert [token for token in words.encode("a1234").tokens if token.isdigit()] == list("1234")
    assert [words.token_to_id(token) for token in tokenizer.SPECIAL] == [0, 1, 2, 3, 4]
    assert len(words.encode(tokenizer.END).ids) == 1


def test_bigrams_are_a_distribution():
    rng = np.random.default_rng(0)
    training = rng.integers(0, 5, 400).astype(np.uint16)
    rows = np.array([[before, after] for before in range(6) for after in range(6)], dtype=np.uint16)
    for before in range(6):
        pairs = rows[rows[:, 0] == before]
        total = sum(np.exp(-bigram_nats(training, pair[None], vocab=6)) for pair in pairs)
        assert total == pytest.approx(1.0)

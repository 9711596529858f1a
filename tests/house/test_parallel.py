"""ParallelBench's tasks: gold answers are right, wrong ones are not, and the dependent tasks have many answers."""

import random

import pytest
from tokenizers import Tokenizer

from decant.house import HOME
from decant.house.parallel import FREE, ITEMS, LISTS, SIZES, TASKS, draw, draw_any, right
from decant.house.tasks import Instance


@pytest.mark.parametrize("task", TASKS)
def test_gold_answers_are_right_and_spoilt_ones_are_not(task: str) -> None:
    rng = random.Random(0)
    for size in SIZES:
        for _ in range(20):
            instance = draw(rng, task, size, held_out=True)
            assert instance.held_out
            assert right(instance, f" {instance.answer}\n")
            swapped = instance.answer.replace(instance.answer[-2], "", 1)
            assert not right(instance, swapped)
            assert not right(instance, "")


@pytest.mark.parametrize("task", sorted(FREE))
def test_a_free_task_takes_the_answer_of_another_draw(task: str) -> None:
    rng, prompts = random.Random(1), dict[str, set[str]]()
    others = 0
    for seed in range(400):
        instance = Instance(task, *TASKS[task](random.Random(seed % 5), 3))
        prompts.setdefault(instance.prompt, set())
        again = Instance(task, *TASKS[task](rng, 3))
        assert right(again, again.answer)
        others += not right(instance, again.answer)
    assert others > 300  # an answer to another prompt is wrong


def test_shuffle_refuses_the_line_itself_and_an_item_twice() -> None:
    instance = draw(random.Random(2), "shuffle", 3)
    line = instance.prompt.removeprefix("Line: ").partition("\n")[0]
    first = line.split('"')[1]
    assert not right(instance, line)
    assert not right(instance, f'["{first}", "{first}", "{first}"]')


def test_replacing_two_items_is_wrong() -> None:
    instance = draw(random.Random(3), "replace-random", 4)
    new = instance.prompt.rpartition("with ")[2].strip('".')
    line = instance.prompt.removeprefix("Line: ").partition("\n")[0]
    for item in line.split('"')[1::2][:2]:
        line = line.replace(item, new)
    assert not right(instance, line)


def test_items_are_one_token_each() -> None:
    words = Tokenizer.from_file(str(HOME / "target" / "tokenizer.json"))
    assert len(set(ITEMS)) == len(ITEMS)
    for size in SIZES:
        lengths = {len(words.encode(draw(random.Random(seed), "copy", size).answer).ids) for seed in range(50)}
        assert len(lengths) == 1


def test_training_never_sees_what_is_held_out() -> None:
    rng = random.Random(4)
    drawn = [draw_any(rng) for _ in range(300)]
    assert not any(instance.held_out for instance in drawn)
    assert {instance.task for instance in drawn} == set(TASKS)
    assert set(LISTS) < set(TASKS)

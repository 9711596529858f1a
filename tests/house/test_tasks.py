import ast
import json
import random
import re

import pytest

from decant.house import corpus, tasks
from decant.house.edits import TEMPLATES, edit

MANY = 200


def drawn(task: str, count: int = MANY, seed: int = 0) -> list[tasks.Instance]:
    rng = random.Random(seed)
    return [tasks.draw(rng, task) for _ in range(count)]


@pytest.mark.parametrize("task", tasks.GENERATORS)
def test_instances_are_functions_of_the_generator(task):
    assert drawn(task, 20) == drawn(task, 20)
    assert drawn(task, 20) != drawn(task, 20, seed=1)


@pytest.mark.parametrize("task", tasks.GENERATORS)
def test_the_split_has_no_overlap_and_both_sides(task):
    rng = random.Random(2)
    held_out = {tasks.draw(rng, task, held_out=True).prompt for _ in range(30)}
    assert len(held_out) == 30
    assert not held_out & {instance.prompt for instance in drawn(task)}


def test_about_a_tenth_is_held_out():
    rng = random.Random(3)
    shares = [tasks.Instance("lists", *tasks.lists(rng)).held_out for _ in range(2000)]
    assert 0.08 < sum(shares) / 2000 < 0.13


def test_every_arithmetic_line_has_the_same_value_and_one_step_less():
    for instance in drawn("arithmetic"):
        *steps, last = instance.answer.splitlines()
        result = int(last.removeprefix("Answer: "))
        terms = instance.prompt.count(" + ") + instance.prompt.count(" - ")
        assert [len(step.split()) // 2 for step in steps] == list(range(terms - 1, 0, -1))
        assert {eval(step) for step in steps} == {result}
        assert all(0 <= int(step.split()[0]) <= 30 for step in steps)


def test_list_operations_agree_with_their_names():
    items = [7, 2, 7, 40, 3]
    found = {name: operation(items) for name, operation in tasks.OPERATIONS.items()}
    assert found == {
        "sorted": [2, 3, 7, 7, 40],
        "descending": [40, 7, 7, 3, 2],
        "reversed": [3, 40, 7, 2, 7],
        "largest": 40,
        "smallest": 2,
        "even": [2, 40],
        "odd": [7, 7, 3],
        "unique": [7, 2, 40, 3],
        "count": 5,
        "first two": [7, 2],
        "last two": [40, 3],
    }


def test_lists_answers_what_was_asked():
    for instance in drawn("lists"):
        items = json.loads(re.search(r"\[.*?\]", instance.prompt)[0])
        for line in instance.answer.splitlines():
            name, result = line.split(": ")
            assert name in instance.prompt
            assert str(tasks.OPERATIONS[name](items)) == result


def test_records_are_json_of_their_prompt():
    for instance in drawn("records"):
        for row in json.loads(instance.answer):
            for key, content in row.items():
                assert f"{key}: {content}\n" in instance.prompt + "\n"


def test_lookup_copies_lines_of_the_table():
    for instance in drawn("lookup"):
        table, asked = instance.prompt.rsplit("\n\n", 1)
        assert len(instance.answer.splitlines()) == len(asked.splitlines()) - 1
        assert set(instance.answer.splitlines()) <= set(table.splitlines())


@pytest.mark.parametrize("functions", [(), corpus.functions(held_out=True)], ids=["synthesised", "library"])
def test_edits_are_code_and_change_only_what_was_asked(functions):
    rng = random.Random(4)
    for _ in range(MANY):
        prompt, answer = edit(rng, rng.choice(functions) if functions else None)
        ast.parse(answer)
        request = next(part for part in prompt.split("\n\n") if re.match(r"(Rename|Replace the|Change|In line)", part))
        code = prompt.replace(request, "", 1).strip("\n")
        changed = [(old, new) for old, new in zip(code.splitlines(), answer.splitlines(), strict=True) if old != new]
        assert changed
        before, after = re.findall(r"(?:Rename|name|Change|replace) (\w+) (?:to|by) (\w+)", request)[0]
        for old, new in changed:
            assert re.sub(rf"\b{before}\b", after, old) == new
        if before.isdigit():
            assert [code.splitlines().index(old) + 1 for old, _ in changed] == [
                int(re.search(r"line (\d+)", request)[1])
            ]


def test_templates_are_all_python():
    rng = random.Random(5)
    seen = {re.sub(r"\w+", "x", edit(rng)[1].splitlines()[0]) for _ in range(400)}
    assert len(seen) > len(TEMPLATES) / 2


def test_a_wrong_reply_is_wrong():
    instance = tasks.Instance("lists", "List: [1]", "count: 1")
    assert tasks.correct(instance, "count: 1\n")
    assert not tasks.correct(instance, "count: 2")
    assert not tasks.correct(instance, "count: 1, or so")


def test_the_library_split_is_fixed_by_the_path():
    held_out = {document.path for document in corpus.documents(held_out=True)}
    assert {"secrets.py", "sched.py"} <= held_out
    assert not held_out & {document.path for document in corpus.documents(held_out=False)}
    assert not any("test" in path.split("/") for path in held_out)

"""What is learnt from a file: which ids count, which are prompts, and which line is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from decant.apps.texts import Shelf, encoded, read
from decant.distill.texts import Text
from decant.errors import BadInput
from decant.models.load import speller
from decant.models.speller import Speller

TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Take 1, then add 2."},
    {"role": "assistant", "content": "The answer is 3."},
    {"role": "user", "content": "Take 2, then add 2."},
    {"role": "assistant", "content": "The answer is 4."},
]
FORGETFUL = (  # one that keeps thoughts of the last answer alone
    "{% for m in messages %}<|{{ m.role }}|>\n"
    "{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@pytest.fixture(scope="module")
def spell(draft_folder: Path) -> Speller:
    return speller(str(draft_folder))


@pytest.fixture
def shelf(spell: Speller, tmp_path: Path):
    def made(*rows: Any, name: str = "data.jsonl", limit: int | None = None) -> Shelf:
        file = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        file.write_bytes("".join(line + "\n" for line in lines).encode())
        return encoded(read(str(file), limit), spell, ends(spell))

    return made


def ends(spell: Speller) -> frozenset[int]:
    return frozenset([spell.tokenizer.convert_tokens_to_ids("<|end|>")])


def learnt(text: Text, spell: Speller) -> str:
    """What counts, with a bar between stretches."""
    said, last = [], -1
    for at, (token, weight) in enumerate(zip(text.ids, text.weights, strict=True)):
        if weight:
            assert weight == 1
            said.append("|" * (last not in (-1, at - 1)) + spell.tokenizer.decode([token]))
            last = at
    return "".join(said)


def test_the_assistants_tokens_and_its_end_count(shelf, spell) -> None:
    found = shelf({"messages": TALK[:3]})
    (text,) = found.texts
    assert learnt(text, spell) == "The answer is 3.<|end|>"
    assert (text.number, text.domain) == (0, 0)
    assert found.prompts == []
    assert text.ids[: text.prompt] == spell.encode_chat(TALK[:2])
    assert text.ids[-1] in ends(spell), "nothing hangs behind what is learnt"


def test_every_turn_of_the_assistant_counts(shelf, spell) -> None:
    (text,) = shelf({"messages": TALK}).texts
    assert learnt(text, spell) == "The answer is 3.<|end|>|The answer is 4.<|end|>"
    assert spell.tokenizer.decode(text.ids[: text.prompt]).endswith("<|assistant|>\n")
    assert text.ids[: text.prompt] == spell.encode_chat(TALK[:2]), "an answer may be written anew behind the first"


def test_a_user_who_speaks_last_is_not_learnt(shelf, spell) -> None:
    (text,) = shelf({"messages": TALK[:4]}).texts
    assert learnt(text, spell) == "The answer is 3.<|end|>"


def test_a_template_that_rewrites_earlier_turns_leaves_the_last(shelf, spell, monkeypatch) -> None:
    monkeypatch.setattr(spell.tokenizer, "chat_template", FORGETFUL)
    thought = [
        {**one, "content": "hm </think>" + one["content"]} if at % 2 == 0 else one for at, one in enumerate(TALK)
    ]
    (text,) = shelf({"messages": thought}).texts
    assert learnt(text, spell) == "hm </think>The answer is 4.<|end|>"
    (plain,) = shelf({"messages": TALK}).texts
    assert learnt(plain, spell).count("|The") == 1, "without thoughts nothing is rewritten"


def test_a_template_that_hides_the_answer_is_refused(shelf, spell, monkeypatch) -> None:
    monkeypatch.setattr(spell.tokenizer, "chat_template", "{{ messages | length }} {{ messages[-1].content }}")
    with pytest.raises(BadInput, match=r"data.jsonl line 1: the chat template writes the last answer otherwise"):
        shelf({"messages": TALK})
    monkeypatch.setattr(spell.tokenizer, "chat_template", "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(BadInput, match=r"data.jsonl line 2: .*roles must alternate"):
        shelf({"prompt": "Take 1", "answer": "3"}, {"messages": TALK})
    monkeypatch.setattr(spell.tokenizer, "chat_template", None)
    with pytest.raises(BadInput, match=r"data.jsonl line 1: .* has no chat template"):
        shelf({"messages": TALK})


def test_sharegpt_is_the_same_conversation(shelf) -> None:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    shared = [{"from": names[one["role"]], "value": one["content"]} for one in TALK]
    assert shelf({"conversations": shared}) == shelf({"messages": TALK})


@pytest.mark.parametrize("key", ["answer", "response", "completion", "output"])
def test_prompt_and_answer(key, shelf, spell) -> None:
    found = shelf({"prompt": "Take 1, then add 2. ", key: "The answer is 3."})
    (text,) = found.texts
    assert learnt(text, spell) == "The answer is 3.<|end|>"
    assert text.ids[: text.prompt] == spell.encode("Take 1, then add 2. ")


def test_a_text_counts_as_a_whole(shelf, spell) -> None:
    said = "Take 1, then add 2. The answer is 3."
    for found in (shelf({"text": said}), shelf(said, name="data.txt")):
        (text,) = found.texts
        assert learnt(text, spell) == said + "<|end|>"
        assert (text.prompt, found.prompts) == (0, [])


def test_prompts_alone_teach_nothing_and_are_asked(shelf, spell) -> None:
    found = shelf({"prompt": "Take 1"}, {"messages": TALK[:2]}, {"prompt": "Take 2", "answer": "2"})
    assert found.prompts == [spell.encode("Take 1"), spell.encode_chat(TALK[:2])]
    assert [text.number for text in found.texts] == [0], "texts are numbered without gaps"


def test_domains_are_counted_in_their_order(shelf) -> None:
    rows = [{"text": "Take 1", "domain": name} for name in ("sums", "words", "sums")]
    found = shelf(*rows, {"text": "Take 1"}, {"text": "Take 2", "domain": None})
    assert found.domains == ["sums", "words", ""]
    assert [text.domain for text in found.texts] == [0, 1, 0, 2, 2]


def test_marks_and_line_separators_inside_a_line(shelf, spell) -> None:
    (text,) = shelf("\ufeff" + json.dumps({"prompt": "Take 1", "answer": "a\u2028b\x85c"}, ensure_ascii=False)).texts
    assert spell.tokenizer.decode(text.ids) == "Take 1a\u2028b\x85c<|end|>"
    assert len(shelf("Take 1\u2028Take 2", "", "  ", "Take 3", name="data.txt").texts) == 2
    assert len(shelf("Take 1\r", "Take 2\r", name="data.txt").texts) == 2


def test_a_special_token_in_a_text_is_only_spelt(shelf, spell) -> None:
    (text,) = shelf({"prompt": "Take 1", "answer": "no <|end|> yet"}).texts
    assert sum(token in ends(spell) for token in text.ids) == 1


def test_a_limit_takes_the_first_lines_and_reads_no_further(shelf) -> None:
    assert len(shelf({"text": "Take 1"}, "", {"text": "Take 2"}, "no JSON", limit=2).texts) == 2


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("[1]", "holds a list, not an object"),
        ({}, "has none of messages, conversations, prompt, text; it has nothing"),
        ({"question": "Take 1"}, "it has question"),
        ({"prompt": "Take 1", "answer": ""}, "an answer is text that says something, got ''"),
        ({"prompt": "Take 1", "response": 3}, "an answer is text that says something, got 3"),
        ({"prompt": " "}, "is empty"),
        ({"prompt": 3}, "a prompt is text, got 3"),
        ({"text": None}, "a prompt is text, got null"),
        ({"messages": []}, "messages is a list of"),
        ({"messages": [{"role": "user"}]}, "messages is a list of"),
        ({"conversations": []}, "conversations is a list of"),
        ({"conversations": [{"from": "cat", "value": "x"}]}, "conversations is a list of .* assistant, gpt"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(row, sentence, shelf) -> None:
    with pytest.raises(BadInput, match=f"data.jsonl line 3.*{sentence}"):
        shelf({"text": "Take 1"}, "", row)


def test_files_that_hold_nothing(shelf, tmp_path) -> None:
    for lines in ([], ["", "  "]):
        with pytest.raises(BadInput, match=r"data.jsonl holds no texts; write one a line"):
            shelf(*lines)
    with pytest.raises(BadInput, match=r"nowhere.jsonl cannot be read"):
        read(str(tmp_path / "nowhere.jsonl"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"bytes.txt cannot be read .*utf-8"):
        read(str(tmp_path / "bytes.txt"))


@pytest.mark.slow
def test_the_houses_questions_have_right_answers_and_tasks_as_domains(spell) -> None:
    rows = read("house:tasks", 30, seed=1)
    assert rows == read("house:tasks", 30, seed=1) != read("house:tasks", 30, seed=2)
    found = encoded(rows, spell, ends(spell))
    assert len(found.texts) == 30
    assert len(found.domains) > 2

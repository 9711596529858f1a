import io
import json
import re

import pytest

from decant.apps.prompts import Prompt, chat_prompt, default_source, encode, read, text_prompt
from decant.errors import BadInput, UnknownMethod


@pytest.fixture
def written(tmp_path):
    def write(name: str, *lines: object) -> str:
        file = tmp_path / name
        file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return str(file)

    return write


def test_three_kinds_of_json_lines(written):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    source = written("p.jsonl", {"prompt": "raw"}, "", {"messages": messages}, {"turns": ["first", "second"], "id": 3})
    assert read(source) == [
        Prompt("p.jsonl line 1", "raw"),
        Prompt("p.jsonl line 3", messages=tuple(messages)),
        Prompt("p.jsonl line 4", messages=({"role": "user", "content": "first"},), lenient=True),
    ]


def test_lines_of_text(written):
    source = written("p.txt", "one", "   ", '{"prompt": "this is text here"}')
    assert [(p.where, p.text) for p in read(source)] == [
        ("p.txt line 1", "one"),
        ("p.txt line 3", '{"prompt": "this is text here"}'),
    ]


def test_standard_input_is_json_where_it_looks_like_it(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"prompt": "from a pipe"}\n'))
    assert read("-") == [Prompt("standard input line 1", "from a pipe")]
    monkeypatch.setattr("sys.stdin", io.StringIO("plain\nlines\n"))
    assert [p.text for p in read("-")] == ["plain", "lines"]


def test_a_line_separator_inside_json_does_not_end_the_line(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a\u2028b"}\n', encoding="utf-8")
    assert [p.text for p in read(str(file))] == ["a\u2028b"]


def test_limit_takes_the_first_and_reads_no_further(written):
    source = written("p.jsonl", {"prompt": "one"}, {"prompt": "two"}, "broken")
    assert [p.text for p in read(source, 2)] == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "x"', "p.jsonl line 2 is not JSON: Expecting ',' delimiter at column 15"),
        ("plain text", "p.jsonl line 2 is not JSON"),
        ('["a"]', "p.jsonl line 2 holds a list, not an object with one of prompt, messages, turns"),
        ('{"text": "x"}', "p.jsonl line 2 has none of prompt, messages, turns; it has text"),
        ("{}", "p.jsonl line 2 has none of prompt, messages, turns; it has nothing"),
        ('{"prompt": 3}', "p.jsonl line 2: a prompt is text, got 3"),
        ('{"prompt": "  "}', "p.jsonl line 2 is empty"),
        ('{"messages": []}', "p.jsonl line 2: messages is a list of"),
        ('{"messages": [{"role": "user"}]}', "p.jsonl line 2: messages is a list of"),
        ('{"messages": [{"role": "user", "content": ""}]}', "p.jsonl line 2 is empty; its last message says nothing"),
        ('{"turns": []}', "p.jsonl line 2: turns is a list of texts, got []"),
        ('{"turns": "hello"}', 'p.jsonl line 2: turns is a list of texts, got "hello"'),
    ],
)
def test_a_broken_line_is_named(written, line, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        read(written("p.jsonl", {"prompt": "fine"}, line))


def test_a_file_that_is_missing_empty_or_no_text(written, tmp_path):
    with pytest.raises(BadInput, match=r"the prompts file nowhere\.jsonl does not exist; give a file, - for"):
        read("nowhere.jsonl")
    with pytest.raises(BadInput, match=r"p\.jsonl holds no prompts; write one a line"):
        read(written("p.jsonl", "", "  "))
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        read(str(tmp_path))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(BadInput, match=r"is not text in UTF-8 \(byte 3\)"):
        read(str(tmp_path / "latin.txt"))


def test_house_prompts_have_nearest_names():
    with pytest.raises(UnknownMethod, match="no house prompts file is called 'house:task'; did you mean house:tasks"):
        read("house:task")


def test_prompts_are_required_elsewhere():
    assert default_source("house:target") == "house:tasks"
    with pytest.raises(BadInput, match="which prompts shall owner/model continue\\? give --prompts FILE"):
        default_source("owner/model")


def test_text_is_raw_and_messages_go_through_the_template(target):
    raw, chat = encode([text_prompt("Take 1", "a"), chat_prompt([{"role": "user", "content": "Take 1"}], "b")], target)
    assert target.decode(raw) == "Take 1"
    assert target.tokenizer.decode(chat) == "<|user|>\nTake 1<|end|>\n<|assistant|>\n"


def test_turns_are_raw_text_where_there_is_no_template(target, monkeypatch):
    turn = chat_prompt([{"role": "user", "content": "Take 1"}], "a", lenient=True)
    monkeypatch.setattr(target.tokenizer, "chat_template", None)
    assert encode([turn], target) == [target.encode("Take 1")]
    with pytest.raises(BadInput, match="has no chat template; give the prompt as plain text"):
        encode([chat_prompt([{"role": "user", "content": "Take 1"}], "a")], target)


def test_a_prompt_longer_than_the_context_is_refused_with_numbers(target):
    long = text_prompt("Take 1 " * 1200, "p.txt line 4")
    count = len(target.encode(long.text))
    assert count > 1024
    with pytest.raises(BadInput, match=rf"p\.txt line 4 has {count:,} tokens, but the context of .* holds 1,024"):
        encode([long], target)


def test_a_prompt_that_leaves_too_little_room_is_refused_with_numbers(target):
    prompt = text_prompt("Take 1", "p.txt line 1")
    count = len(target.encode("Take 1"))
    assert encode([prompt], target, 1024 - count) == [target.encode("Take 1")]
    message = f"has {count} tokens and 1,024 more were asked for, .* ask for at most {1024 - count:,} tokens"
    with pytest.raises(BadInput, match=message):
        encode([prompt], target, 1024)

"""`decant datastore`, and that the methods `retrieval` and `rasd` find in it what was put there."""

import json
from itertools import islice

import numpy as np
import pytest
from typer.testing import CliRunner

from decant import house
from decant.apps import datastore as building
from decant.apps.cli import app
from decant.apps.compose import compose
from decant.apps.datastore import Asked, collect
from decant.apps.prompts import Prompt
from decant.drafters.retrieval import Datastore, Retrieval, opened
from decant.drafters.suffix import Suffix
from decant.house import corpus
from decant.models import load as loading
from decant.models.load import speller
from decant.samplers.greedy import greedy
from decant.types import PAD

SAID = "Take 7, then add 2.\nThe answer is 9.\n"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def decant(folder, out):
    def run(texts, *words: str):
        return CliRunner().invoke(app, ["datastore", str(texts), "--model", str(folder), "--out", str(out), *words])

    return run


@pytest.fixture
def written(tmp_path):
    def write(name: str, *rows: object):
        file = tmp_path / name
        file.write_text("".join((row if isinstance(row, str) else json.dumps(row) + "\n") for row in rows))
        return file

    return write


@pytest.fixture
def no_weights(monkeypatch):
    def fail(*words, **knobs):
        raise AssertionError("weights were read")

    monkeypatch.setattr(loading, "_read", fail)


def texts_of(folder) -> list[list[int]]:
    """The ids of each text, as the store holds them."""
    tokens = opened.__wrapped__(str(folder))[0].tokens
    starts = np.flatnonzero(tokens == PAD)
    return [part[1:].tolist() for part in np.split(tokens, starts[1:])]


def test_every_kind_of_row_is_a_text(decant, written, folder, out, no_weights):
    talk = [{"role": "user", "content": "Take 1."}, {"role": "assistant", "content": "The answer is 1."}]
    rows = {"text": SAID}, {"prompt": "Café"}, {"messages": talk}, {"messages": talk[:1]}, {"turns": ["Take 2.", "x"]}
    done = decant(written("t.jsonl", *rows))
    assert done.exit_code == 0, done.output
    spelt = speller(str(folder))
    assert [spelt.tokenizer.decode(ids) for ids in texts_of(out)] == [
        SAID,
        "Café",
        "<|user|>\nTake 1.<|end|>\n<|assistant|>\nThe answer is 1.<|end|>\n",
        "<|user|>\nTake 1.<|end|>\n<|assistant|>\n",
        "<|user|>\nTake 2.<|end|>\n<|assistant|>\n",
    ]


def test_plain_text_is_one_text_and_its_pieces_join(decant, written, folder, out, no_weights, monkeypatch):
    monkeypatch.setattr(building, "PIECE", 50)
    long = SAID * 20 + "no end of line"
    assert decant(written("t.txt", long), "-q").exit_code == 0
    assert texts_of(out) == [speller(str(folder)).inner(long)]


def test_without_a_chat_template_messages_are_texts(decant, written, folder, out, monkeypatch):
    monkeypatch.setattr("decant.models.speller.Speller.chats", False)
    talk = [{"role": "user", "content": "Take 1."}, {"role": "assistant", "content": "It is 1."}]
    assert decant(written("t.jsonl", {"messages": talk})).exit_code == 0
    assert texts_of(out) == [speller(str(folder)).inner("Take 1.\nIt is 1.")]


def test_it_tells_size_seconds_and_what_comes_next(decant, written, folder, out):
    file = written("t.txt", SAID)
    done = decant(file)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["folder", "texts", "seconds", "next"]
    command = f"decant bench {folder} --methods retrieval:store={out} --prompts FILE"
    assert done.stdout.splitlines()[-1].endswith(command)
    report = json.loads(decant(file, "--json", "-").stdout)
    assert report["next"] == command
    assert report["bytes"] == sum(one.stat().st_size for one in out.iterdir())
    assert (report["count"], report["tokens"]) == (1, len(speller(str(folder)).inner(SAID)))
    assert set(report["seconds"]) == {"collecting", "sorting"}
    facts = json.loads((out / "datastore.json").read_text())
    assert (facts["model"], facts["texts"], facts["answers"]) == (str(folder), str(file), None)


def test_the_house_gives_what_it_was_taught_on(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "functions", lambda held_out: ())  # quicker to draw from
    asked = Asked("house:tasks", "house:target", tmp_path / "out", limit=3)
    assert [[turn["role"] for turn in one.messages] for one in collect(asked)] == [["user", "assistant"]] * 3
    assert building.next_command(asked).endswith("out")
    shipped = house.prompts("tasks").read_text().splitlines()
    held_out = {json.loads(line)["messages"][0]["content"] for line in shipped}
    drawn = {one.messages[0]["content"] for one in collect(Asked("house:tasks", "m", tmp_path / "out"))}
    assert len(drawn) > 1500
    assert not held_out & drawn, "prompts for measuring stand in the store"
    (code,) = collect(Asked("house:code", "m", tmp_path / "out", limit=1))
    assert code in [Prompt(document.path, document.text) for document in islice(corpus.documents(held_out=False), 3)]


def test_answers_are_the_models_own_and_are_kept(decant, written, folder, out):
    prompts = [f"Take {number}, then add 1." for number in (3, 4)]
    file = written("t.jsonl", *({"prompt": prompt} for prompt in prompts))
    few = ["--answers", "--max-tokens", "5"]
    assert decant(file, *few).exit_code == 0
    first = texts_of(out)
    said = CliRunner().invoke(
        app, ["generate", str(folder), "--prompts", str(file), "--max-tokens", "5", "--method", "plain"]
    )
    answers = [json.loads(line)["text"] for line in said.stdout.splitlines()]
    decode = speller(str(folder)).tokenizer.decode
    assert [decode(ids, skip_special_tokens=True) for ids in first] == [
        prompt + answer for prompt, answer in zip(prompts, answers, strict=True)
    ]
    (kept,) = out.glob("answers-*.jsonl")
    lines = kept.read_text().splitlines(keepends=True)
    changed = json.loads(lines[0]) | {"ids": [*json.loads(lines[0])["ids"], 7]}
    kept.write_text(json.dumps(changed) + "\n")  # a run that was cut short behind the first answer
    assert decant(file, *few).exit_code == 0
    assert texts_of(out) == [[*first[0], 7], first[1]], "what was answered is not answered again"
    assert decant(file, *few, "--seed", "1").exit_code == 0
    assert texts_of(out) == first, "answers of other settings are not taken"


def test_retrieval_guesses_from_it(decant, written, folder, out):
    prompt = "Take 3, then add 1."
    file = written("t.jsonl", {"prompt": prompt})
    asked = ["--max-tokens", "24", "--temperature", "0"]
    assert decant(file, "--answers", "--max-tokens", "24").exit_code == 0
    words = ["generate", str(folder), prompt, *asked, "--method", f"retrieval:store={out}", "--json", "-"]
    guessed = json.loads(CliRunner().invoke(app, words).stdout)
    assert guessed["acceptance_length"] > 3, "the text itself stands in the store"


def test_rasd_takes_it_for_what_was_said_before(decant, written, folder, draft_folder, target, draft, out):
    prompt = "Take 3, then add 1."
    assert decant(written("t.jsonl", {"prompt": prompt}), "--answers", "--max-tokens", "24").exit_code == 0
    made = compose(f"rasd:store={out}:top=0", target, draft, greedy()).decoder.drafter
    assert (made.retriever, made.top) == (Retrieval(str(out)), 0)
    assert compose("rasd", target, draft, greedy()).decoder.drafter.retriever == Suffix()
    words = ["generate", str(folder), prompt, "--draft", str(draft_folder), "--max-tokens", "24", "--temperature", "0"]
    said = [
        json.loads(CliRunner().invoke(app, [*words, "--json", "-", "--method", method]).stdout)["text"]
        for method in ("plain", f"rasd:top=0:store={out}")
    ]
    assert said[0] == said[1]
    missing = CliRunner().invoke(app, [*words, "--method", f"rasd:store={out}x"])
    assert missing.exit_code == 2
    assert f"{out}x is no datastore" in missing.stderr


def test_standard_input(folder, out):
    words = ["datastore", "-", "--model", str(folder), "--out", str(out)]
    assert CliRunner().invoke(app, words, input=SAID).exit_code == 0
    assert texts_of(out) == [speller(str(folder)).inner(SAID)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.txt"], "nowhere.txt does not exist"),
        (["house:copy"], "house:copy is for measuring, not for a datastore; take house:tasks, house:code"),
        (["house:code", "--answers"], "house:code is for measuring"),
        (["house:tasks", "--max-tokens", "9"], "--max-tokens says how prompts are answered; add --answers"),
        (["house:tasks", "--answers", "--temperature", "inf"], "temperature is 0 (greedy) or more"),
        (["house:tasks", "--out", "a:b"], "a colon or a comma cannot stand in retrieval:store=a:b"),
        (["house:code", "--limit", "1", "--model", "nobody"], "no folder 'nobody'"),
    ],
)
def test_what_the_user_can_mend_is_a_sentence(decant, words, message):
    done = decant(*words)
    assert done.exit_code == 2
    assert message in done.stderr


def test_nothing_of_the_users_is_overwritten(decant, written, out):
    file = written("t.txt", SAID)
    assert decant(file).exit_code == 0
    before = texts_of(out)
    assert decant(written("other.txt", "Take 5."), "--quiet").stderr == ""
    assert texts_of(out) != before, "a datastore is replaced"
    (out / "mine.txt").write_text("mine")
    assert "is not empty, and no datastore" in decant(file).stderr
    assert "is a file" in decant(file, "--out", str(file)).stderr


def test_the_remedy_of_the_method_is_this_command(decant, folder, out):
    asked = ["generate", str(folder), "Take 3.", "--method"]
    assert "decant datastore TEXTS --model TARGET" in CliRunner().invoke(app, [*asked, "retrieval"]).stderr
    done = CliRunner().invoke(app, [*asked, f"retrieval:store={out}"])
    assert done.exit_code == 2
    assert f"make one with decant datastore TEXTS --model TARGET --out {out}" in done.stderr


def test_an_origin_never_hides_the_facts(tmp_path):
    Datastore.of([[1, 2]]).write(tmp_path, {"tokens": 99, "model": "m"})
    facts = json.loads((tmp_path / "datastore.json").read_text())
    assert facts == {"tokens": 3, "largest": 2, "model": "m"}

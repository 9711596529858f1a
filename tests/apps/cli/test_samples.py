"""`decant samples`: the vote's winner, how it won, pass@k over known answers, and refusals that name the remedy."""

import json

import pytest
from typer.testing import CliRunner

from decant.apps.api import generate
from decant.apps.cli import app
from decant.apps.passes import questions
from decant.apps.samples import Poll, samples
from decant.constraints.grammar import Choice
from decant.errors import BadInput
from decant.noise import sample_seed
from decant.samplers.temperature import temperature as heat
from decant.samplers.top_k import top_k

PROMPT = "Take 1, then add 2."
TINY = ["--dtype", "float32", "--max-tokens", "6", "--n", "4"]


@pytest.fixture
def decant(folder):
    """`decant samples FOLDER ...`"""
    return lambda *words, **given: CliRunner().invoke(app, ["samples", str(folder), *TINY, *words], **given)


def test_a_sample_is_what_its_seed_says_alone(target):
    found = samples(target, PROMPT, 4, max_tokens=6, seed=3)
    for at, one in enumerate(found.samples):
        alone = generate(target, PROMPT, method="plain", max_tokens=6, temperature=1.0, seed=sample_seed(3, at))
        assert (one.text, one.tokens, one.reason) == (alone.text, alone.tokens, alone.reason)
        assert len(one.logp) == len(one.tokens)
        assert one.mean_logp < 0 < one.certainty
    assert found.steps == 6
    assert sum(found.votes.values()) == 4


@pytest.mark.parametrize("method", ["prompt-lookup", "draft-model"])
def test_a_drafter_changes_no_sample(target, draft, method):
    plain, drafted = (samples(target, PROMPT, 4, max_tokens=6, draft=draft, method=name) for name in ("plain", method))
    assert [one.tokens for one in plain.samples] == [one.tokens for one in drafted.samples]


def test_exact_mode_takes_no_more_at_a_time_than_it_holds(target):
    exact = target.exactly(True)
    free = samples(target, PROMPT, 3, max_tokens=4)
    assert [one.tokens for one in samples(exact, PROMPT, 3, max_tokens=4).samples] == [
        one.tokens for one in free.samples
    ]


def test_the_first_to_finish_vote_and_the_others_are_stopped(target):
    texts = [one.text for one in samples(target, PROMPT, 8, max_tokens=12).samples]
    letter = next(one for one in "aeinrst ok.t" if sum(one in text for text in texts) >= 2)
    found = samples(target, PROMPT, 8, max_tokens=12, first=1, stop=letter, answer=r"(?s).*")
    assert sum(one.answer is not None for one in found.samples) <= 1
    assert found.steps <= 12
    done = [one for one in found.samples if one.reason == "stop"]
    assert all(len(one.tokens) == found.steps for one in found.samples if one.reason is None)
    assert len(done) < 8


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        (None, "  so it is\n", "so it is"),
        (None, "  \n", None),
        (r"Answer: (\d+)", "Answer: 3, no: Answer: 4", "4"),
        (r"\d+", "3 then 4", "4"),
        (r"\d+", "none", None),
        (r"(x)?y", "y", None),
    ],
)
def test_an_answer_is_the_last_match(pattern, text, answer):
    assert Poll(pattern=pattern).answer(text) == answer


def test_samples_take_what_generate_takes(target, draft):
    ways = [
        {"sampler": [top_k(5), heat(1.3)]},
        {"repetition_penalty": 1.5, "top_n_sigma": 1.0},
        {"guidance": 2.0, "negative_prompt": "add"},
        {"contrast": draft},
        {"mirostat": 2},
    ]
    for way in ways:
        found = samples(target, PROMPT, 3, max_tokens=6, seed=3, **way)
        own = {"temperature": 1.0} if {"guidance", "contrast"} & {*way} else {}
        for at, one in enumerate(found.samples):
            alone = generate(target, PROMPT, method="plain", max_tokens=6, seed=sample_seed(3, at), **own, **way)
            assert one.tokens == alone.tokens, way
        assert len({tuple(one.tokens) for one in found.samples}) > 1, "one text is no proof"


def test_every_sample_follows_the_constraint_and_they_vote(target):
    pytest.importorskip("llguidance")
    found = samples(target, PROMPT, 6, max_tokens=16, constraint=Choice(["yes", "no"]), method="prompt-lookup")
    assert {one.text for one in found.samples} == {"yes", "no"}
    assert sum(found.votes.values()) == 6


def test_flags_of_the_choice_reach_the_samples(decant):
    pytest.importorskip("llguidance")
    words = ("--regex", "[ab]{3}", "--presence-penalty", "0.5", "--explain", "--json", "-")
    done = decant(PROMPT, *words)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert all(set(one["text"]) <= {*"ab"} for one in report["samples"])
    assert report["settings"]["presence_penalty"] == 0.5
    assert report["settings"]["constraint"] == "Regex(pattern='[ab]{3}')"
    told = done.stderr.splitlines()[1:5]
    assert told[1:] == [
        "  presence_penalty 0.5  (command line)",
        "  temperature 1.0  (default)",
        "method plain  (default)",
    ]
    warm = decant(PROMPT, "--temperature", "1", "--method", "plain", "--explain").stderr.splitlines()
    assert warm[1:3] == ["  temperature 1.0  (command line)", "method plain  (command line)"]


def test_standard_output_is_the_text_that_won(decant, target):
    done = decant(PROMPT, "--vote", "likelihood")
    assert done.exit_code == 0, done.output
    found = samples(target, PROMPT, 4, vote="likelihood", max_tokens=6)
    assert found.best is not None
    assert done.stdout == found.best.text
    assert found.best.mean_logp == max(one.mean_logp for one in found.samples)
    assert "4 samples, 0 finished, 24 tokens" in done.stderr
    assert decant(PROMPT, "--quiet").stderr == ""


@pytest.mark.parametrize("vote", ["majority", "certainty", "borda", "likelihood"])
def test_the_report_holds_every_sample_and_vote(decant, vote):
    report = json.loads(
        decant(PROMPT, "--vote", vote, "--json", "-", "--answer", "[a-z]", "--temperature", "0.7").stdout
    )
    assert report["settings"]["vote"] == vote
    assert report["settings"]["temperature"] == 0.7
    assert report["answer"] == report["votes"][0]["answer"]
    assert [vote["weight"] for vote in report["votes"]] == sorted(
        (vote["weight"] for vote in report["votes"]), reverse=True
    )
    assert len(report["samples"]) == 4
    assert all(len(one["logp"]) == len(one["tokens"]) == 6 for one in report["samples"])


def test_nothing_to_vote_for_is_a_failure(decant):
    done = decant(PROMPT, "--answer", "never said")
    assert done.exit_code == 1
    assert "no sample holds an answer" in done.stderr


@pytest.fixture
def tasks(tmp_path, target):
    """Two questions: the first sample of the first is right, of the second none is."""
    right = samples(target, PROMPT, 1, max_tokens=6).samples[0].text
    file = tmp_path / "tasks.jsonl"
    rows = [{"prompt": PROMPT, "answer": right, "task": "easy"}, {"prompt": PROMPT, "answer": "no", "task": "hard"}]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return file


def test_passes_are_counted_over_questions(decant, tasks):
    report = json.loads(decant("--passes", "--prompts", str(tasks), "--json", "-").stdout)
    easy, hard = report["questions"]
    assert 1 <= easy["right"] <= 4
    assert hard["right"] == 0
    assert [row["k"] for row in report["pass_at_k"]] == [1, 2, 4]
    assert report["pass_at_k"][0]["value"] == pytest.approx(easy["right"] / 8)
    assert report["pass_at_k"][-1] == {"k": 4, "value": 0.5, "low": 0.0, "high": 1.0}
    assert {row["task"]: row["pass_at_k"][-1]["value"] for row in report["by_task"]} == {"easy": 1.0, "hard": 0.0}
    assert report["cut"] == 8
    assert report["settings"]["n"] == 4


def test_passes_as_a_table(decant, tasks):
    done = decant("--passes", "--prompts", str(tasks))
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["k=1", "k=2", "k=4", "voted"] in lines
    assert next(line for line in lines if line[:1] == ["all"])[3] == "50.0%"
    assert "2 questions of" in done.stdout
    assert "8 samples were cut at 6 tokens" in done.stdout


def test_the_house_tasks_have_answers():
    asked = questions("house:tasks", 3)
    assert [one.instance.task for one in asked] == ["arithmetic", "lists", "lookup"]
    assert asked[0].instance.answer.splitlines()[-1].startswith("Answer: ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((PROMPT, "--temperature", "0"), "at temperature 0 all 4 samples are the same; give a temperature above 0"),
        ((PROMPT, "--regex", "a+b", "--stop", "b"), "the stop string 'b' is part of all text of the regular"),
        ((PROMPT, "--top-p", "2"), "top_p lies in (0, 1], got 2.0"),
        ((PROMPT, "--guidance", "2", "--dola", "low"), "guidance and dola each lead the text; give one of them"),
        ((PROMPT, "--first", "5"), "of 4 samples the first 1 to 4 can be waited for, got 5"),
        ((PROMPT, "--answer", "("), "the answer's pattern '(' is no regular expression"),
        ((PROMPT, "--power", "2"), "--power is Borda's, and the vote is majority"),
        ((PROMPT, "--limit", "2"), "--limit: for questions with known answers; add --passes"),
        ((PROMPT, "--passes"), "a PROMPT and --passes: one or the other"),
        (("--passes",), "which prompts shall"),
        (("--passes", "--prompts", "-"), "pass@k needs right answers, which - cannot hold"),
        (("--passes", "--prompts", "house:tasks", "--first", "1"), "--first stops them"),
        (("--passes", "--prompts", "house:code", "--limit", "1"), "has no answer"),
    ],
)
def test_what_cannot_be_asked_is_refused(decant, words, sentence):
    done = decant(*words)
    assert done.exit_code == 2
    assert sentence in done.stderr


def test_a_line_without_an_answer_is_named(tmp_path):
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "c"}\n')
    with pytest.raises(BadInput, match=r"tasks\.jsonl line 2 has no answer"):
        questions(str(file))


def test_an_unknown_vote_is_refused():
    with pytest.raises(BadInput, match="no vote is called 'loudest'; take majority, certainty, borda or likelihood"):
        Poll(vote="loudest")  # type: ignore[arg-type]

"""The lm-evaluation-harness measures models under any method: what it gets, and that it is what it gets of others."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance

from decant.apps.api import generate
from decant.apps.cli import app
from decant.apps.evaluation import DecantLM
from decant.apps.harness import Exam, examined, found
from decant.apps.sampling import Sampling
from decant.apps.yardstick import Arguments, harness, sampling_of
from decant.errors import BadInput, IncompatibleParts, MissingExtra

TASKS = Path(__file__).parent / "tasks"
QUESTIONS = [json.loads(line)["question"] for line in (TASKS / "sums.jsonl").read_text().splitlines()]
CHOICES = ("sums", "sums_choice", "sums_text")


def asked(arguments: tuple, kind: str = "generate_until", at: int = 0) -> Instance:
    return Instance(kind, {}, arguments, 0, ("sums", at, 1))


@pytest.fixture(scope="module")
def judge(target, draft):
    return DecantLM(pretrained=target, draft=draft, method="draft-model", batch_size=3)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The task files' folder, and no network; what datasets keep goes elsewhere."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(TASKS)


@pytest.mark.parametrize("method", ["draft-model", "prompt-lookup", "plain"])
def test_answers_are_those_of_plain_decoding(target, draft, method):
    until = {"until": ["4", ""], "max_gen_toks": 12, "do_sample": False}
    requests = [asked((question, until), at=at) for at, question in enumerate(QUESTIONS)]
    requests[1] = asked((QUESTIONS[1], until | {"max_gen_toks": 5}), at=1)
    judge = DecantLM(pretrained=target, draft=draft, method=method, batch_size=3)
    said = judge.generate_until(requests)
    lengths = [5 if at == 1 else 12 for at in range(len(QUESTIONS))]
    assert said == [
        generate(target, question, method="plain", stop="4", max_tokens=length, temperature=0).text
        for question, length in zip(QUESTIONS, lengths, strict=True)
    ]
    spent = judge.report()["tasks"]["sums"]
    assert spent["requests"] == len(QUESTIONS)
    assert (spent["acceptance_length"] > 1.0) == (method != "plain") == (spent["drafted"] > 0)


def test_samples_of_a_question_differ_and_depend_on_nothing_else(judge):
    drawn = {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0}
    one, other = asked((QUESTIONS[0], drawn), at=0), asked((QUESTIONS[0], drawn), at=1)
    said = judge.generate_until([one, one, other, one])
    assert len(set(said)) == 4, "a question's samples, and questions that read alike, are drawn apart"
    assert judge.generate_until([other, one, one]) == [said[2], said[0], said[1]]


def test_likelihoods_are_sums_of_log_softmax(judge, folder):
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pairs = [("Take 1, then ", "add 2."), ("Take 1, then", " naïve"), ("Take 1, then", " add 3. The answer is 4.")]
    found = judge.loglikelihood([asked(pair, "loglikelihood") for pair in pairs])
    for (context, text), (logp, greedy) in zip(pairs, found, strict=True):
        ids = judge.tok_encode(context + text)
        begin = len(judge.tok_encode(context.rstrip()))
        with torch.inference_mode():
            logp_TV = reference(torch.tensor([ids])).logits[0, begin - 1 : -1].log_softmax(-1)
        said_T = torch.tensor(ids[begin:])
        assert logp == pytest.approx(float(logp_TV[torch.arange(len(said_T)), said_T].sum()), rel=1e-5)
        assert greedy == bool((logp_TV.argmax(-1) == said_T).all())
    assert judge.report()["likelihoods"] >= 3


def test_a_text_longer_than_the_context_is_judged_in_windows(target, folder):
    """Every token once: windows of 40 in which the first of a later one stands behind what was judged before."""
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    judge = DecantLM(pretrained=target, method="plain", max_length=40)
    text = "Take 1, then add 2. The answer is 3. " * 6
    ids, logp = judge.tok_encode(text), 0.0
    assert len(ids) > 80
    for first in range(0, len(ids), 40):
        last = min(first + 40, len(ids))
        window = [judge.prefix_token_id, *ids][max(0, last - 40) : last + 1]
        with torch.inference_mode():
            logp_TV = reference(torch.tensor([window[:-1]])).logits[0].log_softmax(-1)
        said_T = torch.tensor(ids[first:last])
        logp += float(logp_TV[-len(said_T) :][torch.arange(len(said_T)), said_T].sum())
    assert judge.loglikelihood_rolling([asked((text,), "loglikelihood_rolling")]) == [pytest.approx(logp, rel=1e-5)]


def test_a_prompt_that_leaves_no_room_loses_its_beginning(target, caplog):
    judge = DecantLM(pretrained=target, method="plain", max_length=60)
    long = "Take 1, then add 2. " * 20
    settings = {"until": [], "max_gen_toks": 20}
    ids = judge.tok_encode(long)[-40:]
    expected = generate(target, target.tokenizer.decode(ids), method="plain", max_tokens=20, temperature=0).text
    with caplog.at_level("WARNING"):
        assert judge.generate_until([asked((long, settings))]) == [expected]
    assert "loses its first" in caplog.text
    with pytest.raises(BadInput, match="an answer of 60 tokens leaves no room for a prompt in 60"):
        judge.generate_until([asked((long, {"max_gen_toks": 60}))])
    with pytest.raises(BadInput, match=r"a text has \d+ tokens, but the context .* holds 60"):
        judge.loglikelihood([asked(("a", long), "loglikelihood")])


def test_conversations_go_through_the_chat_template(judge, target):
    messages = [{"role": "user", "content": QUESTIONS[0]}]
    assert judge.tok_encode(judge.apply_chat_template(messages)) == target.encode_chat(messages)
    begun = [*messages, {"role": "assistant", "content": "The answer"}]
    assert judge.apply_chat_template(begun, add_generation_prompt=False).endswith("The answer")
    assert judge.tokenizer_name == str(target.name).replace("/", "__")
    assert "<|user|>" in judge.chat_template(True)


def test_a_model_that_fills_in_masks_answers_and_judges_nothing(filler):
    judge = DecantLM(pretrained=filler, batch_size=2)
    (text,) = judge.generate_until([asked(("Take 1", {"max_gen_toks": 8}))])
    assert text == generate(filler, "Take 1", max_tokens=8, temperature=0).text
    for kind, arguments in (("loglikelihood", ("Take", " 1")), ("loglikelihood_rolling", ("Take 1",))):
        with pytest.raises(IncompatibleParts, match="fills in masks"):
            getattr(judge, kind)([asked(arguments, kind)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pretrained": "a", "modl": 1}, "model_args of decant have no 'modl'; take pretrained, draft"),
        ({}, "name no model; give pretrained=MODEL"),
        ({"pretrained": "a", "batch_size": 0}, "batch_size is 1 or more, or auto, got 0"),
    ],
)
def test_arguments_that_there_are_not_are_refused(given, message):
    with pytest.raises(BadInput, match=message):
        assert Arguments.of(given).batch


def test_the_harness_own_device_is_none_of_ours(target):
    """It always names one, whether the machine has it or not."""
    if torch.cuda.is_available():
        pytest.skip("there is such a device here")
    opened = Arguments.of({"pretrained": target.name, "dtype": "float32", "device": "cuda:0", "method": "plain"})
    assert str(opened.opened(Sampling()).target.model.network.device) == "cpu"


def test_without_the_harness_the_command_that_installs_it_is_said():
    with pytest.raises(MissingExtra, match=r"pip install 'decant\[eval\]'"):
        harness("no_such_part")


@pytest.mark.parametrize(
    ("given", "temperature"),
    [({}, 0.0), ({"do_sample": False, "temperature": 0.7}, 0.0), ({"do_sample": True, "temperature": 0.7}, 0.7)],
)
def test_settings_of_a_task_are_those_of_a_sampler(given, temperature):
    assert sampling_of({**given, "top_p": 0.9, "num_beams": 1}).temperature == temperature
    assert sampling_of({"do_sample": True}).temperature == 1.0
    for strange, message in (({"num_beams": 4}, "num_beams"), ({"penalty_alpha": 1}, "penalty_alpha of a task")):
        with pytest.raises(BadInput, match=message):
            sampling_of({**given, **strange})


def test_a_task_that_there_is_not_is_a_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"is no folder; give one with task files"):
        found(["sums"], tmp_path / "nowhere")
    index, names = found(["sums*"], TASKS)
    assert names == list(CHOICES) == index.all_tasks


def test_questions_that_cannot_be_had_are_a_sentence(judge, offline, tmp_path):
    text = (TASKS / "sums.yaml").read_text()
    (tmp_path / "lost.yaml").write_text(text.replace("task: sums", "task: lost").replace("sums.jsonl", "lost.jsonl"))
    with pytest.raises(BadInput, match="the questions of lost cannot be had"):
        examined(judge, *found(["lost"], tmp_path), Exam())


def test_the_verb_prints_the_harness_table_and_what_was_spent(folder, offline, tmp_path):
    words = ["eval", str(folder), "--tasks", "sums,sums_choice", "--include-path", str(TASKS), "--limit", "2"]
    done = CliRunner().invoke(app, [*words, "--dtype", "float32", "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["n-samples"]["sums"]["effective"] == 2
    spent = report["decant"]["tasks"]["sums"]
    assert (spent["requests"], report["decant"]["likelihoods"]) == (2, 6)
    assert "|sums_choice|" in done.stdout
    assert f"draft-model  2         {spent['tokens']}" in done.stdout
    assert "6 likelihoods are the model's own scores; the method plays no part" in done.stderr
    assert CliRunner().invoke(app, ["eval", str(folder), "--tasks", " , "]).exit_code == 2


@pytest.mark.slow
def test_scores_are_those_of_the_harness_own_type(offline):
    """house:target with a drafter, and through transformers: the same scores, the same answers."""
    from lm_eval import simple_evaluate

    from decant.house import __file__ as house

    index, names = found(["sums*"], TASKS)
    settings = {"tasks": names, "task_manager": index, "torch_random_seed": None, "bootstrap_iters": 0}
    given = {"pretrained": str(Path(house).parent / "target"), "dtype": "float32"}
    ours = simple_evaluate(model="decant", model_args={**given, "method": "draft-model"}, batch_size=4, **settings)
    theirs = simple_evaluate(model="hf", model_args=given, batch_size=4, device="cpu", **settings)
    assert ours["config"]["model"] == "decant"
    for task, metric in zip(CHOICES, ("exact_match,none", "acc,none", "bits_per_byte,none"), strict=True):
        assert ours["results"][task][metric] == pytest.approx(theirs["results"][task][metric], rel=1e-5)
    answers = [[one["resps"] for one in found["samples"]["sums"]] for found in (ours, theirs)]
    assert answers[0] == answers[1]

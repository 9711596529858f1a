"""Flags that choose tokens, in the verbs that share them."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.models.spelling import vocabulary

PROMPT = "Take 1, then add 2."


@pytest.fixture
def decant(folder):
    """`decant VERB FOLDER ...`"""
    return lambda verb, *words: CliRunner().invoke(app, [verb, str(folder), "--dtype", "float32", *words])


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("Take 1, then add 2.\nTake 3, then add 4.\n")
    return str(file)


def test_log_probabilities_go_into_the_json(decant):
    said = json.loads(decant("generate", PROMPT, "--max-tokens", "4", "--logprobs", "2", "--json", "-").stdout)
    assert [one["id"] for one in said["logprobs"]] == said["tokens"]
    for one in said["logprobs"]:
        assert one["top"][0] == {"id": one["id"], "logp": one["logp"]}, "greedy text is the likeliest"
        assert len(one["top"]) == 2


def test_and_into_the_lines_of_many(decant, prompts):
    words = ("--prompts", prompts, "--max-tokens", "3", "--logprobs", "0", "--processed-logprobs")
    lines = [json.loads(line) for line in decant("generate", *words).stdout.splitlines()]
    assert [[(one["logp"], one["top"]) for one in line["logprobs"]] for line in lines] == [[(0.0, [])] * 3] * 2
    assert "logprobs" not in json.loads(decant("generate", *words[:4]).stdout.splitlines()[0])


def test_explain_says_what_is_done_and_where_it_is_from(decant):
    words = ("--top-k", "5", "--repetition-penalty", "1.2", "--dry-multiplier", "0.5", "--logit-bias", "7=-2")
    done = decant("generate", PROMPT, "--max-tokens", "3", *words, "--verifier", "rejection", "--explain")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[:9] == [
        "what is done to logits, in this order:",
        "  logit_bias {7: -2.0}  (command line)",
        "  repetition_penalty 1.2  (command line)",
        "  dry_multiplier 0.5 with dry_base 1.75, dry_allowed_length 2  (command line)",
        "  temperature 1.0  (default)",
        "  top_k 5  (command line)",
        "method draft-model  (default)",
        "verifier rejection  (command line)",
        "policy fixed:depth=5  (the method's own)",
    ]
    assert "done to logits" not in decant("generate", PROMPT, "--max-tokens", "3", "--explain", "--quiet").stderr


def test_bench_and_prove_run_under_the_same_settings(decant, prompts):
    words = ("--prompts", prompts, "--max-tokens", "8", "--exact", "on", "--no-repeat-ngram-size", "1", "--json", "-")
    raced = json.loads(decant("bench", "--methods", "prompt-lookup", "--repeat", "1", *words).stdout)
    assert raced["settings"]["no_repeat_ngram_size"] == 1
    assert {row["identical"] for row in raced["methods"]} == {True}
    proven = json.loads(decant("prove", "--method", "prompt-lookup", *words).stdout)
    assert (proven["holds"], proven["settings"]["no_repeat_ngram_size"]) == (True, 1)


@pytest.mark.parametrize("lead", [("--guidance", "2", "--negative-prompt", "add"), ("--dola", "high"), ("--contrast",)])
def test_what_leads_a_text_leads_plain_decoding_too(decant, prompts, draft_folder, lead):
    lead = (*lead, str(draft_folder)) if lead == ("--contrast",) else lead
    words = ("--prompts", prompts, "--max-tokens", "8", "--exact", "on", *lead, "--json", "-")
    raced = json.loads(decant("bench", "--methods", "prompt-lookup,draft-model", "--repeat", "1", *words).stdout)
    assert {row["identical"] for row in raced["methods"]} == {True}
    assert lead[0].removeprefix("--") in raced["settings"]
    proven = json.loads(decant("prove", "--method", "prompt-lookup", *words).stdout)
    assert proven["holds"] is True
    plain = json.loads(decant("generate", PROMPT, "--method", "plain", *words[2:]).stdout)
    drafted = decant("generate", PROMPT, "--explain", *words[2:])
    assert json.loads(drafted.stdout)["tokens"] == plain["tokens"]
    assert drafted.stderr.splitlines()[1].startswith(f"  {lead[0].removeprefix('--')} {lead[1]}"), drafted.stderr
    assert drafted.stderr.splitlines()[1].endswith("(command line)")


def test_a_certificate_under_a_grammar(decant, prompts):
    """The planted fault says what the grammar forbids, which is as good as caught."""
    pytest.importorskip("llguidance")
    words = ("--prompts", prompts, "--max-tokens", "8", "--exact", "on", "--regex", "[a-z ]{9}", "--json", "-")
    proven = json.loads(decant("prove", "--method", "token-recycling", "--temperature", "1", *words).stdout)
    assert proven["holds"] is True
    assert proven["checks"][0]["planted_fault_caught"] is True
    assert proven["settings"]["constraint"] == "Regex(pattern='[a-z ]{9}')"


@pytest.mark.parametrize("how", ["json", "regex", "grammar", "choice"])
def test_structured_output(decant, tmp_path, how):
    pytest.importorskip("llguidance")
    schema, lark = tmp_path / "s.json", tmp_path / "g.lark"
    schema.write_text('{"enum": ["Take"]}')
    lark.write_text('start: "Take" | "add"')
    words = {
        "json": ("--json-schema", str(schema)),
        "regex": ("--regex", "Take|add"),
        "grammar": ("--grammar", str(lark)),
        "choice": ("--choice", "Take", "--choice", "add"),
    }[how]
    done = decant("generate", PROMPT, "--max-tokens", "16", *words)
    assert done.stdout.strip().strip('"') in {"Take", "add"}, done.output


def test_compact_json_holds_no_white_space(decant, target, tmp_path):
    """A model that wants white space goes on with it for as long as it may."""
    pytest.importorskip("llguidance")
    schema = tmp_path / "s.json"
    schema.write_text('{"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}')
    space = vocabulary(target.tokenizer).unique[b" "]
    words = ("--max-tokens", "24", "--json-schema", str(schema), "--logit-bias", f"{space}=100")
    spacious = decant("generate", PROMPT, *words)
    compact = decant("generate", PROMPT, *words, "--json-compact", "--explain")
    assert not spacious.stdout.strip("[ "), "the bias must ask for spaces"
    assert len(json.loads(compact.stdout)) == 2, compact.output
    assert " " not in compact.stdout
    assert "  the JSON schema without white space  (command line)" in compact.stderr.splitlines()


def test_explain_says_what_of_a_generation_config_is_not_honoured(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "model")
    said = {"suppress_tokens": [7], "sequence_bias": [[[5], -2.0], [[5, 6], 1.0]], "begin_suppress_tokens": [8]}
    (own / "generation_config.json").write_text(json.dumps(said))
    (own / "decant.json").unlink(missing_ok=True)
    words = ["generate", str(own), PROMPT, "--dtype", "float32", "--exact", "off", "--max-tokens", "2", "--explain"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[1:6] == [
        "  sequence_bias {5: -2.0}  (generation_config.json)",
        "  suppress_tokens [7]  (generation_config.json)",
        "  temperature 0.0  (default)",
        "  not sequence_bias of generation_config.json [[[5, 6], 1.0]]: not honoured: single tokens are biased, by 100 "
        "nats at most",
        "  not begin_suppress_tokens of generation_config.json [8]: not honoured: no part knows the first token",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--json-compact",), "--json-compact goes with --json-schema, which was not given; give both or neither"),
        (("--json-compact", "--regex", "a"), "--json-compact goes with --json-schema, which was not given"),
        (("--repetition-penalty", "-1"), "repetition_penalty is more than 0, got -1.0"),
        (("--mirostat", "2", "--top-k", "5"), "mirostat 2 decides by itself how many tokens stay; leave out top_k"),
        (("--dry-base", "2"), "dry_base goes with dry_multiplier, which was not given"),
        (("--logit-bias", "5"), "--logit-bias '5' is not ID=BIAS; give a token's id and nats, as in 42=-5"),
        (("--logit-bias", "99999=1"), "logit_bias names token 99999, but the ids of"),
        (("--bad-words", ""), "one of bad_words is empty"),
        (("--regex", "a", "--choice", "b"), "--regex and --choice each say what the whole text is; give one of them"),
        (("--json-schema", "nowhere.json"), "--json-schema nowhere.json cannot be read: No such file or directory"),
        (("--choice", "a.b", "--stop", "."), "the stop string '.' cuts the choice 'a.b'"),
        (("--processed-logprobs",), "logprobs how many; give both or neither"),
        (("--guidance", "1.5", "--dola", "low"), "guidance and dola each lead the text; give one of them"),
        (("--negative-prompt", "no"), "negative_prompt goes with guidance or contrast, and neither was given"),
        (("--guidance", "2", "--method", "early-exit"), "which does not go with guidance 2; take prompt-lookup or"),
        (
            ("--method", "bild", "--logprobs", "1"),
            "bild decodes in a loop of its own, which tells no log-probabilities",
        ),
    ],
)
def test_what_the_user_can_mend_is_a_sentence(decant, words, message):
    done = decant("generate", PROMPT, "--max-tokens", "4", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_bound_of_acceptance_refuses_a_history(decant, prompts):
    words = ("--prompts", prompts, "--acceptance-bound", "--temperature", "1", "--max-tokens", "4")
    done = decant("bench", *words, "--presence-penalty", "1")
    assert done.exit_code == 2
    assert "laws without a history; leave out presence_penalty" in done.stderr

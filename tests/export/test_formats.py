"""What an engine is told: settings as its own sources take them, a launch line, and what it has no words for."""

import json
import os
import subprocess

import pytest

from decant.errors import BadInput, IncompatibleParts
from decant.export import llama_cpp, sglang, vllm
from decant.export.evidence import Evidence
from decant.export.formats import ENGINES, Asked, refuse_method, run
from decant.export.names import FORMATS, TITLES, known
from decant.export.source import Source
from decant.export.speculation import Speculation
from decant.models.build import LlamaSpec, add_settings, save_folder, untrained
from tests.export import schemas
from tests.export.untaught import IDS, head, target

jsonschema = pytest.importorskip("jsonschema", reason="settings are validated with jsonschema")
SPEC = LlamaSpec(vocab=64, hidden=16, layers=1, heads=2, kv_heads=1, intermediate=32, head_dim=8)
LOOKUP = {"ngram": 3, "min_ngram": 1}
SUFFIX = {"longest": 32, "factor": 2.0, "floor": 0.1}
CHECKS = {"checks": [{"name": "prompt-lookup", "holds": True}], "holds": True, "not_covered": ["Other machines."]}


def draft() -> Source:
    return Source("draft", untrained(LlamaSpec(48, 16, 1, 2, 1, 32, head_dim=8)), None)


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        (Speculation(), {}),
        (
            Speculation("draft-model", draft(), depth=4),
            {"method": "draft_model", "num_speculative_tokens": 4, "model": "draft"},
        ),
        (
            Speculation("prompt-lookup", depth=6, knobs=LOOKUP),
            {"method": "ngram", "num_speculative_tokens": 6, "prompt_lookup_max": 3, "prompt_lookup_min": 1},
        ),
        (
            Speculation("suffix", depth=16, knobs=SUFFIX),
            {
                "method": "suffix",
                "num_speculative_tokens": 16,
                "suffix_decoding_max_tree_depth": 48,
                "suffix_decoding_max_spec_factor": 2.0,
                "suffix_decoding_min_token_prob": 0.1,
            },
        ),
    ],
    ids=lambda value: getattr(value, "method", ""),
)
def test_vllm_takes_the_settings(asked, settings, tmp_path):
    launch = vllm.write(target(), asked, tmp_path)
    assert launch.settings == settings
    if settings:
        jsonschema.validate(settings, schemas.VLLM)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**settings, "tensor_parallel_size": 1}, schemas.VLLM)
    assert ("--speculative-config" in launch.command) == bool(settings)
    assert (tmp_path / "draft").exists() == (asked.method == "draft-model")


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        (Speculation("draft-model", draft(), depth=4), (4, 1, 5)),
        (Speculation("draft-tree", draft(), depth=6, width=8, budget=48), (6, 8, 49)),
        (Speculation("draft-tree", draft(), depth=2, width=2, budget=48), (2, 2, 7)),
    ],
    ids=["chain", "tree", "no more nodes than there are"],
)
def test_sglang_takes_depth_width_and_nodes(asked, drawn, tmp_path):
    settings = sglang.write(target(), asked, tmp_path).settings
    jsonschema.validate(settings, schemas.SGLANG)
    names = ("speculative_num_steps", "speculative_eagle_topk", "speculative_num_draft_tokens")
    assert tuple(settings[name] for name in names) == drawn


def test_sglang_looks_up_the_prompt(tmp_path):
    launch = sglang.write(target(), Speculation("prompt-lookup", depth=6, knobs=LOOKUP), tmp_path)
    jsonschema.validate(launch.settings, schemas.SGLANG)
    assert launch.command[-4:] == (
        "--speculative-ngram-min-match-window-size", "1", "--speculative-ngram-max-match-window-size", "3",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Speculation(), ""),
        (
            Speculation("prompt-lookup", depth=6, knobs=LOOKUP),
            "--spec-type ngram-simple --spec-ngram-simple-size-n 3 --spec-ngram-simple-size-m 6",
        ),
        (
            Speculation("draft-model", draft(), depth=4),
            "--spec-type draft-simple --spec-draft-model draft.gguf --spec-draft-n-max 4",
        ),
    ],
    ids=lambda value: getattr(value, "method", ""),
)
def test_llama_cpp_takes_the_words(asked, words, tmp_path):
    pytest.importorskip("gguf", reason="the package gguf is not installed (make peers)")
    launch = llama_cpp.write(target(), asked, tmp_path)
    assert launch.command == ("llama-server", "--model", "target.gguf", *words.split())
    if asked.method != "plain":
        jsonschema.validate(launch.settings, schemas.LLAMA_CPP)
    wanted = {"target.gguf", *(word for word in words.split() if word.endswith(".gguf"))}
    assert {file.name for file in tmp_path.iterdir()} == wanted


@pytest.mark.parametrize("before", [True, False])
def test_llama_cpp_takes_a_head_of_eagle3_with_ids_and_layers_by_their_inputs(before, tmp_path):
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed (make peers)")
    folder = head("eagle3", tmp_path / "head", norm_before_residual=before)
    asked = Speculation("eagle3", head=folder, depth=6, width=8)
    (tmp_path / "out").mkdir()
    launch = llama_cpp.write(target(), asked, tmp_path / "out")
    assert launch.settings == {"spec_type": "draft-eagle3", "spec_draft_model": "draft.gguf", "spec_draft_n_max": 6}
    jsonschema.validate(launch.settings, schemas.LLAMA_CPP)
    assert launch.remarks[0] == "llama.cpp drafts a chain where decant draws a tree."
    reader = gguf.GGUFReader(tmp_path / "out" / "draft.gguf")
    assert reader.fields["general.architecture"].contents() == "eagle3"
    assert reader.fields["eagle3.target_layers"].contents() == [1, 2, 3]
    assert reader.fields["eagle3.norm_before_residual"].contents() is before
    tensors = {one.name: one for one in reader.tensors}
    assert tensors["d2t"].data.tolist() == IDS.tolist()  # ids, where safetensors hold offsets
    assert tensors["blk.0.attn_q.weight"].shape.tolist() == [64, 32]
    assert {"fc.weight", "output.weight", "output_norm.weight", "blk.0.attn_norm_2.weight"} < set(tensors)


def test_a_draft_of_another_tokenizer_is_for_vllm_alone(tmp_path):
    other = Source("other", untrained(SPEC), None)
    with pytest.raises(
        IncompatibleParts, match="other has another tokenizer than target; take a draft of the same one"
    ):
        sglang.write(target(), Speculation("draft-model", other), tmp_path / "a")
    settings = vllm.write(target(), Speculation("shared-vocabulary", other), tmp_path / "b").settings
    assert settings["use_heterogeneous_vocab"] is True
    jsonschema.validate(settings, schemas.VLLM)
    with pytest.raises(BadInput, match="draft-model needs a draft model, and target names none; give one with --draft"):
        vllm.write(target(), Speculation("draft-model"), tmp_path / "c")


@pytest.mark.parametrize(
    ("engine", "method", "said"),
    [
        (
            "sglang",
            "medusa",
            r"SGLang has nothing that drafts as medusa does; it knows .*; medusa can be exported to vLLM",
        ),
        ("llama.cpp", "eagle-2", r"llama\.cpp has nothing .*; eagle-2 can be exported to vLLM and SGLang"),
        ("vllm", "lookahead", r"vLLM has nothing .*; lookahead is decant's own"),
    ],
)
def test_a_method_without_words_names_who_has_them(engine, method, said):
    with pytest.raises(BadInput, match=said):
        refuse_method(engine, method)
    assert refuse_method("vllm", "medusa") is None


@pytest.mark.parametrize(
    ("formats", "said"),
    [
        ("ggml", "names no format 'ggml'; take transformers, int8, gguf, vllm, sglang, llama.cpp"),
        ("vllm,vllm", "twice"),
        (",", "no format"),
    ],
)
def test_formats_that_there_are_not(formats, said):
    with pytest.raises(BadInput, match=said):
        known(formats)
    assert known("vllm, sglang") == ("vllm", "sglang")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "mine"
    save_folder(untrained(SPEC), folder)
    add_settings(folder, "decant.json", {})
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    return folder


def test_several_formats_lie_side_by_side(folder, tmp_path):
    asked = Speculation("prompt-lookup", depth=6, knobs=LOOKUP)
    reports = run(Asked(str(folder), tmp_path, ("transformers", "vllm", "sglang"), speculation=lambda whose: asked))
    assert [report["to"] for report in reports] == ["transformers", "vllm", "sglang"]
    for report in reports:
        out = tmp_path / report["to"]
        assert report["out"] == str(out)
        assert {file["path"]: file["bytes"] for file in report["files"]} == {
            path.relative_to(out).as_posix(): path.stat().st_size for path in out.rglob("*") if path.is_file()
        }
    assert (tmp_path / "vllm" / "target" / "config.json").is_file()


@pytest.mark.parametrize("to", ["vllm", "sglang"])
def test_the_script_runs_the_command_and_the_card_says_what_was_not_run(to, folder, tmp_path):
    asked = Speculation("prompt-lookup", depth=6, knobs=LOOKUP)
    run(Asked(str(folder), tmp_path / "out", (to,), speculation=lambda whose: asked))
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\npipeline_tag: text-generation\ntags:\n- decant\n")
    assert "alidated against the format, not run" in card
    seen = tmp_path / "seen"
    program = tmp_path / ("vllm" if to == "vllm" else "python3")
    program.write_text(f'#!/bin/sh\npwd > {seen}\nfor word in "$@"; do echo "$word"; done >> {seen}\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([tmp_path / "out" / "launch.sh", "--port", "8001"], check=True, env=environment)
    where, *words = seen.read_text().split("\n", 1)
    assert where == str(tmp_path / "out")
    assert words[0].endswith("--port\n8001\n")
    if to == "vllm":
        said = words[0].removeprefix("serve\ntarget\n--speculative-config\n").removesuffix("--port\n8001\n")
        jsonschema.validate(json.loads(said), schemas.VLLM)


def test_what_was_proved_and_chosen_stands_on_the_card(folder, tmp_path):
    proof = tmp_path / "proof.json"
    proof.write_text(json.dumps(CHECKS))
    speedup = {"median": 2.4, "low": 2.2, "high": 2.6}
    choice = {"batch": 1, "temperature": 0.0, "method": "prompt-lookup", "speedup": speedup}
    run(Asked(str(folder), tmp_path / "out", ("transformers",), evidence=Evidence.read(proof, choice)))
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "`decant tune` chose `prompt-lookup` for batch 1, temperature 0: 2.40 times plain decoding (2.20 to 2.60)"
        in card
    )
    assert "The certificate `certificate.json` holds." in card
    assert "| prompt-lookup | holds |" in card
    assert "- Other machines.\n" in card
    assert json.loads((tmp_path / "out" / "certificate.json").read_text()) == CHECKS


@pytest.mark.parametrize("content", ["[]", '{"no": 1}', "{"])
def test_a_file_that_is_no_certificate_is_refused(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(BadInput, match=r"a\.json (holds no checks|cannot be read)"):
        Evidence.read(tmp_path / "a.json")


def test_where_nothing_can_be_written_nothing_is_left(folder, tmp_path):
    other = Source("other", untrained(LlamaSpec(48, 16, 1, 2, 1, 32, head_dim=8)), None)
    asked = Asked(str(folder), tmp_path / "out", ("vllm",), speculation=lambda whose: Speculation("draft-model", other))
    with pytest.raises(IncompatibleParts):
        run(asked)
    assert not (tmp_path / "out").exists()


def test_every_engine_says_its_methods_in_decant_s_words():
    from decant.apps.catalog import METHODS

    assert {name for module in ENGINES.values() for name in module.METHODS} <= set(METHODS)
    assert list(ENGINES) == list(TITLES) == [name for name in FORMATS if name in ENGINES]

"""Heads as other engines load them: computed from the written files alone, they say what decant's say."""

import json

import pytest
import torch

from decant.errors import IncompatibleParts
from decant.export import layouts, sglang, vllm
from decant.export.source import Source
from decant.export.speculation import Speculation
from decant.models.build import LlamaSpec, untrained
from decant.models.heads import folder as folders
from tests.export import as_others, schemas
from tests.export.untaught import IDS, LAYERS, VOCAB, head, read, states, target, text

jsonschema = pytest.importorskip("jsonschema", reason="configurations are validated with jsonschema")
SOME_OR_ALL = pytest.mark.parametrize("ids", [IDS, None], ids=["some ids", "all ids"])
ENGINES = pytest.mark.parametrize("engine", [vllm, sglang], ids=["vllm", "sglang"])


def exported(engine, kind: str, tmp_path, ids=IDS, **knobs):
    """The folder of the head, and how the engine is started."""
    asked = Speculation(kind, head=head(kind, tmp_path / "head", ids, **knobs), depth=4)
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "draft", engine.write(target(), asked, tmp_path / "out")


def whole(said_TV: torch.Tensor, ids) -> torch.Tensor:
    """Over the target's ids."""
    if ids is None:
        return said_TV
    return said_TV.new_full((len(said_TV), VOCAB), -torch.inf).index_copy(-1, ids, said_TV)


@pytest.mark.parametrize(("engine", "knobs"), [(vllm, {}), (sglang, {}), (vllm, {"norm_before_residual": True})])
@SOME_OR_ALL
@torch.no_grad()
def test_eagle3_says_the_same_from_its_files(engine, knobs, ids, tmp_path):
    out, _ = exported(engine, "eagle3", tmp_path, ids, **knobs)
    whose = target()
    net, (ids_T, hidden_TF) = read(tmp_path / "head", whose), text(3)
    said = net.logits(states(net, ids_T, hidden_TF))
    table_VD = whose.network.get_input_embeddings().weight
    found = as_others.eagle3(out, table_VD, ids_T[1:], hidden_TF[:-1])
    assert torch.allclose(found, whole(said, ids), atol=1e-4)
    swapped = as_others.eagle3(out, table_VD, ids_T[1:], hidden_TF[:-1].roll(32, -1))
    assert not torch.allclose(swapped, whole(said, ids), atol=1e-2)  # layers in another order


@SOME_OR_ALL
@torch.no_grad()
def test_eagle_says_the_same_from_its_files(ids, tmp_path):
    out, launch = exported(sglang, "eagle", tmp_path, ids)
    whose = target()
    net, (ids_T, hidden_TF) = read(tmp_path / "head", whose), text(1)
    found = as_others.eagle(out, whose.network.get_input_embeddings().weight, ids_T[1:], hidden_TF[:-1])
    assert torch.allclose(found, states(net, ids_T, hidden_TF), atol=1e-4)
    assert as_others.opened(out)[1]["fc.bias"].any()
    if ids is None:
        assert "speculative_token_map" not in launch.settings
    else:
        assert torch.load(out.parent / launch.settings["speculative_token_map"], weights_only=True) == ids.tolist()


@torch.no_grad()
def test_vllm_has_no_room_for_eagle_s_bias(tmp_path):
    with pytest.raises(IncompatibleParts, match="which vLLM's EAGLE has no room for; export it with --to sglang"):
        exported(vllm, "eagle", tmp_path)
    assert not (tmp_path / "out" / "draft").exists()
    (tmp_path / "straight").mkdir()
    out, launch = exported(vllm, "eagle", tmp_path / "straight", bias=False)
    assert "fc.bias" not in as_others.opened(out)[1]
    assert launch.remarks == ("decant guesses 16 ids with this head, vLLM all 48.",)
    (tmp_path / "other").mkdir()
    there, _ = exported(sglang, "eagle", tmp_path / "other", bias=False)
    assert not as_others.opened(there)[1]["fc.bias"].any()


@SOME_OR_ALL
@pytest.mark.parametrize("shared", [True, False])
@torch.no_grad()
def test_medusa_says_the_same_from_its_files(shared, ids, tmp_path):
    out, launch = exported(vllm, "medusa", tmp_path, ids, shared=shared)
    net, (_, hidden_TD) = read(tmp_path / "head", target()), text(1)
    said_TKV = net(hidden_TD)
    found = as_others.medusa(out, hidden_TD)
    assert torch.allclose(found if ids is None else found[..., ids], said_TKV, atol=0.03, rtol=0.02)  # one in bfloat16
    assert launch.settings["num_speculative_tokens"] == 3
    assert ("token_map" in as_others.opened(out)[1]) == (ids is not None)


@pytest.mark.parametrize(
    ("engine", "kind", "schema"),
    [
        (vllm, "eagle", schemas.VLLM_EAGLE),
        (vllm, "eagle3", schemas.VLLM_EAGLE3),
        (vllm, "medusa", schemas.VLLM_MEDUSA),
        (sglang, "eagle", schemas.SGLANG_EAGLE),
        (sglang, "eagle3", schemas.SGLANG_EAGLE3),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_config_json_is_what_the_engine_reads(engine, kind, schema, tmp_path):
    knobs = {"bias": False} if kind == "eagle" else {}
    out, _ = exported(engine, kind, tmp_path, **knobs)
    config = json.loads((out / "config.json").read_text())
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "architectures": ["LlamaForCausalLM"]}, schema)
    if kind == "medusa":
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**config, "num_attention_heads": 4}, schema)


def test_layers_are_counted_by_inputs_for_vllm_and_by_outputs_for_sglang(tmp_path):
    found = {}
    for engine in (vllm, sglang):
        (tmp_path / engine.__name__).mkdir()
        out, _ = exported(engine, "eagle3", tmp_path / engine.__name__)
        config = json.loads((out / "config.json").read_text())
        found[engine] = config["eagle_config"]["eagle_aux_hidden_state_layer_ids"]
        assert ("eagle_aux_hidden_state_layer_ids" in config) == (engine is vllm)
    assert found == {vllm: [1, 2, 3], sglang: [0, 1, 2]}


@pytest.mark.parametrize(("engine", "kind"), [(sglang, "eagle3"), (vllm, "eagle3"), (sglang, "eagle")])
@pytest.mark.parametrize("ours", [True, False], ids=["with our block", "without"])
def test_decant_reads_what_it_exported(engine, kind, ours, tmp_path):
    out, _ = exported(engine, kind, tmp_path)
    if not ours:
        config = json.loads((out / "config.json").read_text())
        del config["decant"]
        (out / "config.json").write_text(json.dumps(config))
    back, first = folders.read(out, LAYERS), folders.read(tmp_path / "head", LAYERS)
    assert back.spec.taps == first.spec.taps
    assert all(torch.equal(back.state_dict()[name], weight) for name, weight in first.state_dict().items())


def test_sglang_has_no_room_for_a_residual_behind_the_norm(tmp_path):
    with pytest.raises(IncompatibleParts, match=r"SGLang never does; export it with --to vllm or --to llama\.cpp"):
        exported(sglang, "eagle3", tmp_path, norm_before_residual=True)
    assert not (tmp_path / "out" / "draft").exists()


@ENGINES
def test_a_head_behind_the_last_norm_is_refused(engine, tmp_path):
    folder = head("eagle3", tmp_path / "head")
    config = json.loads((folder / "config.json").read_text())
    config["decant"]["taps"] = [1, 2, -1]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(IncompatibleParts, match="what layers 1 to 3 are fed, not what lies behind the last norm"):
        engine.write(target(), Speculation("eagle3", head=folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_target_s_head_is_refused(tmp_path):
    other = Source("other", untrained(LlamaSpec(50, 32, LAYERS, 4, 2, 64, head_dim=8)), None)
    with pytest.raises(IncompatibleParts, match="width 32 and 48 ids, other has width 32 and 50 ids; give the head"):
        layouts.read(head("eagle", tmp_path / "head"), other)


def test_weights_that_the_engine_does_not_allocate_are_not_written(tmp_path):
    net = read(head("eagle3", tmp_path / "head"), target())
    weights, shapes = layouts.eagle3(net)
    weights["fc.weight"] = weights["fc.weight"].T.contiguous()
    with pytest.raises(RuntimeError, match=r"weights that the engine does not allocate so: fc\.weight"):
        layouts.write(tmp_path / "out", {}, weights, shapes)
    assert not (tmp_path / "out").exists()

"""Head folders: what is written can be read again, by others' names as well; what is broken is said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from decant.errors import BadInput, IncompatibleParts
from decant.models.build import LlamaSpec, save_folder
from decant.models.build import untrained as untrained_llama
from decant.models.heads.ends import Ends
from decant.models.heads.folder import read, ready, save, untrained
from decant.models.heads.spec import HeadSpec, default_taps
from decant.models.load import load
from decant.types import Draft

VOCAB, WIDTH = 40, 64
IDS = torch.arange(1, VOCAB, 3)
KNOBS = {
    "medusa": {"num_heads": 2, "shared": False},
    "glide": {"width": 24, "layers": 2},
    "fspad": {"gate": 4, "branch": 8},
    "falcon": {"memory": 24},
    "chimera": {"gram": 8},
}
KINDS = ["medusa", "eagle", "eagle3", "glide", "fspad", "falcon", "chimera"]


def llama():
    return untrained_llama(LlamaSpec(VOCAB, WIDTH, 3, 4, 2, 24, head_dim=16))


def written(kind: str, folder: Path, ids=IDS):
    taps = (1, 2, -1) if kind in {"eagle3", "glide"} else (-1,)
    draft_vocab = 0 if ids is None else len(ids)
    spec = HeadSpec.beside(kind, "llama", llama().config, taps=taps, draft_vocab=draft_vocab, knobs=KNOBS.get(kind, {}))
    net = untrained(spec, ids, seed=1)
    save(net, folder)
    return net


@pytest.mark.parametrize("ids", [IDS, None], ids=["some ids", "all ids"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_read_as_it_was_written(kind, ids, tmp_path):
    net = written(kind, tmp_path, ids)
    back = read(tmp_path)
    assert back.spec == net.spec
    assert (back.ids_V is None) if ids is None else torch.equal(back.ids_V, ids)
    assert back.state_dict().keys() == net.state_dict().keys()
    for name, weight in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight.bfloat16().float()), name
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    stored = load_file(tmp_path / "model.safetensors")
    assert {weight.dtype for name, weight in stored.items() if name not in {"d2t", "t2d"}} == {torch.bfloat16}


def test_the_map_of_ids_holds_offsets(tmp_path):
    written("eagle3", tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert torch.equal(stored["d2t"] + torch.arange(len(IDS)), IDS)
    assert stored["t2d"].dtype == torch.bool
    assert torch.equal(stored["t2d"].nonzero()[:, 0], IDS)


def test_the_published_names(tmp_path):
    """SGLang and vLLM look for these."""
    written("eagle3", tmp_path)
    layer = {f"midlayer.self_attn.{part}_proj.weight" for part in "qkvo"}
    layer |= {f"midlayer.mlp.{part}_proj.weight" for part in ("gate", "up", "down")}
    layer |= {f"midlayer.{norm}.weight" for norm in ("hidden_norm", "input_layernorm", "post_attention_layernorm")}
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == layer | {"fc.weight", "norm.weight", "lm_head.weight", "d2t", "t2d"}
    assert stored["fc.weight"].shape == (WIDTH, 3 * WIDTH)
    assert stored["midlayer.self_attn.q_proj.weight"].shape == (64, 2 * WIDTH)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLMEagle3"]
    assert config["draft_vocab_size"] == len(IDS)
    assert "eagle_aux_hidden_state_layer_ids" not in config, "they know no -1"
    spec = read(tmp_path).spec
    assert spec.taps == (1, 2, -1)
    layers = replace(spec, taps=(1, 2, 2)).written("LlamaForCausalLMEagle3")["eagle_aux_hidden_state_layer_ids"]
    assert layers == [1, 2, 2]


@pytest.mark.parametrize(
    ("said", "taps"),
    [
        ({"eagle_aux_hidden_state_layer_ids": [2, 16, 29]}, (2, 16, 29)),
        ({"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 15, 28]}}, (2, 16, 29)),
        (
            {
                "eagle_aux_hidden_state_layer_ids": [2, 16, 29],
                "eagle_config": {"eagle_aux_hidden_state_layer_ids": [2, 16, 29]},
            },
            (2, 16, 29),
        ),
        ({"eagle_config": {"use_aux_hidden_state": True}}, (2, 16, 29)),
    ],
    ids=["vLLM, speculators", "SGLang", "decant for vLLM", "nobody"],
)
def test_layers_are_inputs_at_the_top_and_outputs_under_eagle_config(said, taps, tmp_path):
    """What SGLang and vLLM hand over for these; decant's own block, which would answer first, is not there."""
    written("eagle3", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["decant"]
    (tmp_path / "config.json").write_text(json.dumps(config | said))
    assert read(tmp_path, layers=32).spec.taps == taps


@pytest.mark.parametrize("before", [True, False, None])
@torch.no_grad()
def test_the_residual_lies_behind_the_norm_where_the_configuration_says_so(before, tmp_path):
    """As speculators trains heads and vLLM computes them: the weights are the same, the mathematics is not."""
    net = written("eagle3", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    said = {} if before is None else {"norm_before_residual": before}
    (tmp_path / "config.json").write_text(json.dumps(config | said))
    back = read(tmp_path).bind(Ends(torch.ones(VOCAB, WIDTH), lambda hidden: hidden))
    state = torch.arange(5.0 * WIDTH).view(5, WIDTH)
    attended, residual = back.inputs(torch.arange(5), state)
    assert not torch.allclose(attended[:, WIDTH:], state)
    assert torch.equal(residual, attended[:, WIDTH:] if before else state)
    save(back, tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again.get("norm_before_residual", False) is bool(before)
    assert read(tmp_path / "again").spec == back.spec
    assert (back.spec == net.spec) is not bool(before)


@pytest.mark.parametrize("prefix", ["layers.0.", "model.layers.0.", "midlayer."])
def test_heads_of_others_are_read(prefix, tmp_path):
    """A folder of SGLang's or of speculators: other prefixes, a copy of the embedding, a nested configuration, and
    nobody says how many layers the teacher has."""
    net = written("eagle3", tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    renamed = {name.replace("midlayer.", prefix): weight for name, weight in stored.items()}
    save_file({**renamed, "embed_tokens.weight": torch.zeros(VOCAB, WIDTH)}, tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    layer = {key: config[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")}
    layer |= {key: config[key] for key in ("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta")}
    verifier = {"verifier": {"name_or_path": "somebody/llama"}}
    config = {"architectures": ["Eagle3Speculator"], "transformer_layer_config": layer, "speculators_config": verifier}
    (tmp_path / "config.json").write_text(json.dumps(config | {"draft_vocab_size": len(IDS)}))
    back = read(tmp_path, layers=32)
    assert back.spec.teacher == "somebody/llama"
    assert back.spec.taps == (2, 16, 29)
    assert torch.equal(back.ids_V, IDS)
    for name, weight in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight.bfloat16().float()), name


def test_tapped_layers_are_counted_as_the_published_code_counts_them():
    """Outputs of layers 1, L/2 - 1 and L - 4 from 0; a hidden state's index is one more."""
    assert default_taps(32) == (1 + 1, 15 + 1, 28 + 1)
    assert default_taps(6) == (2, 4, -1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_ready_beside_its_target_and_the_enlarged_one(kind, tmp_path):
    save_folder(llama(), tmp_path / "target")
    written(kind, tmp_path / "head")
    plain = load(str(tmp_path / "target"), dtype="float32", exact="off")
    wide = load(str(tmp_path / "target"), dtype="float32", exact="off", widen="1M")
    assert wide.model.network.config.hidden_size > WIDTH
    prompt = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    said = []
    for loaded in (plain, wide):
        head = ready(read(tmp_path / "head"), loaded.model.network)
        from decant.types import Taps

        _, prefill = loaded.model.start(prompt, Taps(layers=head.layers))
        hidden = prefill.hidden(head.layers)
        if kind == "medusa":
            said.append(head.said(hidden[:, -1]))
        else:
            guess = head.guess(head.start(prompt, hidden))
            guess(Draft(torch.tensor([[]], dtype=torch.int64)))
            said.append(guess(Draft(torch.tensor([[7]]))))
    assert said[0].shape[-1] == VOCAB
    torch.testing.assert_close(said[0], said[1], rtol=1e-3, atol=1e-3)


def test_the_head_of_another_model_is_refused(tmp_path):
    save_folder(untrained_llama(LlamaSpec(VOCAB, 32, 2, 2, 1, 24, head_dim=16)), tmp_path / "target")
    written("eagle", tmp_path / "head")
    target = load(str(tmp_path / "target"), dtype="float32", exact="off")
    with pytest.raises(IncompatibleParts, match="taught by llama of width 64 and 40 ids, but the target has width 32"):
        ready(read(tmp_path / "head"), target.model.network)


def test_broken_folders_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"holds no config\.json; give the folder of a head"):
        read(tmp_path)
    written("eagle", tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    del stored["fc.weight"]
    save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match=r"does not hold the weights that config\.json promises.*fc\.weight"):
        read(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match="has pickle weights only"):
        read(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(BadInput, match=r"describes no head that is known here: its architectures are \['LlamaFor"):
        read(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["Eagle3DraftModel"], "norm_output": true}')
    with pytest.raises(BadInput, match=r"norm_output: this head reads .* behind its last norm .*; take one without it"):
        read(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path)

"""LLaDA's and Dream's folders say what their public mathematics says, and nothing of them is run or misread."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import decant
from decant.apps import prompts
from decant.diffusion import Fresh
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded, load
from decant.models.masked.convention import Convention
from tests.models.published import (
    DREAM,
    DREAM_SPECIALS,
    END,
    LLADA,
    LLADA_SPECIALS,
    MASK,
    ROWS,
    dream_network,
    llada_logits,
    llada_weights,
    write_dream_words,
    write_llada_words,
    write_model,
)

CLOSE = {"rtol": 0, "atol": 5e-5}
PROMPT = [3, 1, 4, 1, 5]
CANVAS = [MASK, 9, MASK, MASK, 6, 200, MASK]
OPEN = [5, 7, 8, 11]  # positions of the masks behind the prompt


def said(loaded: Loaded) -> Tensor:
    """logits_NV of the open places."""
    model, canvas_1L = loaded.masked, torch.tensor([CANVAS])
    assert model is not None
    with torch.inference_mode():
        state = model.start(torch.tensor([PROMPT]), canvas_1L)
        return model.predict(state, canvas_1L, Fresh.whole(canvas_1L), canvas_1L == MASK)[1]


def opened(network: Any) -> Tensor:
    """logits_TV of transformers' own blocks under an additive mask that forbids nothing."""
    ids_1T = torch.tensor([PROMPT + CANVAS])
    nothing_1TT = torch.zeros(1, 1, ids_1T.shape[1], ids_1T.shape[1])
    with torch.inference_mode():
        return network(ids_1T, attention_mask=nothing_1TT, use_cache=False).logits[0]


def sayable(logits_XV: Tensor, known: int = ROWS) -> Tensor:
    logits_XV = logits_XV.clone()
    logits_XV[..., MASK] = logits_XV[..., known:] = -torch.inf
    return logits_XV


def gap(have: Tensor, want: Tensor) -> float:
    return float((have - want).nan_to_num().abs().max())


@pytest.fixture(scope="module")
def llada(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_model(tmp_path_factory.mktemp("llada"), LLADA, llada_weights(LLADA))
    write_llada_words(folder)
    return folder


@pytest.fixture(scope="module")
def dream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_model(tmp_path_factory.mktemp("dream"), DREAM, dream_network().state_dict())
    write_dream_words(folder)
    return folder


@pytest.fixture(params=["llada", "dream"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(
    "changes",
    [{}, {"n_kv_heads": 2}, {"include_qkv_bias": True, "n_kv_heads": 2}, {"weight_tying": True}],
    ids=["plain", "grouped", "biases", "tied"],
)
def test_llada_is_its_own_mathematics(tmp_path, changes):
    config = LLADA | changes
    weights = llada_weights(config)
    loaded = load(str(write_model(tmp_path, config, weights)))
    want = llada_logits(weights, config, PROMPT + CANVAS)[OPEN]
    torch.testing.assert_close(said(loaded), sayable(want), **CLOSE)
    assert want.std() > 0.1, "the places say nothing: this test shows nothing"


def test_llada_is_transformers_llama_under_other_names(llada):
    names = {"attn_norm": "input_layernorm", "ff_norm": "post_attention_layernorm", "attn_out": "self_attn.o_proj"}
    names |= {f"{one}_proj": f"self_attn.{one}_proj" for one in "qkv"}
    names |= {"ff_proj": "mlp.gate_proj", "up_proj": "mlp.up_proj", "ff_out": "mlp.down_proj"}
    whole = {"wte": "model.embed_tokens", "ln_f": "model.norm", "ff_out": "lm_head"}
    renamed = {}
    for name, weight in load_file(llada / "model.safetensors").items():
        _, _, *parts, kind = name.split(".")
        ours = f"model.layers.{parts[1]}.{names[parts[2]]}" if parts[0] == "blocks" else whole[parts[0]]
        renamed[f"{ours}.{kind}"] = weight
    shape: dict[str, Any] = {"vocab_size": ROWS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    rope = {"rope_type": "default", "rope_theta": 500.0}
    config = LlamaConfig(**shape, num_attention_heads=4, rms_norm_eps=1e-5, rope_parameters=rope, dtype="float32")
    network = LlamaForCausalLM.from_pretrained(None, config=config, state_dict=renamed).eval()
    torch.testing.assert_close(said(load(str(llada))), sayable(opened(network)[OPEN], 261), **CLOSE)


def test_gate_and_up_are_not_each_other(llada, tmp_path):
    swapped = {
        name.replace("ff_proj", "?").replace("up_proj", "ff_proj").replace("?", "up_proj"): weight
        for name, weight in llada_weights(LLADA).items()
    }
    have = said(load(str(write_model(tmp_path, LLADA, swapped))))
    assert gap(have, sayable(llada_logits(llada_weights(LLADA), LLADA, PROMPT + CANVAS)[OPEN])) > 0.1


def test_dream_says_a_token_from_the_place_in_front(dream):
    loaded, logits_TV = load(str(dream)), sayable(opened(dream_network()), 261)
    assert loaded.masked.convention == Convention(MASK, shift=True)
    torch.testing.assert_close(said(loaded), logits_TV[[at - 1 for at in OPEN]], **CLOSE)
    unshifted = replace(loaded, masked=replace(loaded.masked, convention=Convention(MASK, shift=False)))
    torch.testing.assert_close(said(unshifted), logits_TV[OPEN], **CLOSE)
    assert gap(said(unshifted), said(loaded)) > 0.1, "the planted bug would not show"


def test_dream_with_one_embedding(tmp_path):
    config, network = DREAM | {"tie_word_embeddings": True}, dream_network(tie_word_embeddings=True)
    weights = {name: weight for name, weight in network.state_dict().items() if name != "lm_head.weight"}
    want = sayable(opened(network)[[at - 1 for at in OPEN]])
    torch.testing.assert_close(said(load(str(write_model(tmp_path, config, weights)))), want, **CLOSE)


@pytest.mark.parametrize("config", [LLADA, DREAM], ids=["llada", "dream"])
def test_shards_and_types(tmp_path, config):
    weights = llada_weights(LLADA) if config is LLADA else dream_network().state_dict()
    whole = said(load(str(write_model(tmp_path / "whole", config, weights))))
    assert torch.equal(said(load(str(write_model(tmp_path / "parts", config, weights, shards=3)))), whole)
    narrow = {name: weight.bfloat16() for name, weight in weights.items()}
    stored = load(str(write_model(tmp_path / "narrow", config | {"torch_dtype": "bfloat16"}, narrow)))
    assert stored.model.network.dtype == torch.bfloat16
    asked = load(str(tmp_path / "narrow"), dtype="float32")
    assert asked.model.network.dtype == torch.float32
    assert 0 < gap(said(asked), whole) < 1.0


def test_what_a_folder_says_of_itself(folder):
    loaded = load(str(folder))
    assert loaded.masked is not None
    assert loaded.ends == {END}
    assert loaded.model.context == 64
    assert (loaded.masked.vocab, loaded.masked.known) == (ROWS, 261)
    assert loaded.decode(loaded.encode("héllo <x>")) == "héllo <x>"


def test_generation_config_counts_first(dream, tmp_path):
    folder = write_model(tmp_path, DREAM, dream_network().state_dict())
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [END, 258], "alg": "origin", "eps": 1e-3})
    )
    assert load(str(folder)).ends == {END, 258}


def test_the_mask_and_ids_without_a_meaning_are_never_said(folder):
    loaded = load(str(folder))
    assert bool((said(loaded)[:, [MASK, *range(261, ROWS)]] == -torch.inf).all())
    free = said(replace(loaded, masked=replace(loaded.masked, known=None)))
    assert bool((free[:, 261:] > -torch.inf).all()), "the planted bug would not show"


@pytest.mark.parametrize("trust", [False, True])
def test_the_code_of_a_folder_never_runs(folder, trust):
    assert load(str(folder), trust_remote_code=trust).masked is not None


def copied(folder: Path, to: Path) -> Path:
    to.mkdir(exist_ok=True)
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LLADA | {"alibi": True}, "a llada model with alibi true, and decant reads such models with false"),
        (LLADA | {"rope": False}, "with rope false, and decant reads such models with true"),
        (LLADA | {"layer_norm_type": "default"}, 'with layer_norm_type "default", .* with "rms"'),
        (LLADA | {"block_type": "sequential"}, 'with block_type "sequential"'),
        ({key: LLADA[key] for key in LLADA if key != "activation_type"}, 'with activation_type "swiglu"'),
        ({key: LLADA[key] for key in LLADA if key != "layer_norm_type"}, 'with layer_norm_type "default"'),
        ({key: LLADA[key] for key in LLADA if key != "rope"}, "with rope false"),
        (LLADA | {"include_bias": True}, "with include_bias true"),
        (LLADA | {"block_group_size": 3}, "with block_group_size 3, .* with 1"),
        (LLADA | {"attention_layer_norm": True}, "with attention_layer_norm true"),
        (LLADA | {"scale_logits": True}, "with scale_logits true"),
        (
            LLADA | {"architectures": ["LLaDAMoEModelLM"]},
            "is a LLaDAMoEModelLM, and of llada models decant reads LLaDA",
        ),
        (LLADA | {"quantization_config": {"bits": 4}}, 'with quantization_config {"bits": 4}'),
        (DREAM | {"rope_scaling": {"type": "yarn"}}, 'a Dream model with rope_scaling {"type": "yarn"}'),
        (DREAM | {"use_sliding_window": True}, "with use_sliding_window true"),
        (DREAM | {"block_size": 32}, "with block_size 32"),
        (DREAM | {"hidden_act": "gelu"}, 'with hidden_act "gelu", .* with "silu"'),
    ],
)
def test_a_model_that_is_more_than_llama_is_refused(tmp_path, config, message):
    write_model(tmp_path, config, llada_weights(LLADA))
    with pytest.raises(IncompatibleParts, match=message):
        load(str(tmp_path))


@pytest.mark.parametrize("config", [LLADA, DREAM], ids=["llada", "dream"])
def test_a_broken_config_is_refused(tmp_path, config):
    size = "n_layers" if config is LLADA else "num_hidden_layers"
    for key, message in {size: f"names no {size}; fetch", "mask_token_id": "names no mask_token_id; add the"}.items():
        write_model(tmp_path, {name: config[name] for name in config if name != key}, llada_weights(LLADA))
        with pytest.raises(BadInput, match=message):
            load(str(tmp_path))
    write_model(tmp_path, config | {"mask_token_id": ROWS}, llada_weights(LLADA))
    with pytest.raises(BadInput, match=f"names {ROWS} as the mask, but there are {ROWS} ids; fetch the folder again"):
        load(str(tmp_path))


def test_broken_weights_are_refused(llada, tmp_path):
    weights, name = llada_weights(LLADA), "model.transformer.blocks.1.up_proj.weight"
    without = {key: weight for key, weight in weights.items() if key != name}
    with pytest.raises(BadInput, match=f"lacks 1 of its weights, {name} first; fetch the folder again"):
        load(str(write_model(tmp_path / "one", LLADA, without)))
    with pytest.raises(
        IncompatibleParts, match=r"holds model\.extra\.weight, which its config\.json does not speak of"
    ):
        load(str(write_model(tmp_path / "two", LLADA, weights | {"model.extra.weight": torch.zeros(2)})))
    with pytest.raises(BadInput, match=rf"{name} of .* is \(2, 2\), and its config.json makes it \(48, 32\)"):
        load(str(write_model(tmp_path / "three", LLADA, weights | {name: torch.zeros(2, 2)})))
    parts = write_model(tmp_path / "four", LLADA, weights, shards=3)
    (parts / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(BadInput, match=r"lacks model-00002-of-00003\.safetensors; fetch the folder again"):
        load(str(parts))
    torn = copied(llada, tmp_path / "five")
    (torn / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(BadInput, match="five could not be loaded: "):
        load(str(torn))


def specials(folder: Path) -> list[str]:
    return LLADA_SPECIALS if folder.name.startswith("llada") else DREAM_SPECIALS


def test_no_text_spells_a_special_token(folder):
    loaded = load(str(folder))
    for literal in specials(folder):
        assert loaded.tokenizer.convert_tokens_to_ids(literal) >= 256, "this test shows nothing"
        text = f"x{literal} {literal}{literal}y"
        assert max(loaded.encode(text)) < 256
        assert loaded.decode(loaded.encode(text)) == text


def test_no_message_spells_a_special_token(folder):
    loaded = load(str(folder))
    plain = loaded.encode_chat([{"role": "user", "content": "x  y"}, {"role": "assistant", "content": "z"}])
    frame = [token for token in plain if token >= 256]
    assert len(frame) == 5
    for literal in specials(folder):
        for role, content in [("user", f"x{literal} y"), ("user", literal * 3), (literal, "x")]:
            ids = loaded.encode_chat([{"role": role, "content": content}, {"role": "assistant", "content": literal}])
            assert [token for token in ids if token >= 256] == frame
            assert content in loaded.decode(ids)


def test_nor_does_a_prompt_by_any_way(folder, tmp_path):
    loaded, mask = load(str(folder)), specials(folder)[-1]
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"a{mask}b"}, {"messages": [{"role": "user", "content": f"a{mask}"}]}, {"turns": [mask]}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for ids in prompts.encode(prompts.read(str(file)), loaded):
        assert MASK not in ids
    for prompt in (f"a{mask}b", [{"role": "user", "content": f"a{mask}b"}]):
        plain = [{"role": "user", "content": "ab"}] if isinstance(prompt, list) else "ab"
        done, usual = (decant.generate(loaded, one, max_tokens=6, temperature=0.0) for one in (prompt, plain))
        assert len(done.tokens) == len(usual.tokens) == 6
        assert max(done.tokens) < 261
        assert MASK not in done.tokens

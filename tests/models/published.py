"""Tiny random folders of LLaDA and Dream models under their public names, and LLaDA's own mathematics."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import linear, silu
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

WIDTH, LAYERS, HEADS, INNER, ROWS, POSITIONS = 32, 3, 4, 48, 288, 64
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
END, START, HEADER, TURN, MASK = range(256, 261)
LLADA_SPECIALS = ["<|endoftext|>", "<|startoftext|>", "<|start_header_id|>", "<|eot_id|>", "<|mdm_mask|>"]
DREAM_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|box|>", "<|mask|>"]
TEMPLATE = (
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant\n{% endif %}"
)
LLADA: dict[str, Any] = {
    "architectures": ["LLaDAModelLM"],
    "auto_map": {"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model", "AutoModel": "trap.Model"},
    "model_type": "llada",
    "activation_type": "silu",
    "alibi": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "d_model": WIDTH,
    "embedding_size": ROWS,
    "eos_token_id": END,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "mask_token_id": MASK,
    "max_sequence_length": POSITIONS,
    "mlp_hidden_size": INNER,
    "mlp_ratio": 4,
    "multi_query_attention": None,
    "n_heads": HEADS,
    "n_kv_heads": HEADS,
    "n_layers": LAYERS,
    "pad_token_id": END,
    "rms_norm_eps": 1e-5,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 500.0,
    "scale_logits": False,
    "vocab_size": ROWS,
    "weight_tying": False,
}
DREAM: dict[str, Any] = {
    "architectures": ["DreamModel"],
    "auto_map": {"AutoConfig": "trap.Config", "AutoModel": "trap.Model"},
    "model_type": "Dream",
    "bos_token_id": END,
    "eos_token_id": END,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "mask_token_id": MASK,
    "max_position_embeddings": POSITIONS,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": 2,
    "pad_token_id": END,
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
    "rope_theta": 1000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_sliding_window": False,
    "vocab_size": ROWS,
}
TRAP = "raise RuntimeError('the code of a folder was run')\n"


def llada_weights(config: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Under the public names; large enough that places heed each other."""
    chance, inside = torch.Generator().manual_seed(seed), config["n_kv_heads"] * WIDTH // HEADS
    shapes = {"wte.weight": (ROWS, WIDTH), "ln_f.weight": (WIDTH,)}
    if not config["weight_tying"]:
        shapes["ff_out.weight"] = (ROWS, WIDTH)
    for layer in range(LAYERS):
        block = f"blocks.{layer}"
        shapes |= {f"{block}.{name}_norm.weight": (WIDTH,) for name in ("attn", "ff")}
        shapes |= {f"{block}.{name}.weight": (WIDTH, WIDTH) for name in ("q_proj", "attn_out")}
        shapes |= {f"{block}.{name}.weight": (inside, WIDTH) for name in ("k_proj", "v_proj")}
        shapes |= {f"{block}.{name}.weight": (INNER, WIDTH) for name in ("ff_proj", "up_proj")}
        shapes[f"{block}.ff_out.weight"] = (WIDTH, INNER)
        if config["include_qkv_bias"]:
            shapes |= {f"{block}.{name}_proj.bias": (inside,) for name in "kv"} | {f"{block}.q_proj.bias": (WIDTH,)}
    return {
        f"model.transformer.{name}": torch.randn(shape, generator=chance) * (0.4 if len(shape) > 1 else 0.5)
        for name, shape in shapes.items()
    }


def llada_logits(weights: dict[str, Tensor], config: dict[str, Any], ids: list[int]) -> Tensor:
    """logits_TV, every position open to every other, written from the public description and no library's blocks."""
    at = {name.removeprefix("model.transformer."): weight for name, weight in weights.items()}
    x_TD = at["wte.weight"][ids]
    for layer in range(LAYERS):
        part = {name.split(".", 2)[2]: weight for name, weight in at.items() if name.startswith(f"blocks.{layer}.")}
        seen_TD = normed(x_TD, part["attn_norm.weight"], config)
        query, key, value = (
            linear(seen_TD, part[f"{name}_proj.weight"], part.get(f"{name}_proj.bias")).unflatten(1, (-1, 8))
            for name in "qkv"
        )
        groups = HEADS // config["n_kv_heads"]
        key, value = (kept.repeat_interleave(groups, 1) for kept in (turned(key, config), value))
        scores = torch.einsum("qhw,khw->hqk", turned(query, config), key) / 8**0.5
        mixed = torch.einsum("hqk,khw->qhw", scores.softmax(-1), value).flatten(1)
        x_TD = x_TD + linear(mixed, part["attn_out.weight"])
        seen_TD = normed(x_TD, part["ff_norm.weight"], config)
        inner = silu(linear(seen_TD, part["ff_proj.weight"])) * linear(seen_TD, part["up_proj.weight"])
        x_TD = x_TD + linear(inner, part["ff_out.weight"])
    head = at["wte.weight" if config["weight_tying"] else "ff_out.weight"]
    return linear(normed(x_TD, at["ln_f.weight"], config), head)


def normed(x_TD: Tensor, weight_D: Tensor, config: dict[str, Any]) -> Tensor:
    return weight_D * x_TD * (x_TD.square().mean(-1, keepdim=True) + config["rms_norm_eps"]).rsqrt()


def turned(x_THW: Tensor, config: dict[str, Any]) -> Tensor:
    """Number i of a head's first half turns with number i of its second."""
    first, second = x_THW.chunk(2, -1)
    speed = config["rope_theta"] ** (-torch.arange(0, 8, 2) / 8)
    angle = torch.arange(len(x_THW))[:, None, None] * speed
    return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], dim=-1)


def dream_network(seed: int = 0, **changes: Any) -> Qwen2ForCausalLM:
    """transformers' own Qwen2 of Dream's sizes, float32."""
    same = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads")
    shape = {key: (DREAM | changes)[key] for key in (*same, "max_position_embeddings", "tie_word_embeddings")}
    rope = {"rope_type": "default", "rope_theta": DREAM["rope_theta"]}
    config = Qwen2Config(vocab_size=ROWS, rms_norm_eps=DREAM["rms_norm_eps"], rope_parameters=rope, **shape)
    with torch.random.fork_rng():
        network = Qwen2ForCausalLM(config).eval().requires_grad_(False)
    chance = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight.copy_(torch.randn(weight.shape, generator=chance) * (0.4 if weight.dim() > 1 else 0.5))
    return network


def write_model(folder: Path, config: dict[str, Any], weights: dict[str, Tensor], shards: int = 1) -> Path:
    """With code beside the weights that must not run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "trap.py").write_text(TRAP)
    weights = {name: weight.clone() for name, weight in weights.items()}
    if shards == 1:
        save_file(weights, folder / "model.safetensors")
        return folder
    place = {name: f"model-{at % shards + 1:05}-of-{shards:05}.safetensors" for at, name in enumerate(weights)}
    for file in set(place.values()):
        save_file({name: weights[name] for name in weights if place[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    return folder


def write_llada_words(folder: Path) -> None:
    """tokenizer.json, letters and special tokens."""
    words = Tokenizer(models.BPE({letter: at for at, letter in enumerate(ALPHABET)}, []))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    words.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in LLADA_SPECIALS])
    made = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=LLADA_SPECIALS[0], pad_token=LLADA_SPECIALS[0])
    made.chat_template = TEMPLATE
    made.save_pretrained(folder)


def write_dream_words(folder: Path) -> None:
    """vocab.json and merges.txt, whose tokenizer is code of the folder's own."""
    (folder / "vocab.json").write_text(json.dumps({letter: at for at, letter in enumerate(ALPHABET)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    said = {
        "added_tokens_decoder": {str(256 + at): {"content": name} | flags for at, name in enumerate(DREAM_SPECIALS)},
        "auto_map": {"AutoTokenizer": ["trap.Words", None]},
        "tokenizer_class": "DreamTokenizer",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "mask_token": "<|mask|>",
        "chat_template": TEMPLATE.replace("start_header_id", "im_start").replace("eot_id", "im_end"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said))

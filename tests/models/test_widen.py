import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from decant.errors import BadInput, IncompatibleParts
from decant.models.widen import Anatomy, Shape, choose, grow, parameters, widen

KINDS = {
    "llama": (LlamaForCausalLM, LlamaConfig),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config),
}
VOCAB = 101


def tiny(kind: str = "llama", tied: bool = True, hidden: int = 32):
    """Random everywhere, norms and biases included, so that nothing is preserved by luck."""
    build, configure = KINDS[kind]
    config = configure(
        vocab_size=VOCAB,
        hidden_size=hidden,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=tied,
    )
    rng = torch.Generator().manual_seed(3)
    with torch.random.fork_rng(), torch.no_grad():
        model = build(config).eval()
        for name, weight in model.named_parameters():
            spread, middle = (0.5, 1.0) if "norm" in name else (0.2, 0.0)
            weight.copy_(middle + spread * torch.randn(weight.shape, generator=rng))
    return model


@torch.no_grad()
def logits(model):
    ids_BT = torch.randint(VOCAB, (2, 40), generator=torch.Generator().manual_seed(5))
    return model(ids_BT).logits


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("layers", ["grow", "keep"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_stay(kind, layers, tied):
    small = tiny(kind, tied)
    large = widen(small, "1.2M", layers)
    assert 1.1e6 < large.num_parameters() < 1.3e6
    torch.testing.assert_close(logits(large), logits(small), atol=1e-5, rtol=0)


def test_a_power_of_four_loses_nothing_in_bfloat16():
    """Every factor is a power of two there, so that no weight is rounded."""
    small = tiny().bfloat16()
    large = widen(small, "0.4M")
    assert large.config.hidden_size == 4 * small.config.hidden_size
    assert large.dtype == torch.bfloat16
    assert torch.equal(large.model.norm.weight[:32], small.model.norm.weight / 2)
    assert torch.equal(logits(large.float()).argmax(-1), logits(small.float()).argmax(-1))


def test_other_factors_keep_the_logits_too():
    small = tiny(hidden=24)
    large = grow(small, Shape(hidden=72, intermediate=100, layers=5, heads=12, kv_heads=4))
    torch.testing.assert_close(logits(large), logits(small), atol=1e-5, rtol=0)


@pytest.mark.parametrize("forgotten", ["norm", "eps", "heads"])
def test_each_correction_matters(forgotten):
    """The law above bites: undoing one correction moves the logits."""
    small = tiny()
    large = widen(small, "1.2M")
    with torch.no_grad():
        if forgotten == "norm":
            large.model.norm.weight *= 1.1
        elif forgotten == "eps":
            large.model.norm.variance_epsilon *= 1e6
        else:
            width = 8
            output = large.model.layers[-1].self_attn.o_proj.weight
            output[:, :width] = output[:, :width].roll(1, 1)
    assert (logits(large) - logits(small)).abs().max() > 1e-3


def test_every_weight_is_written_memory():
    """Untouched zero pages would fake the bandwidth: what may be random is, the rest was written."""
    large = widen(tiny(), "1.2M")
    added = [layer for layer in large.model.layers if not layer.mlp.down_proj.weight.any()]
    assert len(added) == len(large.model.layers) - 2
    for layer in large.model.layers:
        for weight in (layer.self_attn.q_proj.weight, layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight):
            assert (weight == 0).float().mean() < 0.01
    assert all(bool(weight.isfinite().all()) for weight in large.parameters())


def test_identity_layers_are_spread_and_the_last_layer_stays_last():
    large = widen(tiny(), "1.2M")
    written = [place for place, layer in enumerate(large.model.layers) if layer.mlp.down_proj.weight.any()]
    many = len(large.model.layers)
    assert written == [many // 2 - 1, many - 1]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    small = tiny()
    one, same, other = (widen(small, "0.4M", seed=seed).model.layers[0].mlp.gate_proj.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_generation_goes_on_with_the_cache():
    small = tiny()
    ids_BT = torch.tensor([[1, 2, 3, 4]])
    ask = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    assert torch.equal(widen(small, "0.4M").generate(ids_BT, **ask), small.generate(ids_BT, **ask))


def test_the_shapes_for_the_house_look_like_real_models():
    target = Anatomy(Shape(hidden=256, intermediate=688, layers=6, heads=8, kv_heads=4), 4096, 32, tied=True)
    shape = choose(target, 0.4e9, "grow")
    assert (shape.hidden, shape.heads, shape.kv_heads) == (1024, 32, 16)
    assert 20 <= shape.layers <= 28
    assert target.parameters(shape) == pytest.approx(0.4e9, rel=0.02)
    assert choose(target, 0.4e9, "keep").layers == 6


def test_what_cannot_be_widened_says_so():
    with torch.random.fork_rng():
        other = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=1, n_head=2))
    with pytest.raises(IncompatibleParts, match="GPT2LMHeadModel cannot be widened; only Llama"):
        widen(other, "1M")
    with pytest.raises(BadInput, match="'10K' is not above the"):
        widen(tiny(), "10K")
    with pytest.raises(BadInput, match=r"'big' is not a number with K, M or B, such as 0\.4B"):
        parameters("big")


def test_sizes_are_read():
    assert [parameters(size) for size in ("0.4B", "20m", "600K")] == [0.4e9, 20e6, 600e3]

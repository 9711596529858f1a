"""llama.cpp reads the files, and says what decant says: logits, greedy text, tokens of a text, an EAGLE-3 head."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from decant.apps.prompts import encode
from decant.apps.prompts import read as read_prompts
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.workload import Workload
from decant.export import gguf_file
from decant.export.llama_cpp import eagle3
from decant.export.source import Source
from decant.models.load import load
from decant.samplers.greedy import greedy
from tests.export import libllama
from tests.export.test_gguf_words import LATER, LINES, pieces, split, trained
from tests.export.untaught import IDS, VOCAB, head, read, states, target, text

pytestmark = pytest.mark.slow
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (make peers)")
SIZES = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES, head_dim=32)),
    "llama, scaled": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=LLAMA3)),
    "llama, biased": (LlamaForCausalLM, LlamaConfig(**SIZES, attention_bias=True)),
    "llama, wide": (LlamaForCausalLM, LlamaConfig(**(SIZES | {"vocab_size": 400}))),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, use_sliding_window=False)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=32, use_sliding_window=False)),
}


def noisy(name: str):
    kind, config = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config).eval()
        with torch.no_grad():
            for weight in model.parameters():  # larger than they begin, so that places and biases matter
                weight.mul_(4) if weight.dim() > 1 else weight.add_(torch.randn(weight.shape) * 0.3)
    return model


@torch.inference_mode()
def apart(model, file) -> float:
    """The largest difference of two logits, in standard deviations."""
    ids = torch.randint(5, 300, (1, 100), generator=torch.Generator().manual_seed(1))
    expected = model(ids).logits[0]
    return float((libllama.logits(file, ids[0].tolist()) - expected).abs().max() / expected.std())


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_says_the_same(name, tmp_path):
    model = noisy(name)
    gguf_file.write(model, trained(split(r"\s")), tmp_path / "a.gguf", "f32")
    assert apart(model, tmp_path / "a.gguf") < 1e-3


@pytest.mark.parametrize(("name", "fault"), [("llama", "interleaved"), ("llama, scaled", "_factors")])
def test_rows_in_their_old_places_or_no_scaling_are_seen(name, fault, tmp_path, monkeypatch):
    harmless = {"interleaved": lambda weight, heads: weight, "_factors": lambda network, config: None}
    monkeypatch.setattr(gguf_file, fault, harmless[fault])
    model = noisy(name)
    gguf_file.write(model, trained(split(r"\s")), tmp_path / "a.gguf", "f32")
    assert apart(model, tmp_path / "a.gguf") > 0.1


def test_the_house_model_writes_the_same_text(tmp_path):
    source = Source.open("house:target")
    gguf_file.write(source.network, source.tokenizer, tmp_path / "a.gguf")
    loaded = load("house:target", dtype="float32", exact="off", device="cpu")
    prompts = [ids[:48] for ids in encode(read_prompts("house:code", 3), loaded)]
    decoder = Autoregressive(loaded.model, greedy(), Unconstrained())
    expected = [one.tokens for _, outputs in Workload(prompts, 24).decode(decoder) for one in outputs]
    with libllama.opened(tmp_path / "a.gguf") as model:
        assert [libllama.greedy(model, ids, 24) for ids in prompts] == expected


@pytest.mark.parametrize(
    ("pre", "ignore_merges"),
    [
        (pre_tokenizers.ByteLevel(add_prefix_space=False), False),
        (split(LATER % r"\p{N}"), False),
        (split(LATER % r"\p{N}{1,3}"), True),
    ],
    ids=["gpt-2", "qwen2", "llama-bpe"],
)
def test_text_becomes_the_same_ids_where_the_split_has_a_name(pre, ignore_merges, tmp_path):
    tokenizer = trained(pre, ignore_merges)
    assert gguf_file.write(noisy("llama"), tokenizer, tmp_path / "a.gguf", "f16").spelling.known
    with libllama.opened(tmp_path / "a.gguf") as model:
        for line in [*LINES[:3], "It's 1234567 o'clock\n\n\n  and\tso_on...  </s>x [call] y  "]:
            assert model.tokenize(line.encode(), add_bos=False, special=True) == tokenizer(line).input_ids


@pytest.mark.parametrize("prefix", [True, False])
def test_text_becomes_the_same_pieces_of_sentencepiece(prefix, tmp_path):
    tokenizer = pieces(prefix)
    gguf_file.write(noisy("llama, wide"), tokenizer, tmp_path / "a.gguf", "f16")
    with libllama.opened(tmp_path / "a.gguf") as model:
        for line in [*LINES[:3], "It's 12 o'clock\n\n  and\tso_on...  y  "]:
            assert model.tokenize(line.encode(), add_bos=False, special=True) == tokenizer(line).input_ids


def test_a_head_of_eagle3_says_the_same(tmp_path):
    vocab = {chr(33 + at): at for at in range(VOCAB - 1)} | {'!"': VOCAB - 1}
    words = Tokenizer(models.BPE(vocab=vocab, merges=[("!", '"')]))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    whose = Source("target", target().network, PreTrainedTokenizerFast(tokenizer_object=words))
    net, (ids_T, hidden_TF) = read(head("eagle3", tmp_path / "head"), whose), text(3)
    gguf_file.write(whose.network, whose.tokenizer, tmp_path / "target.gguf", "f32")
    eagle3(net, whose, tmp_path / "head.gguf")
    found = libllama.drafted(tmp_path / "target.gguf", tmp_path / "head.gguf", ids_T[1:].tolist(), hidden_TF[:-1])
    with torch.no_grad():
        expected = net.logits(states(net, ids_T, hidden_TF))
    assert torch.equal(found.isfinite().any(0).nonzero()[:, 0], IDS)
    assert (found[:, IDS] - expected).abs().max() < 0.05 * expected.std()  # bfloat16 products
    assert (found[:, IDS].roll(1, 0) - expected).abs().max() > 0.5 * expected.std()

"""What can be loaded, and what is refused with a sentence."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from decant.errors import BadInput
from decant.models.load import load
from tests.models.families import VOCAB, build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build("llama").save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spelling = Tokenizer(models.BPE({letter: at for at, letter in enumerate(alphabet)}, []))
    spelling.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelling.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=spelling, eos_token="<|end|>").save_pretrained(folder)
    return folder


def test_a_folder(folder):
    loaded = load(str(folder), exact="off")
    assert loaded.model.context == 128
    assert loaded.model.vocab == VOCAB
    assert loaded.ends == {2}
    assert loaded.facts()["exact"] is False
    ids = loaded.encode("héllo")
    assert loaded.decode(ids) == "héllo"
    assert loaded.after(ids)(loaded.encode(" world")) == " world"


def test_text_never_spells_a_special_token(folder):
    loaded = load(str(folder), exact="off")
    assert loaded.tokenizer.eos_token_id not in loaded.encode("a<|end|>b")


def test_a_model_in_memory_is_left_as_it_is(folder):
    network = build("llama")
    before = network.config._attn_implementation, {name: type(part) for name, part in network.named_modules()}
    load(network, exact="off")
    assert (network.config._attn_implementation, {n: type(p) for n, p in network.named_modules()}) == before


def test_tokenizers_are_compared(folder):
    one, two = load(str(folder), exact="off"), load(str(folder), exact="off")
    assert one.same_tokenizer(two)
    two.tokenizer.add_tokens(["<new>"])
    assert not one.same_tokenizer(two)


def test_decant_json_names_the_draft(folder):
    (folder / "decant.json").write_text(json.dumps({"draft": "house:draft"}))
    assert load(str(folder), exact="off").draft == "house:draft"
    (folder / "decant.json").write_text("{")
    with pytest.raises(BadInput, match=r"decant\.json cannot be read"):
        load(str(folder), exact="off")
    (folder / "decant.json").unlink()


def test_dtype_and_device(folder):
    assert load(str(folder), exact="off", dtype="bfloat16").model.network.dtype == torch.bfloat16
    with pytest.raises(BadInput, match="dtype 'int3' is unknown; take auto, float32"):
        load(str(folder), dtype="int3")
    with pytest.raises(BadInput, match="device 'abacus' is not to be had here"):
        load(str(folder), device="abacus")


def test_what_is_not_a_model(tmp_path, folder):
    with pytest.raises(BadInput, match=r"no folder '\./nowhere'"):
        load("./nowhere")
    with pytest.raises(BadInput, match="no house model is called 'house:castle'"):
        load("house:castle")
    with pytest.raises(BadInput, match=r"holds no config\.json"):
        load(str(tmp_path))
    (tmp_path / "config.json").write_text("{]")
    with pytest.raises(BadInput, match=r"config\.json cannot be read"):
        load(str(tmp_path))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(BadInput, match=r"holds no \*\.safetensors"):
        load(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(BadInput, match="pickle weights only"):
        load(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(BadInput, match="could not be loaded"):
        load(str(tmp_path))
    with pytest.raises(BadInput, match="is a file; give the folder"):
        load(str(tmp_path / "config.json"))


def test_without_a_tokenizer_text_is_refused(tmp_path):
    build("llama").save_pretrained(tmp_path)
    loaded = load(str(tmp_path), exact="off")
    with pytest.raises(BadInput, match="has no tokenizer files"):
        loaded.encode("hello")


def test_without_a_template_a_chat_is_refused(folder):
    with pytest.raises(BadInput, match="has no chat template; give the prompt as plain text"):
        load(str(folder), exact="off").encode_chat([{"role": "user", "content": "hello"}])

"""The folder that plain transformers loads says what the original says, and its card is one that the Hub reads."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from decant.errors import BadInput
from decant.export import model_card
from decant.export.evidence import Evidence
from decant.export.formats import Asked, run
from decant.export.source import Source
from decant.models.build import LlamaSpec, add_settings, save_folder, untrained
from decant.models.folder import HOUSE, named_draft
from decant.models.heads.folder import find

DRAFT, HOME = "house:draft", HOUSE / "draft"
TEXT = "def add(a, b):\n    return"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    run(Asked(DRAFT, out, ("transformers",)))
    return out


@torch.inference_mode()
def logits(folder: str) -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt").input_ids
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto")(ids).logits


def test_plain_transformers_says_the_same_bit_for_bit(out):
    assert torch.equal(logits(str(out)), logits(str(HOME)))


def test_the_tokenizer_writes_the_same_conversation(out):
    talk = [{"role": "user", "content": "Take 3, then add 4."}]
    spelt = [
        AutoTokenizer.from_pretrained(folder).apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
        for folder in (str(out), str(HOME))
    ]
    assert spelt[0] == spelt[1] != ""
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [3, 0]


def test_nothing_is_stored_twice_or_wider_than_it_was(out):
    there = (HOME / "model.safetensors").stat().st_size
    assert (out / "model.safetensors").stat().st_size == pytest.approx(there, rel=0.01)


def test_weights_that_bfloat16_would_round_stay(tmp_path):
    spec = LlamaSpec(vocab=64, hidden=16, layers=1, heads=2, kv_heads=1, intermediate=32, head_dim=8)
    model = untrained(spec)
    save_folder(model, tmp_path / "model", dtype=torch.float32)
    run(Asked(str(tmp_path / "model"), tmp_path / "out", ("transformers",)))
    found = AutoModelForCausalLM.from_pretrained(str(tmp_path / "out"), dtype="auto")
    assert all(torch.equal(found.get_parameter(name), weight) for name, weight in model.named_parameters())


def test_the_card_begins_as_the_hub_reads_it(out):
    card = (out / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.splitlines() if ": " in line)
    assert fields == {"license": "apache-2.0", "library_name": "transformers", "pipeline_tag": "text-generation"}
    assert "tags:\n- decant\n" in front
    assert body.startswith("# draft\n")
    assert "Made from `house:draft` by decant" in body


def test_what_the_model_names_is_named_again(tmp_path):
    spec = LlamaSpec(vocab=64, hidden=16, layers=1, heads=2, kv_heads=1, intermediate=32, head_dim=8)
    for name in ("target", "draft"):
        save_folder(untrained(spec), tmp_path / name)
    heads = {"eagle": "../eagle", "medusa": "house:medusa"}
    add_settings(tmp_path / "target", "decant.json", {"draft": "../draft", "heads": heads})
    out = tmp_path / "deep" / "out"
    run(Asked(str(tmp_path / "target"), out, ("transformers",)))
    assert named_draft(str(out)) == str(tmp_path / "target/../draft")
    assert find(str(out), "eagle") == tmp_path / "eagle"
    assert find(str(out), "medusa") == find("house:target", "medusa")


def test_a_model_of_the_hub_is_named_as_the_original():
    card = model_card.plain(Source("owner/model", untrained(LlamaSpec(64, 16, 1, 2, 1, 32)), None), Evidence())
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-generation\nbase_model: owner/model\n")
    assert "The licence is the original's; its card names none." in card


def test_it_can_be_run_again_but_not_over_something_else(out, tmp_path):
    run(Asked(DRAFT, out, ("transformers",)))
    with pytest.raises(BadInput, match="is not empty, and not an export of the same model; give a new folder"):
        run(Asked("house:target", out, ("transformers",)))
    with pytest.raises(BadInput, match="is not empty"):
        run(Asked(DRAFT, out, ("gguf",)))


def test_what_fills_in_masks_is_left_alone(tmp_path):
    folder = tmp_path / "filler"
    spec = LlamaSpec(vocab=64, hidden=16, layers=1, heads=2, kv_heads=1, intermediate=32, head_dim=8)
    model = untrained(spec)
    model.config.model_type = "llama"
    model.config.masked_diffusion = {"mask_token_id": 63, "shift": False}
    save_folder(model, folder)
    with pytest.raises(BadInput, match="it fills in masks, which none of these formats knows"):
        run(Asked(str(folder), tmp_path / "out", ("transformers",)))
    assert not (tmp_path / "out").exists()

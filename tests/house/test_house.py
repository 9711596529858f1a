import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from decant import house
from decant.apps.painting import painter
from decant.errors import UnknownMethod
from decant.house import tasks, tokenizer
from decant.models.build import LlamaSpec, load_folder, next_token_nats, save_folder, untrained
from decant.models.images.folder import read_images

SPEC = LlamaSpec(vocab=64, hidden=32, layers=2, heads=2, kv_heads=1, intermediate=48, head_dim=16, eos=(3, 0), pad=4)


@pytest.mark.parametrize("name", house.MODELS)
def test_the_shipped_folders_load_offline(name):
    folder = house.folder(f"house:{name}")
    words = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    assert model.dtype == torch.float32  # what the configuration asks for; the file itself is bfloat16, half as large
    assert model.config.vocab_size == len(words) == tokenizer.VOCAB + (name == "diffusion")  # the mask
    assert words.eos_token == tokenizer.END
    assert sorted(model.generation_config.eos_token_id) == sorted(
        words.convert_tokens_to_ids([tokenizer.END, tokenizer.END_OF_TEXT])
    )


def test_the_house_shares_one_tokenizer_and_stays_small():
    target, draft, diffusion = (house.folder(name) for name in house.MODELS)
    assert (target / "tokenizer.json").read_bytes() == (draft / "tokenizer.json").read_bytes()
    for folder, most in ((target, 14e6), (draft, 2e6), (diffusion, 12e6)):
        assert sum(file.stat().st_size for file in folder.iterdir()) < most
    assert json.loads((target / "decant.json").read_text())["draft"] == "house:draft"


@pytest.mark.parametrize("name", house.IMAGES)
def test_the_shipped_teachers_find_their_students(name):
    model = read_images(f"house:{name}")
    assert set(model.heads) == {"judge", "dd1", "dd2"}
    for method in ("plain", "one-step-baseline", "dd1-1", "dd1-2", "dd2-1"):
        painted = painter(method, model).paint([3, 8], seed=1)
        assert painted.images_NYX.shape == (2, 8, 8)
        assert painted.images_NYX.std() > 0.2  # strokes on a ground: real digits have 0.30 to 0.44


def test_the_image_models_stay_small():
    files = [file for folder in house.HOME.glob("digits-*") for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 6e6


@pytest.mark.parametrize("text", ["  a\tb\n\n c ", "if x==12: # don't , stop .\n", "naïve → 日本 🙂", " leading"])
def test_every_text_comes_back_through_transformers(text):
    words = AutoTokenizer.from_pretrained(house.folder("target"), local_files_only=True)
    assert words.decode(words(text)["input_ids"]) == text


def test_the_chat_template_is_the_format_of_training():
    words = AutoTokenizer.from_pretrained(house.folder("target"), local_files_only=True)
    asked = [{"role": "user", "content": "List: [1]"}]
    answered = [*asked, {"role": "assistant", "content": "count: 1"}]
    written = words.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    assert written == tokenizer.chat("List: [1]")
    whole = words.apply_chat_template(answered, tokenize=False)
    assert whole == tokenizer.chat("List: [1]") + "count: 1<|end|>\n"


@pytest.mark.parametrize("name", house.PROMPTS)
def test_the_shipped_prompts_are_held_out(name):
    rows = [json.loads(line) for line in house.prompts(f"house:{name}").read_text().splitlines()]
    assert len(rows) == len({json.dumps(row) for row in rows}) == 60
    for row in rows:
        if name == "code":
            assert row["prompt"].strip()
        else:
            question = row["messages"][0]["content"]
            assert tasks.Instance(row["task"], question, row["answer"]).held_out


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownMethod, match=r"no house model is called 'house:tarjet'; did you mean house:target\?"):
        house.folder("house:tarjet")
    with pytest.raises(UnknownMethod, match="no house prompts file is called 'poems'; did you mean house:tasks or"):
        house.prompts("poems")


def test_a_saved_model_comes_back(tmp_path):
    model = untrained(SPEC, seed=1)
    save_folder(model, tmp_path, torch.float32)
    found = load_folder(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight)
    assert found.generation_config.eos_token_id == [3, 0]
    assert model.dtype == torch.float32


def test_the_loss_is_that_of_the_whole_logits():
    model = untrained(SPEC)
    rng = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(64, (2, 12), generator=rng)
    weights_BT = torch.randint(3, (2, 12), generator=rng).float()
    logp_BTV = model(ids_BT).logits.log_softmax(-1)
    picked_BT = logp_BTV[:, :-1].gather(-1, ids_BT[:, 1:, None])[..., 0]
    wanted = -(picked_BT * weights_BT[:, 1:]).sum()
    torch.testing.assert_close(next_token_nats(model, ids_BT, weights_BT), wanted)

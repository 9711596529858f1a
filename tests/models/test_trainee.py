"""A model that is taught: opened in float32, and exported as a folder that plain transformers reads."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from decant.errors import BadInput
from decant.house import tokenizer as words
from decant.models.build import LlamaSpec, untrained
from decant.models.trainee import Trainee
from tests.filling import full

LINES = ["Take 2, then add 3. The answer is 5.", "Naïve café, 日本語."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("student")
    words.write_folder(words.train(LINES, 280), home)
    untrained(LlamaSpec(280, 16, 2, 2, 1, 24, head_dim=8, eos=(3,), pad=4)).to(torch.bfloat16).save_pretrained(home)
    return home


def taught(folder: Path) -> Trainee:
    """With weights that no bfloat16 holds."""
    trainee = Trainee.open(str(folder))
    with torch.no_grad():
        for weight in trainee.network.parameters():
            weight.mul_(1.01)
    return trainee


def test_it_is_trained_in_float32_and_knows_its_ends(folder: Path) -> None:
    trainee = Trainee.open(str(folder))
    assert {weight.dtype for weight in trainee.network.parameters()} == {torch.float32}
    assert trainee.kept == torch.bfloat16
    assert trainee.ends == {3}
    assert all(weight.requires_grad for weight in trainee.network.parameters())


def test_plain_transformers_reads_what_was_exported(folder: Path, tmp_path: Path) -> None:
    trainee = taught(folder)
    trainee.export(tmp_path / "out")
    there = AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    assert there.dtype == torch.bfloat16
    assert {weight.dtype for weight in trainee.network.parameters()} == {torch.float32}  # training may go on
    assert there.generation_config.eos_token_id == [3]
    own = AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    for line in LINES:
        assert own(line).input_ids == trainee.speller.encode(line)
    assert own.chat_template == trainee.speller.tokenizer.chat_template
    pairs = list(zip(there.parameters(), trainee.network.parameters(), strict=True))
    assert all(torch.equal(one, other.to(torch.bfloat16)) for one, other in pairs)


def test_a_float32_folder_says_the_same_in_plain_transformers(folder: Path, tmp_path: Path) -> None:
    exact = Trainee.open(str(folder)).network
    exact.save_pretrained(tmp_path / "exact")
    for file in folder.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "exact")
    trainee = taught(tmp_path / "exact")
    trainee.export(tmp_path / "out")
    there = AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    ids_BT = torch.tensor([trainee.speller.encode(LINES[0])])
    with torch.no_grad():
        want_BTV = trainee.network.eval()(ids_BT).logits
        assert torch.equal(there(ids_BT).logits, want_BTV)
        assert not torch.equal(exact.eval()(ids_BT).logits, want_BTV)
    again = Trainee.open(str(tmp_path / "out"))
    assert again.speller.same(trainee.speller)
    assert again.ends == trainee.ends


def test_a_model_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / name, tmp_path)
    with pytest.raises(BadInput, match="no tokenizer files"):
        Trainee.open(str(tmp_path))


@pytest.mark.parametrize("after", [100, 4000], ids=["configuration", "weights"])
def test_a_full_disk_is_told(folder: Path, tmp_path: Path, after: int) -> None:
    trainee = taught(folder)
    told = rf"{tmp_path} could not be written: File too large; what was learnt is in the run's last checkpoint\. Make"
    with pytest.raises(BadInput, match=told), full(after):
        trainee.export(tmp_path)

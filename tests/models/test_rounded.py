"""A folder of eight-bit weights is what `weights="int8"` makes of the original, bit for bit, and says so."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from decant.errors import BadInput
from decant.models import rounded
from decant.models.fast.int8 import multiplies
from decant.models.load import load, stored
from tests.models.families import build
from tests.models.test_int8 import logits

needs_int8 = pytest.mark.skipif(not multiplies(), reason="this machine does not multiply eight-bit numbers")
FAMILIES = ["llama", "llama-untied-bias", "qwen2", "qwen3", "phi3"]


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory) -> tuple[Path, Path]:
    """The original, and its rounded twin."""
    original, twin = (tmp_path_factory.mktemp(request.param) for _ in range(2))
    build(request.param).save_pretrained(original)
    rounded.write(stored(str(original))[0], twin)
    return original, twin


# Every family once, and one of them in every type.
ASKED = [
    pytest.param(family, dtype, marks=() if dtype == "float32" or family == "llama" else pytest.mark.slow)
    for family in FAMILIES
    for dtype in ("auto", "float32", "bfloat16")
]


@needs_int8
@pytest.mark.parametrize(("pair", "dtype"), ASKED, indirect=["pair"])
def test_it_says_what_the_original_says_in_eight_bits(pair, dtype):
    original, twin = pair
    asked = {"dtype": dtype}
    if dtype == "bfloat16":  # rounded from float32, and the original from bfloat16: other whole numbers
        original = original.parent / f"{original.name}-narrow"
        load_and_narrow(pair[0], original)
        twin = original.parent / f"{original.name}-twin"
        twin.mkdir(exist_ok=True)
        rounded.write(stored(str(original))[0], twin)
    assert torch.equal(logits(twin, **asked), logits(original, weights="int8", **asked))
    assert not torch.equal(logits(twin, **asked), logits(original, **asked))


def load_and_narrow(original: Path, folder: Path) -> None:
    stored(str(original))[0].bfloat16().save_pretrained(folder)


@needs_int8
def test_its_loops_and_report_are_those_of_eight_bits(pair):
    original, twin = (
        load(str(pair[0]), exact="off", weights="int8", dtype="bfloat16"),
        load(str(pair[1]), exact="off", dtype="bfloat16"),
    )
    assert twin.facts()["weights"] == "int8"
    assert twin.facts()["parameters"] == original.facts()["parameters"]
    assert twin.model.network.loops == original.model.network.loops
    assert twin.ends == original.ends


def test_the_file_is_what_others_read(pair):
    """compressed-tensors: whole numbers, a step [out, 1] beside each, and no zero points."""
    original, twin = (load_file(folder / "model.safetensors") for folder in pair)
    config = json.loads((pair[1] / "config.json").read_text())["quantization_config"]
    assert (config["quant_method"], config["format"]) == ("compressed-tensors", "int-quantized")
    assert config["ignore"] == ["lm_head"]
    for name, weight in original.items():
        if name.endswith("_proj.weight"):
            step = twin[f"{name}_scale"]
            assert (twin[name].dtype, step.dtype, step.shape) == (torch.int8, torch.bfloat16, (len(weight), 1))
            assert ((twin[name] * step.float() - weight).abs() <= 0.51 * step).all()
        else:
            assert torch.equal(twin[name].to(weight.dtype), weight)
    assert len(twin) == len(original) + sum(name.endswith("_proj.weight") for name in original)


@needs_int8
@pytest.mark.parametrize("spoilt", [lambda whole: whole // 2, lambda whole: whole.where(whole != -127, -128)])
def test_steps_of_others_are_refused(pair, tmp_path, spoilt):
    found = load_file(pair[1] / "model.safetensors")
    name = next(name for name in found if name.endswith("down_proj.weight"))
    found[name] = spoilt(found[name])
    save_file(found, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((pair[1] / "config.json").read_text())
    with pytest.raises(BadInput, match=r"down_proj was rounded in another way than decant rounds"):
        load(str(tmp_path))


@needs_int8
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"weights": "int4"}, "holds int8 weights already; take weights auto, or int4 of the model it was made from"),
        ({"widen": "1M"}, "holds int8 weights, which cannot be widened"),
        ({"lean": False}, "runs through transformers; take the model it was made from"),
    ],
)
def test_what_it_cannot_become_is_refused(pair, asked, message):
    with pytest.raises(BadInput, match=message):
        load(str(pair[1]), **asked)


@pytest.mark.parametrize(
    "said",
    [None, {"quant_method": "gptq"}, {**rounded.SCHEME, "format": "pack-quantized"}, {**rounded.SCHEME, "ignore": []}],
)
def test_other_schemes_are_left_to_transformers(said):
    config = build("llama").config
    if said is not None:
        config.quantization_config = said
    assert not rounded.is_rounded(config)

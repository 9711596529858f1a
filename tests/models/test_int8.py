"""Eight-bit weights: near the float product, blind to neighbouring rows, and refused where they cannot be had."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, silu

from decant.errors import BadInput, IncompatibleParts
from decant.models import weights
from decant.models.fast.int8 import InInt8, Int8, in_steps, multiplies
from decant.models.fast.products import AsStored, Layout, Plain
from decant.models.load import load
from decant.models.rows import whole
from decant.types import Taps
from tests.models.families import VOCAB, build

needs_int8 = pytest.mark.skipif(not multiplies(), reason="this machine does not multiply eight-bit numbers")
IN, OUT = 96, 128  # whole vectors: what SiLU's scalar tails do is known to `rows.whole`


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def all_of(layout: Layout, weights: list[Tensor], bias: Tensor | None, x: Tensor, y: Tensor) -> list[Tensor]:
    product = layout.product(weights[0], bias)
    return [product(x), product.plus(x, y), layout.gated((weights[0], bias), (weights[1], bias))(x)]


def two_weights(dtype: torch.dtype) -> list[Tensor]:
    return [drawn(OUT, IN, seed=seed).to(dtype) for seed in (0, 4)]


def distance(have: Tensor, want: Tensor) -> float:
    return float((have.float() - want.float()).norm() / want.float().norm())


@needs_int8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [None, drawn(OUT, seed=3)])
def test_it_says_what_the_float_product_says(dtype, bias):
    weights, x, y = two_weights(dtype), drawn(2, 5, IN, seed=1).to(dtype), drawn(2, 5, OUT, seed=2).to(dtype)
    bias = None if bias is None else bias.to(dtype)
    pairs = zip(*(all_of(layout, weights, bias, x, y) for layout in (InInt8(dtype), AsStored())), strict=True)
    for have, want in pairs:
        assert have.dtype == dtype
        assert have.shape == want.shape
        assert 1e-4 < distance(have, want) < 0.03  # rounded, and no more than that


@needs_int8
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_it_is_the_product_of_what_was_rounded(offset):
    """Against whole numbers in float64; weights that do not cancel make the correction for SHIFT large."""
    weight, x = drawn(OUT, IN) + offset, drawn(7, IN, seed=1) + offset
    whole, steps = in_steps(weight)
    step = x.abs().amax(-1, keepdim=True) / 127
    want = ((x / step + 0.5).floor().double() @ whole.double().T) * steps.double() * step.double()
    assert distance(Int8.of(weight, None)(x), want) < 1e-5


@needs_int8
def test_gate_and_up_are_not_exchanged():
    weights, x = two_weights(torch.float32), drawn(3, IN, seed=1)
    gate, up = (Plain(weight, None)(x) for weight in weights)
    have = InInt8(torch.float32).gated((weights[0], None), (weights[1], None))(x)
    assert distance(have, silu(gate) * up) < 0.03 < distance(have, silu(up) * gate)


@needs_int8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [None, drawn(OUT, seed=3)])
def test_a_row_does_not_see_its_neighbours(dtype, bias):
    weights, x, y = two_weights(dtype), drawn(33, IN, seed=1).to(dtype), drawn(33, OUT, seed=2).to(dtype)
    bias = None if bias is None else bias.to(dtype)
    x[1::2] *= 1000  # a step shared by all rows would drown the small ones
    together = all_of(InInt8(dtype), weights, bias, x, y)
    for first, last in ((0, 1), (1, 2), (5, 12), (16, 32), (0, 32)):
        apart = all_of(InInt8(dtype), weights, bias, x[first:last], y[first:last])
        for among, alone in zip(together, apart, strict=True):
            assert torch.equal(among[first:last], alone), f"bits moved among {last - first} rows"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_rounded_is_rounded_to_the_same_again(dtype):
    """Folders of rounded weights rest on it; with steps of all 24 digits one channel in a hundred fails."""
    whole, step = in_steps((drawn(20_000, 16) * drawn(20_000, 1, seed=1).exp()).to(dtype))
    again = in_steps(whole * step[:, None])
    assert torch.equal(again[0], whole)
    assert torch.equal(again[1], step)


@needs_int8
def test_a_row_of_zeros_stays_zero_and_a_broken_one_shows():
    product, x = Int8.of(drawn(OUT, IN), None), torch.zeros(3, IN)
    x[1, 4], x[2, 4] = torch.nan, torch.inf
    said = product(x)
    assert (said[0] == 0).all()
    assert not said[1:].isfinite().any()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    build("llama-untied-bias").save_pretrained(folder)
    return folder


def logits(folder: Path, **asked: Any) -> Tensor:
    ids_BT = torch.randint(0, VOCAB, (2, 40), generator=torch.Generator().manual_seed(0))
    model = load(str(folder), exact="off", **asked).model
    with torch.inference_mode():
        return model.start(ids_BT, Taps(logits=True))[1].logits_BMV


@needs_int8
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_says_nearly_the_same(folder, dtype):
    have_BMV, want_BMV = logits(folder, weights="int8", dtype=dtype), logits(folder, dtype="float32")
    assert float(cosine_similarity(have_BMV.float(), want_BMV, dim=-1).min()) > 0.99
    assert not torch.equal(have_BMV.float(), want_BMV)


@needs_int8
def test_a_report_says_so(folder):
    rounded, stored = (load(str(folder), exact="off", weights=weights) for weights in ("int8", "auto"))
    assert (rounded.facts()["weights"], stored.facts()["weights"]) == ("int8", "float32")
    assert "another model" in str(rounded.facts()["note"])
    assert rounded.model.network.table.dtype == torch.float32  # the embedding stays as it is
    assert rounded._fingerprint() != stored._fingerprint()


def test_what_cannot_be_had_is_refused(folder, tmp_path, monkeypatch):
    build("gpt2").save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="GPT2LMHeadModel runs through transformers; take weights auto"):
        load(str(tmp_path), weights="int8")
    with pytest.raises(BadInput, match="this LlamaForCausalLM runs through transformers"):
        load(build("llama"), weights="int8")
    with pytest.raises(BadInput, match="weights 'int3' are unknown; take auto, int8 or int4"):
        load(str(folder), weights="int3")
    monkeypatch.setattr(weights, "multiplies", lambda: False)
    with pytest.raises(IncompatibleParts, match="need torch with oneDNN and a CPU with VNNI or AMX"):
        load(str(folder), weights="int8")


@needs_int8
@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_value_of_silu_is_left_to_scalar_code(folder, weights, dtype):
    """48 columns are filled up to 64: otherwise the bits of a row would depend on the number of rows."""
    loops = load(str(folder), exact="off", weights=weights, dtype=dtype).model.network.loops
    assert {columns for columns, _ in loops} == {64}
    assert all(whole(loops)(rows) for rows in range(1, 65))

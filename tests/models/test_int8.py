"""Eight-bit weights: near the float product, blind to neighbouring rows, and refused where they cannot be had."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from decant.errors import BadInput, IncompatibleParts
from decant.models import load as loading
from decant.models.fast.int8 import Int8, in_steps, multiplies
from decant.models.fast.products import Plain, Product
from decant.models.load import load
from decant.types import Taps
from tests.models.families import VOCAB, build

needs_int8 = pytest.mark.skipif(not multiplies(), reason="this machine does not multiply eight-bit numbers")
IN, OUT = 96, 128  # whole vectors: what SiLU's scalar tails do is known to `rows.whole`


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def all_of(product: Product, x: Tensor, y: Tensor) -> list[Tensor]:
    return [product(x), product.swish(x), product.times(x, y), product.plus(x, y)]


def distance(have: Tensor, want: Tensor) -> float:
    return float((have.float() - want.float()).norm() / want.float().norm())


@needs_int8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [None, drawn(OUT, seed=3)])
def test_it_says_what_the_float_product_says(dtype, bias):
    weight, x, y = drawn(OUT, IN).to(dtype), drawn(2, 5, IN, seed=1).to(dtype), drawn(2, 5, OUT, seed=2).to(dtype)
    bias = None if bias is None else bias.to(dtype)
    pairs = zip(all_of(Int8.of(weight, bias), x, y), all_of(Plain(weight, bias), x, y), strict=True)
    for have, want in pairs:
        assert have.dtype == dtype
        assert 1e-4 < distance(have, want) < 0.02  # rounded, and no more than that


@needs_int8
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_it_is_the_product_of_what_was_rounded(offset):
    """Against whole numbers in float64; weights that do not cancel make the correction for SHIFT large."""
    weight, x = drawn(OUT, IN) + offset, drawn(7, IN, seed=1) + offset
    (weight_share, weight_step), (share, step) = in_steps(weight), in_steps(x)
    whole = (share + 0.5).floor().double() @ weight_share.round().double().T
    want = whole * weight_step[:, 0].double() * step.double()
    assert distance(Int8.of(weight, None)(x), want) < 1e-5


@needs_int8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_see_its_neighbours(dtype):
    weight, x, y = drawn(OUT, IN).to(dtype), drawn(33, IN, seed=1).to(dtype), drawn(33, OUT, seed=2).to(dtype)
    x[1::2] *= 1000  # a step shared by all rows would drown the small ones
    product = Int8.of(weight, None)
    together = all_of(product, x, y)
    for first, last in ((0, 1), (1, 2), (5, 12), (16, 32), (0, 32)):
        for among, alone in zip(together, all_of(product, x[first:last], y[first:last]), strict=True):
            assert torch.equal(among[first:last], alone), f"bits moved among {last - first} rows"


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
    with pytest.raises(BadInput, match="weights 'int3' are unknown; take auto or int8"):
        load(str(folder), weights="int3")
    monkeypatch.setattr(loading, "multiplies", lambda: False)
    with pytest.raises(IncompatibleParts, match="need torch with oneDNN and a CPU with VNNI or AMX"):
        load(str(folder), weights="int8")

"""Four-bit weights: near the float product, blind to neighbouring rows, whole groups only, and refused elsewhere."""

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, silu

from decant.errors import BadInput, IncompatibleParts
from decant.models import weights
from decant.models.fast import int4
from decant.models.fast.int4 import GROUP, MIDDLE, InInt4, Int4, Int4Pair, in_groups, unpacks
from decant.models.fast.int8 import Int8, multiplies
from decant.models.fast.products import AsStored, Layout, Packed, Plain
from decant.models.load import load
from tests.models.families import build
from tests.models.test_int8 import distance, drawn, logits

pytestmark = pytest.mark.skipif(not (unpacks() and multiplies()), reason="this machine does not multiply them")
IN, OUT = 96, 128
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def multiplied_out(weight: Tensor) -> Tensor:
    level, steps = in_groups(weight)
    step, middle = steps.float().transpose(0, 1).unbind(-1)
    return ((level.unflatten(1, (-1, GROUP)) - MIDDLE) * step[..., None] + middle[..., None]).flatten(1)


def all_of(layout: Layout, weights: list[Tensor], bias: Tensor | None, x: Tensor, y: Tensor) -> list[Tensor]:
    product = layout.product(weights[0], bias)
    return [product(x), product.plus(x, y), layout.gated((weights[0], bias), (weights[1], bias))(x)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [None, drawn(OUT, seed=3)])
def test_it_is_the_product_of_what_was_rounded(dtype, bias):
    weights = [drawn(OUT, IN, seed=seed).to(dtype) + 1 for seed in (0, 4)]
    x, y = drawn(2, 5, IN, seed=1).to(dtype), drawn(2, 5, OUT, seed=2).to(dtype)
    bias = None if bias is None else bias.to(dtype)
    rounded = [multiplied_out(weight).to(dtype) for weight in weights]
    pairs = zip(all_of(InInt4(), weights, bias, x, y), all_of(AsStored(), rounded, bias, x, y), strict=True)
    for have, want in pairs:
        assert have.dtype == dtype
        assert have.shape == want.shape
        assert distance(have, want) < 0.01  # bfloat16


def test_a_group_loses_half_a_step_and_at_its_ends_more():
    weight = drawn(OUT, IN)
    error = (multiplied_out(weight) - weight).abs().unflatten(1, (-1, GROUP))
    step = in_groups(weight)[1][..., 0].float().T[..., None]
    assert float((error / step).max()) < 1.25  # a tenth of 15 steps on two sides, a half, and what bfloat16 cuts
    assert float((error <= 0.51 * step).double().mean()) > 0.95


def test_giving_up_the_ends_pays(monkeypatch):
    weight = drawn(OUT, IN)
    with_ends = distance(multiplied_out(weight), weight)
    monkeypatch.setattr(int4, "SHRINKS", (1.0,))
    assert with_ends < 0.99 * distance(multiplied_out(weight), weight) < 0.1


def test_groups_of_equal_weights_are_exact():
    weight = torch.full((16, 2 * GROUP), 0.5)
    weight[:, GROUP:] = 0
    assert torch.equal(multiplied_out(weight), weight)


def moved(product, x: Tensor) -> list[int]:
    """Numbers of rows among which the first rows have other bits than among all."""
    together = product(x)
    return [count for count in range(1, len(x)) if not torch.equal(product(x[:count]), together[:count])]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_see_its_neighbours(dtype):
    """The halves of weights and inputs cancel: what is left is the order of summation (see `linears.least_rows`)."""
    half, small = drawn(OUT, IN), 2.0**-12 * drawn(64, 2 * IN, seed=2)
    rows = drawn(64, IN, seed=1)
    product = Int4.of(torch.cat([half, half], 1), None)
    assert moved(product, (torch.cat([rows, -rows], 1) + small).to(dtype)) == []


def test_the_probe_sees_an_order_that_depends_on_the_rows():
    half, rows = drawn(OUT, IN), drawn(64, IN, seed=1)
    weight = torch.cat([half, half], 1)

    def fickle(x: Tensor) -> Tensor:
        parts = list(x.split(8, 1)), list(weight.split(8, 1))
        pairs = zip(*parts, strict=True) if len(x) % 2 else reversed(list(zip(*parts, strict=True)))
        return functools.reduce(torch.add, [part @ weights.T for part, weights in pairs])

    assert moved(fickle, torch.cat([rows, -rows], 1) + 2.0**-12 * drawn(64, 2 * IN, seed=2))


def test_gate_and_up_are_not_exchanged():
    weights, x = [drawn(OUT, IN, seed=seed) for seed in (0, 4)], drawn(3, IN, seed=1)
    gate, up = (Plain(multiplied_out(weight), None)(x) for weight in weights)
    have = InInt4().gated((weights[0], None), (weights[1], None))(x)
    assert distance(have, silu(gate) * up) < 0.01 < distance(have, silu(up) * gate)


@pytest.mark.parametrize("shape", [(OUT, IN + 16), (OUT + 8, IN)])
def test_what_is_not_whole_groups_and_blocks_stays_as_stored(shape):
    layout = InInt4()
    assert isinstance(layout.product(drawn(*shape), None), Plain | Packed)
    assert not isinstance(layout.gated((drawn(*shape), None), (drawn(*shape), None)), Int4Pair)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int4")
    build("llama-untied-bias").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_says_nearly_the_same(folder, dtype):
    have_BMV, want_BMV = logits(folder, weights="int4", dtype=dtype), logits(folder, dtype="float32")
    assert 0.9 < float(cosine_similarity(have_BMV.float(), want_BMV, dim=-1).min()) < 0.9999


def test_a_model_holds_both_kinds(folder):
    rounded = load(str(folder), exact="off", weights="int4")
    layer = rounded.model.network.layers[0]
    assert rounded.facts()["weights"] == "int4"
    assert isinstance(layer.read, Int4)
    assert layer.down.steps.shape[0] == 64 // GROUP  # 48 inputs, filled up
    assert isinstance(rounded.model.network.head, Int8)


def test_what_cannot_be_had_is_refused(folder, tmp_path, monkeypatch):
    build("gpt2").save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="int4 weights are for decant's own forward pass, but GPT2LMHeadModel runs"):
        load(str(tmp_path), weights="int4")
    monkeypatch.setattr(weights, "unpacks", lambda: False)
    with pytest.raises(IncompatibleParts, match="int4 weights need torch with oneDNN and a CPU with VNNI or AMX"):
        load(str(folder), weights="int4")

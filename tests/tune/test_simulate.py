"""The roofline: its limits are known, more work never costs less, and a report of it reads as a measured one."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from decant.errors import BadInput
from decant.tune.hardware import load
from decant.tune.shape import Shape
from decant.tune.simulate import (
    ROWS,
    Load,
    drafting,
    head_seconds,
    launching,
    needed_gb,
    parts,
    pass_seconds,
    passes,
    refuse_large,
    report,
)

ROOT = Path(__file__).parents[2]
CONFIG = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "torch_dtype": "bfloat16",
}
SEVEN = Shape.of(CONFIG, "7B")
H100 = load("h100-sxm")
IDEAL = replace(
    H100, bandwidth_efficiency=1, compute_efficiency=1, attention_efficiency=1, overlap=1, launch_us=0, step_us=0
)


def test_the_sizes_of_a_public_model():
    """Llama-2-7B has 6,738,415,616 parameters, of which 266,240 are in norms."""
    assert SEVEN.parameters == 6_738_415_616 - 266_240
    assert SEVEN.cached_token == 2 * 32 * 4096 * 2
    assert SEVEN.output_parameters == 32000 * 4096


def test_one_row_takes_as_long_as_its_reading():
    weights = 2 * (SEVEN.layer_parameters + SEVEN.output_parameters)
    cache = 1025 * SEVEN.cached_token
    assert pass_seconds(IDEAL, SEVEN, Load(1, 1, 1024)) == pytest.approx((weights + cache) / 3350e9)


def test_many_rows_take_as_long_as_their_computing():
    rows = 4096
    flops = 2 * rows * (SEVEN.layer_parameters + SEVEN.output_parameters)
    attention = 4 * rows * (1 + rows) * 32 * 4096
    assert pass_seconds(IDEAL, SEVEN, Load(1, rows, 1)) == pytest.approx((flops + attention) / 989.4e12)


def test_between_them_a_pass_is_never_below_either_limit():
    for rows in ROWS:
        load_ = Load(4, rows, 512)
        reading = sum(part.bytes for part in parts(SEVEN, load_)) / 3350e9
        computing = sum(part.flops for part in parts(SEVEN, load_)) / 989.4e12
        found = pass_seconds(IDEAL, SEVEN, load_)
        assert max(reading, computing) * (1 - 1e-12) <= found <= reading + computing


def test_without_overlap_the_times_add_up():
    alone = replace(IDEAL, overlap=0)
    load_ = Load(8, 16, 100)
    expected = sum(part.bytes / 3350e9 + part.flops / 989.4e12 for part in parts(SEVEN, load_))
    assert pass_seconds(alone, SEVEN, load_) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["h100-sxm", "h100-sxm:devices=8", "l4", "ryzen-7840u"])
def test_more_work_never_costs_less(name):
    machine = load(name)
    for batch in (1, 4, 64):
        for context in (1, 1024):
            times = [pass_seconds(machine, SEVEN, Load(batch, rows, context)) for rows in ROWS]
            assert times == sorted(times)
    for rows in (1, 8):
        assert pass_seconds(machine, SEVEN, Load(4, rows, 10)) < pass_seconds(machine, SEVEN, Load(16, rows, 10))
        assert pass_seconds(machine, SEVEN, Load(4, rows, 10)) < pass_seconds(machine, SEVEN, Load(4, rows, 4096))


@pytest.mark.parametrize(
    "change",
    [
        {"bandwidth_gb_s": 1000},
        {"bandwidth_efficiency": 0.5},
        {"tflops": {"bfloat16": 5}},
        {"compute_efficiency": 0.01},
        {"attention_efficiency": 0.1},
        {"launch_us": 50},
        {"kernels_per_layer": 50},
        {"request_us": 50},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_number_counts(change):
    """A worse machine is slower, whichever number is worse."""
    load_ = Load(16, 16, 1024)
    base = replace(H100, sources={**H100.sources, "request_us": "a test"})
    assert pass_seconds(replace(base, **change), SEVEN, load_) > pass_seconds(base, SEVEN, load_)


def test_kernels_cost_whatever_they_do():
    tiny = replace(SEVEN, width=1, feed_forward=1, heads=1, kv_heads=1, head_size=1, vocab=1)
    assert pass_seconds(H100, tiny, Load(1, 1, 1)) == pytest.approx(33 * 10 * 1.5e-6, rel=0.01)
    each = replace(H100, request_us=2.0, sources={**H100.sources, "request_us": "a test"})
    assert launching(each, SEVEN, 8) - launching(H100, SEVEN, 8) == pytest.approx(32 * 8 * 2e-6)


def test_devices_share_the_work_and_pay_for_exchanges():
    one, four = (replace(IDEAL, devices=count, link_us=10) for count in (1, 4))
    load_ = Load(1, 1, 1)
    exchanges = 2 * 32 * (10e-6 + 2 * 4096 * 2 * 0.75 / 450e9)
    assert pass_seconds(four, SEVEN, load_) == pytest.approx(pass_seconds(one, SEVEN, load_) / 4 + exchanges)


def test_curves_are_those_of_the_passes():
    found = passes(H100, SEVEN, [1, 8], 300)
    assert found.seconds(8, 5) == pytest.approx(pass_seconds(H100, SEVEN, Load(8, 5, 300)))
    assert found.crank == pytest.approx(200e-6)
    level = drafting(H100, SEVEN, [8, 1], 300)
    assert level.seconds(8, 3) == pytest.approx(3 * (50e-6 + pass_seconds(H100, SEVEN, Load(8, 1, 300))))
    wide = drafting(H100, SEVEN, [8], 300, width=4)
    assert wide.seconds(8, 1) == pytest.approx(50e-6 + pass_seconds(H100, SEVEN, Load(8, 4, 300)))


def test_a_head_reads_its_weights_and_pays_for_a_level():
    found = head_seconds(IDEAL, 10**9, "bfloat16", Load(4, 1, 300))
    assert found == pytest.approx(2e9 / 3350e9 + 50e-6)
    many = head_seconds(IDEAL, 10**9, "bfloat16", Load(256, 16, 300))
    assert many == pytest.approx(2e9 * 4096 / 989.4e12 + 50e-6)


def test_a_report_reads_as_a_measured_one():
    said = json.loads(json.dumps(report(H100, SEVEN, [128, 512], [1, 4], (1, 2, 8)), allow_nan=False))
    assert said["predicted"] is True
    assert [(curve["batch"], curve["context"]) for curve in said["curves"]] == [(1, 128), (1, 512), (4, 128), (4, 512)]
    for curve in said["curves"]:
        assert set(curve) == {"batch", "context", "floor_ms", "points"}
        assert [point["tokens"] for point in curve["points"]] == [1, 2, 8]
        assert curve["points"][0]["relative"] == 1
        for point in curve["points"]:
            assert set(point) == {"tokens", "ms", "relative", "floor_fraction"}
            assert set(point["ms"]) == {"median", "low", "high"}
            assert 0 < point["floor_fraction"] <= 0.8  # the share of the peak that is read at, at most
    assert said["bandwidth_gb_s"] == 3350


def test_what_does_not_fit_is_refused():
    assert needed_gb([SEVEN], 256, 1024) == pytest.approx((2 * 6_738_149_376 + 256 * 1024 * 524_288) / 1e9)
    with pytest.raises(BadInput, match=r"7B with 256 contexts of 1024 tokens need 151 GB, and .* has 80 GB"):
        refuse_large(H100, [SEVEN], 256, 1024)
    refuse_large(load("h100-sxm:devices=2"), [SEVEN], 256, 1024)


def test_a_dtype_and_rounded_weights():
    half = Shape.of(CONFIG, "7B", weights="int4")
    assert pass_seconds(IDEAL, half, Load(1, 1, 1)) == pytest.approx(
        pass_seconds(IDEAL, SEVEN, Load(1, 1, 1)) / 4, rel=0.01
    )
    assert Shape.of(CONFIG, "7B", dtype="float32").weight_bytes == 4
    with pytest.raises(BadInput, match="dtype of 7B is 'float8', and passes are predicted for float32"):
        Shape.of({**CONFIG, "torch_dtype": "float8"}, "7B")


def test_configurations_of_other_families():
    gpt2 = {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "model_type": "gpt2", "n_inner": None}
    shape = Shape.of({**gpt2, "tie_word_embeddings": True}, "gpt2")
    assert (shape.feed_forward, shape.matrices, shape.kv_heads, shape.head_size) == (3072, 2, 12, 64)
    assert shape.parameters == pytest.approx(124e6, rel=0.02)
    grouped = Shape.of({**CONFIG, "num_key_value_heads": 8}, "grouped")
    assert SEVEN.parameters - grouped.parameters == 32 * 2 * 4096 * 128 * 24
    nested = Shape.of({"text_config": CONFIG, "vision_config": {}}, "nested")
    assert nested == replace(SEVEN, name="nested")
    head = Shape.of({**CONFIG, "num_hidden_layers": 1, "draft_vocab_size": 8000, "num_key_value_heads": 8}, "head")
    assert (head.vocab, head.kv_heads) == (8000, 8)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_local_experts": 8}, "a mixture of experts .num_local_experts"),
        ({"kv_lora_rank": 512}, "latent attention .kv_lora_rank"),
        ({"is_encoder_decoder": True}, "an encoder and a decoder"),
        ({"vocab_size": None}, "has no vocab_size"),
    ],
)
def test_a_model_whose_passes_cost_otherwise_is_refused(more, message):
    with pytest.raises(BadInput, match=message):
        Shape.of({**CONFIG, **more}, "stranger")


def test_one_expert_is_no_mixture():
    assert Shape.of({**CONFIG, "num_local_experts": 1, "is_encoder_decoder": False}, "7B") == SEVEN


def test_the_committed_page_is_what_the_code_says():
    lines = runpy.run_path(str(ROOT / "docs" / "scale.py"))["page"]()
    assert (ROOT / "docs" / "scale.md").read_text() == "\n".join(lines) + "\n"

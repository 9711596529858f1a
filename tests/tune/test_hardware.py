"""Machine files: what comes along is complete and sourced, and what is wrong in a file is named."""

import json
from dataclasses import replace

import pytest

from decant.errors import BadInput
from decant.tune import hardware
from decant.tune.hardware import PRESUMED, load, parsed, shipped

GIVEN = json.loads((hardware.SHIPPED / "h100-sxm.json").read_text())


def test_gpus_and_processors_come_along():
    names = shipped()
    assert {"h100-sxm", "a100-80gb-sxm", "rtx-4090", "l4", "m3-max", "epyc-9654", "ryzen-7840u"} <= set(names)
    assert len({load(name).name for name in names}) == len(names)


@pytest.mark.parametrize("name", shipped())
def test_a_machine_that_comes_along_reads_computes_and_says_where_it_is_from(name):
    machine = load(name)
    assert machine.flops("bfloat16") >= machine.flops("float32") > 0
    assert "bandwidth_gb_s" not in machine.presumed  # the vendor's own number, or there is no such file
    for field, source in machine.sources.items():
        assert source.removeprefix(PRESUMED).strip(), field
    assert parsed(json.loads(json.dumps(machine.facts())), name) == machine


@pytest.mark.parametrize("name", shipped())
def test_what_passes_reach_is_a_presumption(name):
    """No vendor publishes it: a file that called it public would be wrong."""
    assert {"bandwidth_efficiency", "compute_efficiency", "overlap", "launch_us"} <= set(load(name).presumed)


@pytest.mark.parametrize("field", ["bandwidth_gb_s", "tflops", "launch_us", "sources"])
def test_a_missing_field_is_named(field):
    said = {name: value for name, value in GIVEN.items() if name != field}
    with pytest.raises(BadInput, match=f"here: the field {field} is missing"):
        parsed(said, "here")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bandwidth_gb_s", 0, "bandwidth_gb_s of .* is above 0, got 0"),
        ("bandwidth_gb_s", "3350", "bandwidth_gb_s of .* is a number from 0 on, got '3350'"),
        ("launch_us", -1, "launch_us of .* is a number from 0 on, got -1"),
        ("launch_us", True, "launch_us of .* is a number from 0 on, got True"),
        ("memory_gb", float("nan"), "memory_gb of .* is a number from 0 on, got nan"),
        ("compute_efficiency", 1.2, "compute_efficiency of .* is a share, up to 1, got 1.2"),
        ("overlap", 2, "overlap of .* is a share, up to 1, got 2"),
        ("tflops", {}, "tflops of .* are numbers by dtype"),
        ("tflops", 989, "tflops of .* are numbers by dtype"),
        ("tflops", {"bfloat16": 0}, "tflops.bfloat16 of .* is above 0, got 0"),
        ("devices", 0, "devices of .* is above 0, got 0"),
        ("sources", [], "sources an object"),
        ("name", 3, "name is a text"),
    ],
)
def test_a_wrong_value_is_named(field, value, message):
    with pytest.raises(BadInput, match=message):
        parsed({**GIVEN, field: value}, "here")


def test_a_number_without_a_source_is_refused():
    sources = {name: source for name, source in GIVEN["sources"].items() if name != "overlap"}
    with pytest.raises(BadInput, match=r'overlap of .* has no source; say in "sources" where 1 is from'):
        parsed({**GIVEN, "sources": sources}, "here")


def test_each_dtype_may_have_a_source_of_its_own():
    sources = {name: source for name, source in GIVEN["sources"].items() if name != "tflops"}
    sources |= {"tflops.bfloat16": "a page", "tflops.float16": "a page"}
    with pytest.raises(BadInput, match=r"tflops.float32 of .* has no source"):
        parsed({**GIVEN, "sources": sources}, "here")
    machine = parsed({**GIVEN, "sources": {**sources, "tflops.float32": f"{PRESUMED} a guess"}}, "here")
    assert "tflops.float32" in machine.presumed
    assert "tflops.bfloat16" not in machine.presumed


def test_an_unknown_field_is_answered_with_the_nearest():
    with pytest.raises(BadInput, match="no field 'bandwidth_gbs'; is it bandwidth_gb_s"):
        parsed({**GIVEN, "bandwidth_gbs": 1}, "here")


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({**GIVEN, "name": "mine"}))
    assert load(str(file)) == replace(load("h100-sxm"), name="mine")
    file.write_text("{")
    with pytest.raises(BadInput, match=r"mine.json cannot be read"):
        load(str(file))
    file.write_text("[]")
    with pytest.raises(BadInput, match="holds no JSON object"):
        load(str(file))


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(BadInput, match="no machine and no file is called 'h100-smx'; there are h100-sxm"):
        load("h100-smx")


def test_several_devices():
    assert load("h100-sxm:devices=4").devices == 4
    with pytest.raises(BadInput, match="no link_gb_s, so it is one device; give one for 2 devices"):
        load("epyc-9654:devices=2")


def test_a_dtype_that_the_file_does_not_name():
    machine = replace(load("h100-sxm"), tflops={"bfloat16": 100.0})
    with pytest.raises(BadInput, match="no tflops for float32; its file has those for bfloat16"):
        machine.flops("float32")

"""What is measured when a model is exported, and which folders are left alone."""

from dataclasses import replace

import pytest
import torch

from decant.errors import BadInput
from decant.export.compressed import TEXTS, export, measure
from decant.export.formats import Asked, run
from decant.models.build import LlamaSpec, save_folder, untrained
from decant.models.fast.int8 import multiplies
from decant.models.load import load

pytestmark = pytest.mark.skipif(not multiplies(), reason="this machine does not multiply eight-bit numbers")
SPEC = LlamaSpec(vocab=97, hidden=32, layers=2, heads=2, kv_heads=1, intermediate=64, eos=(2,), pad=0, positions=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "original"
    save_folder(untrained(SPEC, seed=0), folder)
    return folder


def test_an_equal_model_costs_nothing_and_another_something(folder):
    original, rounded = (load(str(folder), exact="off", weights=weights) for weights in ("auto", "int8"))
    free = measure(original, original)
    assert (free.nats, free.same) == (0, 1)
    assert free.tokens == TEXTS * (original.model.context - 1)
    assert 0 < measure(original, rounded).nats < 0.01


def test_the_cost_is_the_divergence_of_what_the_original_says(folder):
    """Against a model that says every token alike: KL is then what its entropy lacks to that of all tokens."""
    original = load(str(folder), exact="off")
    network = original.model.network
    flat = replace(network, norm=replace(network.norm, weight=torch.zeros_like(network.norm.weight)))
    other = replace(original, model=replace(original.model, network=flat))
    back, there = measure(other, original), measure(original, other)
    assert back.nats > 0 < there.nats != back.nats


def test_it_can_be_run_again_but_not_over_something_else(folder, tmp_path):
    out = tmp_path / "out"
    first = export(str(folder), out)
    assert export(str(folder), out) == first
    other = tmp_path / "other"
    save_folder(untrained(SPEC, seed=1), other)
    with pytest.raises(BadInput, match="is not empty, and not an export of the same model; give a new folder"):
        export(str(other), out)
    with pytest.raises(BadInput, match="is not empty"):
        export(str(folder), other)
    with pytest.raises(BadInput, match=r"config.json is a file; give a folder"):
        export(str(folder), other / "config.json")


def test_what_cannot_be_exported_is_refused(folder, tmp_path):
    with pytest.raises(BadInput, match="weights 'int4' have no folder that other engines read; take int8"):
        export(str(folder), tmp_path / "out", "int4")
    export(str(folder), tmp_path / "once")
    with pytest.raises(BadInput, match="cannot be exported: it is int8 already"):
        export(str(tmp_path / "once"), tmp_path / "twice")
    with pytest.raises(BadInput, match="cannot be exported: it is int8 already; give the original"):
        run(Asked(str(tmp_path / "once"), tmp_path / "twice", ("transformers",)))
    assert not (tmp_path / "twice").exists()


def test_the_run_of_all_formats_writes_the_same_folder(folder, tmp_path):
    direct = export(str(folder), tmp_path / "direct")
    (report,) = run(Asked(str(folder), tmp_path / "out", ("int8",)))
    assert {name: report[name] for name in direct} == direct
    assert {file["path"] for file in report["files"]} == {file.name for file in (tmp_path / "direct").iterdir()}

"""FreeDave by name: what it promises with which knobs, and what the methods around it refuse."""

from pathlib import Path

import pytest

from decant.apps.compose import compose
from decant.errors import BadInput
from decant.models.build import LlamaSpec, save_folder, untrained
from decant.models.load import load
from decant.models.loaded import Loaded
from decant.models.masked.training import adapt
from decant.samplers.temperature import temperature


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A small model that fills in masks."""
    folder: Path = tmp_path_factory.mktemp("filling")
    spec = LlamaSpec(vocab=23, hidden=16, layers=1, heads=1, kv_heads=1, intermediate=24, head_dim=16, positions=64)
    model = untrained(spec)
    adapt(model)
    save_folder(model, folder)
    return load(str(folder))


@pytest.mark.parametrize(
    ("spec", "promise"),
    [
        ("low-confidence", "tokens"),
        ("low-confidence:block=4", None),
        ("freedave", "tokens"),
        ("freedave:drafts=2:apart=yes", "tokens"),
        ("freedave:cache=dual", None),
        ("freedave:block=4", None),
        ("prophet", None),
        ("end-of-text:sure=0.8", None),
    ],
)
def test_plain_decodings_tokens_are_promised_with_its_schedule_and_cache_alone(
    host: Loaded, spec: str, promise: str | None
) -> None:
    assert compose(spec, host, None, temperature(1.0)).promise == promise


def test_a_knob_of_an_unmasker_that_is_not_taken_is_refused(host: Loaded) -> None:
    with pytest.raises(BadInput, match="freedave has no knob 'per_step'"):
        compose("freedave:per_step=2", host, None, temperature(1.0))


def test_guided_diffusion_needs_a_draft_model(host: Loaded) -> None:
    with pytest.raises(BadInput, match="guided-diffusion needs a draft model"):
        compose("guided-diffusion", host, None, temperature(1.0))

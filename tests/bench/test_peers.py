"""The seam to other engines: what they lack, how they fail, whether their ids are the model's."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.peers.judge import Judge
from benchmarks.peers.seam import CannotRun, Weights
from benchmarks.peers.table import PEERS, QUICK, Peer, rows
from benchmarks.peers.worker import Worker
from decant.models.folder import HOUSE

FAKE = """
import os
from peers.seam import Engine
def engines(weights, kind):
    print("noise on standard output")
    yield Engine("", f"{kind} on {weights.threads}", lambda ids, count: [sum(ids)] * count)
    yield Engine("raises", "1", lambda ids, count: 1 / 0)
    yield Engine("dies", "1", lambda ids, count: os._exit(3))
    raise RuntimeError("no draft\\nto be had")
"""


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    (tmp_path / "fake_engine.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Weights(tmp_path, None, tmp_path, 3, 8)


def test_every_row_has_a_name_of_its_own() -> None:
    names = rows(PEERS)
    assert len(set(names)) == len(names)
    assert set(QUICK) <= set(names)
    assert "transformers-bf16-assisted" in names


def test_an_engine_that_is_not_installed_is_named(weights: Weights) -> None:
    with pytest.raises(CannotRun, match=r"not installed: nowhere_to_be_found \(make peers\)"):
        Worker("absent", Peer("nowhere_to_be_found", ""), weights)


def test_an_engine_answers_through_its_own_noise_and_its_own_failures(weights: Weights) -> None:
    worker = Worker("fake", Peer("fake_engine", "bf16"), weights)
    assert worker.engines == {"": "bf16 on 3", "raises": "1", "dies": "1"}
    assert worker.reason == "no draft to be had"
    found, seconds = worker.generate("", [1, 2], 2)
    assert found == [3, 3]
    assert seconds >= 0
    with pytest.raises(CannotRun, match="division by zero"):
        worker.generate("raises", [1], 1)
    with pytest.raises(CannotRun, match="it ended with status 3: noise on standard output"):
        worker.generate("dies", [1], 1)
    worker.close()


def test_the_judge_knows_the_models_own_choice() -> None:
    judge = Judge(HOUSE / "target")
    prompt = [5, 66, 88, 99]
    with torch.inference_mode():
        best = int(judge._network(torch.tensor([prompt])).logits[0, -1].argmax())
    assert judge.verdict([prompt], [[best]]) == {"first_choice": 1.0, "worst_nats": 0.0}
    wrong = judge.verdict([prompt, prompt], [[best], [(best + 1) % 4096]])
    assert wrong["first_choice"] == 0.5
    assert wrong["worst_nats"] > 0


def test_a_token_reads_every_weight_once_and_the_cache() -> None:
    judge = Judge(HOUSE / "target")
    config = json.loads((HOUSE / "target" / "config.json").read_text())
    cached = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    assert judge.bytes_read(10) == 2 * (judge.parameters + 10 * cached)

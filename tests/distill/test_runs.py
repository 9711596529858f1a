"""What a run writes beside its checkpoint: on a disk that fills up, what was there is whole."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from decant.distill import answers, progress, shards
from decant.distill.runs import RECIPE, earlier, write_recipe
from decant.errors import BadInput
from tests.distill.caches import contents
from tests.filling import full

AFTER = 3000  # bytes
FACTS = shards.Facts("t" * AFTER, "", "", 1.0, 8, 48, 9, 1, 1, 1, "")


def _recipe(folder: Path) -> None:
    write_recipe(folder, {"asked": {"data": "d" * AFTER}})


WRITERS: dict[str, Callable[[Path], object]] = {
    RECIPE: _recipe,
    shards.FACTS: FACTS.write,
    "000000.safetensors": lambda folder: shards.put(shards.place(folder, 0), {"at_R": np.zeros(AFTER)}),
    answers.FILE: lambda folder: answers.read(folder / answers.FILE, [[0], [1]]),  # drops a line that is cut short
    progress.METRICS: lambda folder: progress.forget(folder, AFTER - 2),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_full_disk_refuses_is_a_sentence(tmp_path, name) -> None:
    if name == answers.FILE:
        whole = [json.dumps({"prompt": at, "start": 1, "ids": [at, *[0] * AFTER]}) + "\n" for at in range(2)]
        (tmp_path / name).write_text("".join(whole) + '{"prompt"')
    if name == progress.METRICS:
        (tmp_path / name).write_text("".join(json.dumps({"step": at}) + "\n" for at in range(AFTER)))
    before = contents(tmp_path)
    with pytest.raises(BadInput, match=rf"{tmp_path}/{name} could not be written: File too large; .*Make"), full(AFTER):
        WRITERS[name](tmp_path)
    assert contents(tmp_path) == before, "nothing half written takes the room"


def test_a_run_on_a_disk_that_fills_up_can_go_on(tmp_path) -> None:
    write_recipe(tmp_path, {"asked": {"data": "d"}, "steps": 7})
    with pytest.raises(BadInput, match=r"the recipe\.json of before is whole"), full(AFTER):
        _recipe(tmp_path)
    assert earlier(tmp_path, {"asked": {"data": "d"}})["steps"] == 7


def test_answers_before_the_one_that_found_no_room_are_kept(tmp_path) -> None:
    from decant.constraints.unconstrained import Unconstrained
    from decant.decoders.autoregressive import Autoregressive
    from decant.decoders.stopping import Stopping
    from decant.samplers.temperature import temperature
    from decant.testing.markov import MarkovLM

    decoder = Autoregressive(MarkovLM.random(vocab=6, seed=0), temperature(1.0), Unconstrained())
    prompts, writing = [[at % 5, 1] for at in range(7)], answers.Writing(Stopping(5), batch=3, seed=4)
    whole = answers.write(decoder, prompts, tmp_path / "one.jsonl", writing)
    file = tmp_path / "two.jsonl"
    with pytest.raises(BadInput, match=r"two\.jsonl could not be .*; the answers before this one are kept"), full(200):
        answers.write(decoder, prompts, file, writing)
    assert 0 < len(answers.read(file, prompts)) < 7
    assert answers.write(decoder, prompts, file, writing) == whole


def test_a_run_does_not_go_on_with_an_edited_file(tmp_path) -> None:
    asked = {"asked": {"texts": "d.jsonl"}, "data": "d.jsonl"}
    write_recipe(tmp_path, {**asked, "digest": "one"})
    assert earlier(tmp_path, {**asked, "digest": "one"})
    with pytest.raises(BadInput, match=r"is of a run on d\.jsonl as it was \(sha256 one\.\.\.\), .* now has two"):
        earlier(tmp_path, {**asked, "digest": "two"})
    with pytest.raises(BadInput, match=r"and that file is gone; put it back, or give a new folder"):
        earlier(tmp_path, {**asked, "digest": None})
    write_recipe(tmp_path, asked)
    assert earlier(tmp_path, {**asked, "digest": "two"}), "runs that are older do not say"

"""A small run that is killed at every moment that matters, and goes on: `crashing.py FOLDER PLANT STRIDE`.

PLANT is a classical bug, `torn` (a checkpoint written in place) or `forgetful` (the parts' memory not kept), or `none`.
It prints how many moments there were, and after how many the run ended as if nothing had happened.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from decant.distill import checkpoint, trainer
from decant.distill.trainer import CHECKPOINT, METRICS, Settings, Share, run
from decant.errors import BadInput

VOCAB = 7
EVERY = 40  # of so many writes to a file, one is a moment
SETTINGS = Settings(steps=5, peak=0.05, muon=0.02, warmup=2, save_every=2, report_every=1, quiet=True)


class Moments:
    """Counts; at the fatal one the process is killed."""

    def __init__(self, fatal: int = -1) -> None:
        self.count, self.fatal = 0, fatal

    def pass_by(self) -> None:
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


class OwnTexts:
    """On its own texts, which it remembers for a while, with a weight that follows the loss."""

    def __init__(self, model: nn.Module, moments: Moments) -> None:
        self.model, self.moments = model, moments

    def start(self) -> dict[str, Any]:
        return {"texts": [], "pace": 1.0, "seen": torch.zeros(VOCAB)}

    @torch.no_grad()
    def write(self, step: int) -> list[int]:
        ids = [step % VOCAB]
        for _ in range(4):
            ids.append((int(self.model(torch.tensor(ids[-1:])).argmax()) + step) % VOCAB)
        return ids

    def batches(self, state: dict[str, Any], step: int, share: Share) -> tuple[list[Tensor], dict[str, Any]]:
        self.moments.pass_by()
        texts = [*state["texts"], self.write(step)][-3:]
        seen = state["seen"] + torch.bincount(torch.tensor(texts).flatten(), minlength=VOCAB)
        return [torch.tensor([text]) for text in texts], {**state, "texts": texts, "seen": seen}

    def weight(self, piece: Tensor) -> Tensor:
        return torch.tensor(float(piece[:, 1:].numel()))

    def nats(self, state: dict[str, Any], step: int, piece: Tensor) -> Tensor:
        logits_BTV = functional.dropout(self.model(piece[:, :-1]), 0.1)
        nats_BT = functional.cross_entropy(logits_BTV.transpose(1, 2), piece[:, 1:], reduction="none")
        return (nats_BT * state["pace"] / (1 + state["seen"][piece[:, 1:]])).sum()

    def observe(self, state: dict[str, Any], step: int, nats: float) -> dict[str, Any]:
        return {**state, "pace": 0.9 * state["pace"] + nats}


def toy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(VOCAB, 8), nn.Linear(8, VOCAB))


class Torn:
    """A file of which half a write may reach the disk."""

    def __init__(self, file: Any, moments: Moments) -> None:
        self.file, self.moments, self.writes = file, moments, 0

    def write(self, chunk: Any) -> int:
        kept = bytes(chunk)
        self.writes += 1
        if self.writes % EVERY == 1:
            self.file.write(kept[: len(kept) // 2])
            self.file.flush()
            self.moments.pass_by()
            kept = kept[len(kept) // 2 :]
        self.file.write(kept)
        return len(chunk)

    def flush(self) -> None:
        self.file.flush()


def watched(moments: Moments, plant: str) -> None:
    """Every write, every sync and every renaming is a moment, and so is what lies behind it."""
    save, sync, replace = torch.save, os.fsync, os.replace

    def between(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            moments.pass_by()
            found = call(*arguments)
            moments.pass_by()
            return found

        return called

    def forgetful(found: dict[str, Any]) -> dict[str, Any]:
        return {**found, "memory": {"texts": [], "pace": 1.0, "seen": torch.zeros(VOCAB)}}

    torch.save = lambda found, file: save(  # type: ignore[assignment]
        forgetful(found) if plant == "forgetful" else found, Torn(file, moments)
    )
    os.fsync, os.replace = between(sync), between(replace)  # type: ignore[assignment]
    if plant == "torn":

        def in_place(found: Any, path: Path) -> None:
            with path.open("wb") as file:
                torch.save(found, file)

        trainer.write = checkpoint.write = in_place  # type: ignore[assignment]


def child(folder: Path, fatal: int, plant: str, ends: float | None = None) -> bool:
    """Whether the run came to its end; in a process of its own. ends: seconds until it is killed from outside."""
    number = os.fork()
    if not number:
        moments, model = Moments(fatal), toy()
        watched(moments, plant)
        status = 0
        try:
            run(model, OwnTexts(model, moments), SETTINGS, folder)
            (folder / "moments").write_text(str(moments.count))
        except BadInput:
            status = 1
        os._exit(status)
    if ends is not None:
        time.sleep(ends)
        os.kill(number, signal.SIGKILL)
    return os.waitpid(number, 0)[1] == 0


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def ended(folder: Path) -> tuple[Any, list[tuple[int, float]]]:
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return torch.load(folder / CHECKPOINT, weights_only=True), [(row["step"], row["nats"]) for row in rows]


def alike(folder: Path, others: Path) -> bool:
    one, other = ended(folder), ended(others)
    return same(one[0], other[0]) and one[1] == other[1]


def main(folder: Path, plant: str, stride: int) -> None:
    torch.set_num_threads(1)
    model = toy()
    run(model, OwnTexts(model, Moments()), SETTINGS, folder / "warm")  # what is imported late is imported now
    began = time.perf_counter()
    assert child(folder / "whole", -1, plant)
    takes = time.perf_counter() - began
    count = int((folder / "whole" / "moments").read_text())
    fine = 0
    for moment in range(0, count, stride):
        here = folder / str(moment)
        assert not child(here, moment, plant)
        fine += child(here, -1, plant) and alike(here, folder / "whole")
    rng, here, kills = random.Random(0), folder / "often", 0
    while kills < 8 and not child(here, -1, plant, rng.uniform(0, takes / 2)):
        kills += 1
    often = child(here, -1, plant) and alike(here, folder / "whole")
    found = {"moments": len(range(0, count, stride)), "fine": fine, "kills": kills, "often": often}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

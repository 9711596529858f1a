"""Texts that the teacher writes itself, kept as tokens: the file grows by a line an answer, and goes on where it ended.

Source: Kim & Rush 2016, arXiv:1606.07947 (sequence-level distillation).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import torch

from decant.decoders.continuous import Continuous, Request
from decant.decoders.stopping import Stopping
from decant.disk import append, write_text
from decant.errors import BadInput
from decant.noise import sample_seed
from decant.protocols import AnyDecoder

FILE: Final = "answers.jsonl"


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """ids: prompt and answer; the answer begins at `start`."""

    ids: list[int]
    start: int


@final
@dataclass(frozen=True, slots=True)
class Writing:
    """How answers are written. Prompt i has the seed `sample_seed(seed, i)`, whatever the batch.

    device: the model's.
    """

    stopping: Stopping
    batch: int = 8
    seed: int = 0
    device: str | torch.device = "cpu"


def write(
    decoder: AnyDecoder,
    prompts: Sequence[list[int]],
    file: Path,
    writing: Writing,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> list[Answer]:
    """Answer every prompt that `file` does not answer yet; all answers, in the order of the prompts.

    Raises BadInput where the file answers other prompts, or cannot be written.
    """
    done = read(file, prompts)
    queue: Continuous = Continuous(decoder, batch=writing.batch, device=writing.device)
    asked: dict[int, int] = {}
    for at, prompt in enumerate(prompts):
        if at not in done:
            request = Request(prompt, sample_seed(writing.seed, at), writing.stopping)
            asked[id(request)] = at
            queue.add(request)
    while queue.running or queue.waiting:
        for request in queue.step():
            if request.output.reason is not None:
                at = asked[id(request)]
                done[at] = Answer(request.prompt + request.output.tokens, len(request.prompt))
                row = {"prompt": at, "start": done[at].start, "ids": done[at].ids}
                append(file, json.dumps(row), "the answers before this one are kept")
                told(len(done), len(prompts))
    return [done[at] for at in range(len(prompts))]


def read(file: Path, prompts: Sequence[list[int]]) -> dict[int, Answer]:
    """What a file answers already, by prompt; a line that a kill cut short is dropped, on disk as well."""
    if not file.exists():
        return {}
    done: dict[int, Answer] = {}
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("}\n")]
    for line in whole:
        row = json.loads(line)
        at, answer = row["prompt"], Answer(row["ids"], row["start"])
        if at >= len(prompts) or answer.ids[: answer.start] != prompts[at]:
            raise BadInput(f"{file} answers other prompts than these; give a new folder, or the prompts it began with")
        done[at] = answer
    if len(whole) < len(lines):
        write_text(file, "".join(whole))
    return done

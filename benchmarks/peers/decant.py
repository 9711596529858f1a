"""decant itself, as `load` gives it, exact mode off: the fastest it has."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch

from decant import __version__
from decant.apps.compose import compose, plain
from decant.decoders.method import Method
from decant.decoders.workload import Workload
from decant.models.load import load
from decant.samplers.greedy import greedy

from .seam import CannotRun, Engine, Weights


def engines(weights: Weights, kind: Literal["auto", "int8", "int4"]) -> Iterator[Engine]:
    torch.set_num_threads(weights.threads)
    target = load(str(weights.folder), dtype="bfloat16", exact="off", device="cpu", weights=kind)
    said = f"decant {__version__}"
    yield Engine("", said, _generate(plain(target, greedy())))
    yield Engine("prompt-lookup", said, _generate(compose("prompt-lookup", target, None, greedy())))
    if weights.draft is None:
        raise CannotRun("the model names no draft")
    draft = load(str(weights.draft), dtype="bfloat16", exact="off", device="cpu")
    yield Engine("draft-model", said, _generate(compose("draft-model", target, draft, greedy())))


def _generate(method: Method) -> Callable[[list[int], int], list[int]]:
    def generate(ids: list[int], new_tokens: int) -> list[int]:
        work = Workload([ids], new_tokens)
        return [token for _, outputs in work.decode(method.decoder) for output in outputs for token in output.tokens]

    return generate

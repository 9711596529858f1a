"""What does it save to store keys and values of a canvas, and what does it lose?

    python benchmarks/filling_caches.py [--model house:diffusion] [--length 256] [--questions 12] [--quick]

Held-out questions of tasks with long answers, greedy, one request at a time, `threshold` and one place a step. Read by
block, what is stored is exact: beside it the same model that computes prompt and canvas up to the block in every pass.
Read as one block (`reads=canvas`), caches are approximations: beside them the same without one. Same: answers that are
the ids of the first row of their kind.

Left out: GPUs; batches above 1, where passes over few rows gain more.
"""

import time
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from torch import Tensor

from decant.apps.choosing import warp_of
from decant.apps.compose import compose
from decant.apps.prompts import chat_prompt, encode
from decant.apps.sampling import Sampling
from decant.bench.study import begin, heading, options, save
from decant.decoders.continuous import Continuous, Request, answers
from decant.decoders.stopping import Stopping
from decant.diffusion import Fresh
from decant.house import tasks
from decant.house.evaluate import held_out
from decant.house.tokenizer import END
from decant.models.load import Loaded, load

WARP: Final = warp_of(Sampling(temperature=0.0))
CACHES: Final = ("none", "dual", "prefix", "dkv-decode", "free-cache")


@dataclass(frozen=True)
class Forgetful:
    """A masked model that keeps nothing from pass to pass."""

    inner: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def predict(self, state: Any, canvas_BL: Tensor, fresh: Fresh, wanted_BL: Tensor) -> tuple[Any, Tensor]:
        for shelf in state.shelves:
            shelf.exact_S.zero_()
        return self.inner.predict(state, canvas_BL, fresh, wanted_BL)


def rows(target: Loaded, block: int) -> list[tuple[str, str, Loaded, str]]:
    """Kind, name, model, method; the first of a kind is what the others are compared with."""
    masked: Any = target.masked
    whole = replace(target, masked=replace(masked, convention=replace(masked.convention, block=None)))
    forgetful = replace(target, masked=Forgetful(masked))
    found = []
    for method in ("plain", "threshold"):
        found.append((f"by block, {method}", "nothing stored", forgetful, f"{method}:block={block}"))
        found.append((f"by block, {method}", "stored rows", target, f"{method}:block={block}"))
        for cache in CACHES:
            spec = f"{method}:block={block}:cache={cache}"
            found.append((f"one block, {method}", f"cache={cache}", whole, spec))
    return found


def decoded(target: Loaded, method: str, ids: list[list[int]], length: int) -> tuple[float, int, list[list[int]]]:
    """Seconds, passes, answers."""
    decoder = compose(method, target, None, WARP).decoder
    requests = [Request(prompt, 0, Stopping(length, target.ends)) for prompt in ids]
    begun = time.perf_counter()
    passes = answers(Continuous(decoder, batch=1), requests)
    return time.perf_counter() - begun, sum(passes), [request.output.tokens for request in requests]


def main() -> None:
    parser = options(__doc__ or "", repeat=3)
    parser.add_argument("--model", default="house:diffusion")
    parser.add_argument("--length", type=int, default=256, help="places of an answer")
    parser.add_argument("--questions", type=int, default=12)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.length, chosen.questions = 64, 2
    facts = begin(chosen)
    print(heading(facts))
    target = load(chosen.model)
    assert target.masked is not None, "a model that fills in masks"
    pool = [one for task in ("edit", "records") for one in held_out(task, 60)]
    long = sorted(pool, key=lambda one: -len(one.answer))
    fit = [one for one in long if len(target.encode(one.answer + END)) <= chosen.length][: chosen.questions]
    prompts = [chat_prompt([{"role": "user", "content": one.prompt}], one.task) for one in fit]
    ids = encode(prompts, target, chosen.length)
    parts = rows(target, target.masked.convention.block or 32)
    found: dict[tuple[str, str], list[tuple[float, int, list[list[int]]]]] = {}
    for _ in range(chosen.repeat):
        for kind, name, model, method in parts:
            found.setdefault((kind, name), []).append(decoded(model, method, ids, chosen.length))
    report: list[dict[str, Any]] = []
    for kind, name, _, method in parts:
        first = next(other for other in found if other[0] == kind)
        times = [one[0] / mine[0] for one, mine in zip(found[first], found[kind, name], strict=True)]
        _, passes, texts = found[kind, name][0]
        same = sum(one == two for one, two in zip(texts, found[first][0][2], strict=True))
        right = sum(tasks.correct(one, target.decode(text)) for one, text in zip(fit, texts, strict=True))
        row: dict[str, Any] = {
            "kind": kind,
            "name": name,
            "method": method,
            "passes": passes,
            "same": same,
            "right": right,
        }
        row["seconds"] = [one[0] for one in found[kind, name]]
        row["times_as_fast"] = [min(times), median(times), max(times)]
        report.append(row)
        print(
            f"{kind:22} {name:18} {median(times):5.2f}x ({min(times):.2f}-{max(times):.2f}) as fast, {passes} passes, "
            f"{same} of {len(fit)} the same, {right} right"
        )
    settings = {"length": chosen.length, "questions": len(fit), "repeat": chosen.repeat}
    saved = {"machine": facts, "model": target.facts(), "settings": settings, "methods": report}
    print(f"results: {save(saved, __file__, chosen)}")


if __name__ == "__main__":
    main()

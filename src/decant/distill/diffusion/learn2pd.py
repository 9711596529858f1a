"""A filter for models that fill in masks: it learns from replayed answers which guesses will last.

The model answers every prompt a place a step; an oracle that knows these answers replays them. What the model was sure
of at each pass is what the filter reads, whether its guesses were right is what it learns.
Source: Bao et al. 2025, arXiv:2509.25188 (Learn2PD).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from decant.disk import KEPT, write_text, writing
from decant.distill.diffusion.canvases import BLOCK
from decant.distill.diffusion.trajectories import Examples, Trajectories
from decant.distill.runs import TRAINING, earlier, write_recipe
from decant.distill.settings import Settings
from decant.distill.trainer import Batch, train
from decant.errors import BadInput
from decant.models.masked.filter import FilterNet, FilterSpec, save, untrained

TAU: Final = 0.96  # at which a filter is measured: that of decoding


@final
@dataclass(frozen=True, slots=True)
class Learn2PD:
    """block: places that are read together; blocks are decoded with as many; none: as the model reads, else 32. hidden:
    width of the filter's inner layer, 0: a block's."""

    block: int | None = None
    hidden: int = 0

    def __post_init__(self) -> None:
        self.spec(BLOCK)

    def spec(self, block: int) -> FilterSpec:
        """The filter's shape, of a model whose blocks have so many places. Raises BadInput."""
        block = block if self.block is None else self.block
        return FilterSpec(block, self.hidden or block)


@final
@dataclass(frozen=True, slots=True)
class Prompts:
    """Those that are learnt from, and those that measure; no answer is in both."""

    learnt: Sequence[list[int]]
    held_out: Sequence[list[int]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Lasting:
    """A lesson: all examples in every step."""

    net: FilterNet
    examples: Examples

    def batch(self, step: int) -> Batch:
        """Their numbers, and how many places of each were open."""
        asked_N = self.examples.asked_NW.sum(-1)
        return torch.arange(len(asked_N))[None], asked_N[None].float()

    def loss(self, rows_1N: Tensor, weights_1N: Tensor) -> Tensor:
        """Nats, summed over open places; a settled one lasts in any case."""
        score_NW = self.net(self.examples.sure_NW[rows_1N[0]])
        right_NW = self.examples.right_NW[rows_1N[0]].float()
        nats_NW = binary_cross_entropy_with_logits(score_NW, right_NW, reduction="none")
        return nats_NW.masked_fill(~self.examples.asked_NW[rows_1N[0]], 0.0).sum()


def teach(recipe: Learn2PD, walks: Trajectories, prompts: Prompts, settings: Settings, run: "Run") -> dict[str, Any]:
    """Answers, examples, then the filter, or on from where an earlier run of the same recipe stopped; the report.

    Answers are greedy and made anew where a run goes on. Raises BadInput where the folder holds another run, or where
    guesses are all alike.
    """
    earlier(run.out, run.origin)
    said = {**run.origin, "knobs": asdict(recipe), "steps": settings.steps}
    learnt, plain, needed = walks.of(prompts.learnt)
    held_out, _, _ = walks.of(prompts.held_out)
    share = float(learnt.right_NW[learnt.asked_NW].double().mean())
    if not 0 < share < 1:
        raise BadInput(
            f"{share:.0%} of all guesses are right: a filter learns from both kinds; take more prompts, or a "
            f"model that has learnt more"
        )
    write_recipe(run.out, said)
    net = untrained(recipe.spec(walks.block), run.seed).to(learnt.sure_NW.device)
    lesson = Lasting(net, learnt)
    began = time.perf_counter()
    train(net, lesson.loss, lesson.batch, settings, run.out / TRAINING)
    seconds = round(time.perf_counter() - began, 1)
    with writing(run.out, KEPT):
        save(net, run.out)
    counts = {"examples": len(learnt), "share": share, "plain": plain, "oracle": needed, "seconds": seconds}
    report = {"kind": "learn2pd", "teacher": run.teacher, **counts, **measured(net, held_out)}
    write_recipe(run.out, said | {"learnt": report})
    write_text(run.out / "README.md", card(report, run))
    return report


@final
@dataclass(frozen=True, slots=True)
class Run:
    """teacher: as the user named it. origin: what recipe.json says besides."""

    teacher: str
    out: Path
    origin: Mapping[str, Any]
    seed: int = 0


@torch.no_grad()
def measured(net: FilterNet, examples: Examples) -> dict[str, float | None]:
    """On open places at `TAU`. found: of the right guesses, those that settle; wrong: of what settles, what is not
    right. None: there is none."""
    settles_NW = (net.eval()(examples.sure_NW).sigmoid() > TAU) & examples.asked_NW
    right_NW = examples.right_NW & examples.asked_NW
    kept, right, both = (int(part.sum()) for part in (settles_NW, right_NW, settles_NW & right_NW))
    return {
        "found": round(both / right, 4) if right else None,
        "wrong": round(1 - both / kept, 4) if kept else None,
    }


def card(report: Mapping[str, Any], run: Run) -> str:
    """README.md."""
    said = {name: "none" if report[name] is None else f"{100 * report[name]:.1f} %" for name in ("found", "wrong")}
    words = {"command": run.origin.get("command", ""), "text": run.origin.get("data", ""), "folder": run.out}
    return CARD.format_map({**report, **said, **words, "share": f"{100 * report['share']:.1f} %", "tau": TAU})


CARD: Final = """\
---
library_name: decant
tags: [masked-diffusion, decant]
---
# A filter for {teacher}

It tells which guesses of a block will last, so that all of them settle at once.

    {command}

| | |
|---|---|
| taught on | {text}, answered by {teacher} |
| examples | {examples:,} passes over a block, {share} of the guesses right |
| passes | {plain:,} a place a step; {oracle:,} by an oracle |
| right guesses that settle at {tau}, held out | {found} |
| wrong ones among what settles | {wrong} |

## Use it

    decant generate {teacher} "..." --method learn2pd:filter={folder}

or name the folder in the model's decant.json: {{"heads": {{"learn2pd": "{folder}"}}}}. The licence is the model's.
"""

"""A router from nothing to a folder: texts labelled, taught on the one trainer, measured on texts of its own, with a
card.

The folder (`distill/runs.py`) holds the router as config.json and model.safetensors. Labels are made anew where a run
goes on: they are greedy, so they are the same.
Source: Fu et al. 2025, arXiv:2505.21600.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import torch

from decant.disk import KEPT, write_text, writing
from decant.distill import router
from decant.distill.answers import Answer
from decant.distill.router import Examples, Labelling, RouterCourse
from decant.distill.runs import TRAINING, earlier, write_recipe
from decant.models.causal import Causal
from decant.models.router import RouterNet, ready, save


@final
@dataclass(frozen=True, slots=True)
class Router:
    """epochs, weight_decay: the authors'. tokens: of a step. recall: share of the tokens that lead elsewhere which the
    threshold must catch. top: how many of the best logits are read. width: of the stack, 0: the small model's. blocks:
    of the stack."""

    epochs: int = 50
    tokens: int = 1024
    weight_decay: float = 5e-4
    recall: float = 0.95
    top: int = 100
    width: int = 0
    blocks: int = 6

    def rate(self, width: int) -> float:
        """The peak: 5e-5 for the authors' stack, 1,024 wide; more for narrower ones."""
        return 5e-5 * 1024 / (self.width or width)

    def shape(self) -> dict[str, int]:
        """Of the network, where it is not the small model's."""
        return {"blocks": self.blocks, **({"width": self.width} if self.width else {})}

    def course(self, rate: float, seed: int, quiet: bool) -> RouterCourse:
        """How it is trained."""
        return RouterCourse(
            epochs=self.epochs,
            rate=rate,
            weight_decay=self.weight_decay,
            batch=self.tokens,
            recall=self.recall,
            seed=seed,
            quiet=quiet,
        )


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """Who is judged, and by whom. teacher, student: their names. learnt, held_out: the teacher's greedy answers, to
    learn from and to measure on."""

    teacher: str
    student: str
    small: Causal
    labelling: Labelling
    learnt: Sequence[Answer]
    held_out: Sequence[Answer]


@final
@dataclass(frozen=True, slots=True)
class Caught:
    """On texts that nobody learnt from. recall: of the tokens that lead elsewhere, None where none does; sent: of all
    tokens, those that go to the target."""

    recall: float | None
    sent: float


def teach(recipe: Router, pair: Pair, course: RouterCourse, origin: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Label, train, or go on where an earlier run of the same recipe stopped; the report.

    Raises BadInput where the folder holds another run, or where the labels are all alike.
    """
    earlier(out, origin)
    said = {**origin, "knobs": asdict(recipe)}
    write_recipe(out, said)
    top = min(recipe.top, pair.small.network.config.get_text_config().vocab_size)
    learnt, held_out = (pair.labelling.examples(pair.small, answers, top) for answers in (pair.learnt, pair.held_out))
    began = time.perf_counter()
    net = router.teach(pair.small, learnt, course, out / TRAINING, **recipe.shape())
    seconds = round(time.perf_counter() - began, 1)
    with writing(out, KEPT):
        save(net, out)
    report = _report(pair, net, learnt, measure(net, pair.small, held_out)) | {"seconds": seconds}
    write_recipe(out, said | {"learnt": report})
    write_text(out / "README.md", card(report, origin, out))
    return report


@torch.no_grad()
def measure(net: RouterNet, small: Causal, examples: Examples) -> Caught:
    """At the router's own threshold."""
    bound = ready(net, small)
    score_N = net(examples.hidden_ND, small.network.embedded(examples.tokens_N).float(), examples.top_NK)
    sent_N = score_N.sigmoid() >= bound.threshold
    caught_N = sent_N[examples.elsewhere_N]
    recall = float(caught_N.double().mean()) if len(caught_N) else None
    return Caught(recall, float(sent_N.double().mean()))


def card(report: Mapping[str, Any], origin: Mapping[str, Any], out: Path) -> str:
    """README.md."""
    recall = "none leads elsewhere" if report["recall"] is None else f"{100 * report['recall']:.1f} %"
    words = {"command": origin.get("command", ""), "text": origin.get("data", ""), "folder": out, "caught": recall}
    words |= {name: f"{100 * report[name]:.1f} %" for name in ("differs", "elsewhere", "sent")}
    return CARD.format_map({**report, **words})


CARD: Final = """\
---
library_name: decant
---
# A router between {student} and {teacher}

{parameters:,} parameters, float32. {student} proposes every token; the router tells where that token would lead
elsewhere, and {teacher} speaks there. Lossy: what it lets pass is checked by nobody.

    {command}

    decant generate {teacher} --draft {student} --method r2r:router={folder} "..."

| | |
|---|---|
| taught on | answers of {teacher} to {text} |
| labelled tokens | {tokens:,} |
| where {student} would have said something else | {differs} |
| where that leads elsewhere | {elsewhere} |

A token leads elsewhere if the teacher, made to go on from it up to the sentence's end, does not end with the same
sentence, letter by letter: stricter than a judge of meaning.

## Measured on held-out answers

| | |
|---|---|
| threshold | {threshold:.4f} |
| caught, of what leads elsewhere | {caught} |
| sent to {teacher}, of all tokens | {sent} |

The licence is that of the two models.
"""


def _report(pair: Pair, net: RouterNet, learnt: Examples, caught: Caught) -> dict[str, Any]:
    return {
        "kind": "router",
        "teacher": pair.teacher,
        "student": pair.student,
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "tokens": len(learnt),
        "differs": round(float(learnt.differs_N.double().mean()), 4),
        "elsewhere": round(float(learnt.elsewhere_N.double().mean()), 4),
        "threshold": net.spec.threshold,
        "recall": None if caught.recall is None else round(caught.recall, 4),
        "sent": round(caught.sent, 4),
    }

"""`decant distill` of a whole student: a composition of `recipes/`, trained, measured and written for transformers."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, Final

import torch
from torch import nn

from decant.apps.caches import sentence
from decant.apps.crews import dismissed
from decant.apps.ranks import agreed
from decant.apps.teaching import Asked, Outcome, Told
from decant.apps.work import TIMED, Work
from decant.disk import write_text
from decant.distill.measure import Apart
from decant.distill.parallel import join
from decant.distill.rollouts.dataset import Dataset
from decant.distill.rollouts.stream import Stream
from decant.distill.runs import earlier, write_recipe
from decant.distill.speaking import Speaking
from decant.distill.trainer import run
from decant.distill.writing import Writing
from decant.errors import BadInput
from decant.models.current import swift
from decant.models.fast.lean import Lean
from decant.models.teacher import Teacher
from decant.recipes.card import NAMES, card
from decant.recipes.kit import Flat

CHUNK_BYTES: Final = 3 * 4 * 2**22  # laws of both sides and their gradient, of one chunk (`seams.by_chunks`)
KEPT_WIDTHS: Final = 16  # floats that a layer keeps of a position for its gradients, in widths of the model


def teach(asked: Asked, told: Told) -> Outcome:
    """The recipe from its first stage to its last, or from where it stopped. Raises BadInput."""
    with dismissed(asked):
        return _taught(asked, told)


def _taught(asked: Asked, told: Told) -> Outcome:
    team, origin = join(), asked.origin()
    before = agreed(team, earlier(asked.out, origin) if team.writes else {})
    work = Work.open(asked, told)
    if isinstance(work.recipe, Flat):
        asked.refuse("its loop starts over each time", "resume")
    steps = before.get("steps") or work.steps()
    settings = replace(work.kit.settings, steps=steps, warmup=min(100, steps // 10))
    work = replace(work, kit=replace(work.kit, settings=settings))
    origin |= {"steps": steps, "peak": settings.peak, "knobs": asdict(work.recipe)}  # type: ignore[call-overload]
    start = before.get("before")
    if team.writes:
        start = start or _numbers(work.apart())
        write_recipe(asked.out, {**origin, "before": start})
    began = time.perf_counter()
    if isinstance(work.recipe, Flat):
        if team.world > 1:
            raise BadInput(f"{asked.recipe} runs in one process, and here are {team.world}; hinton:alpha=1 spreads")
        work.recipe.teach(work.kit)
    else:
        composition = work.recipe.compose(work.kit)
        run(composition.learner, composition, settings, work.kit.folder)
    seconds = round(time.perf_counter() - began, 1)
    report: dict[str, Any] = {"steps": steps, "seconds": seconds, "before": start, "after": None}
    if team.writes:
        report["after"] = _numbers(work.apart())
        work.export()
        write_recipe(asked.out, {**origin, **report})
        text = card(asked.recipe, work.mentor.name, asked.student or "", {**origin, **report})
        write_text(asked.out / "README.md", text)
    return Outcome(report, _facts(report))


def plan(asked: Asked, told: Told) -> Outcome:
    """What would run, what it would need and how long it would take; nothing is trained, nothing is written."""
    with dismissed(asked):
        work = Work.open(asked, told, dry=True)
        seconds, kit = work.seconds_a_step(), work.kit
    steps, needed = work.steps(seconds), _bytes(work)
    tells = getattr(work.recipe, "beforehand", None)
    beforehand: list[str] = [] if tells is None else tells(kit)
    if work.keeping is not None and (estimate := work.keeping.estimate()) is not None:
        beforehand.append(f"the teacher reads every text: {sentence(estimate)}")
    report = {
        "recipe": asked.recipe,
        "knobs": asdict(work.recipe),  # type: ignore[call-overload]
        "texts": len(kit.texts),
        "prompts": len(kit.prompts),
        "beforehand": beforehand,
        "steps": steps,
        "peak": kit.settings.peak,
        "bytes": needed,
        "seconds": {"a step": round(seconds, 3), "training": round(seconds * steps, 1)},
    }
    facts = {
        "knobs": ", ".join(f"{name}={value}" for name, value in report["knobs"].items()) or "none",
        "data": f"{len(kit.texts):,} texts, {len(kit.prompts):,} prompts"
        if kit.stream is None
        else "a stream of texts",
        "beforehand": "; ".join(beforehand) or "nothing",
        "steps": f"{steps:,} of {kit.rows} texts, peak learning rate {kit.settings.peak:g}",
        "memory": f"{sum(needed.values()) / 2**30:.2f} GiB: "
        + ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in needed.items()),
        "time": f"{seconds:.2f} s a step (measured on {TIMED - 1}), {seconds * steps / 60:.1f} minutes of training",
    }
    return Outcome(report, facts)


def _bytes(work: Work) -> dict[str, int]:
    """In float32: weights, and of those that are trained a gradient and two moments; a piece's activations; networks
    besides student and teacher; what is packed to write answers."""
    kit = work.kit
    weights = [(weight.numel(), weight.requires_grad) for weight in kit.student.parameters()]
    config = kit.student.config.get_text_config()
    rows = kit.micro * kit.length * config.num_hidden_layers
    parts = list(_within(work.recipe.compose(replace(kit, dry=True))))
    known = set(map(id, work.mentor.networks))
    # A dry composition has the student itself where a copy of it will be frozen.
    others = {id(part.network): part.network for part in parts if isinstance(part, Teacher)}
    packed = [kit.student] if any(isinstance(part, Writing) for part in parts) else []
    packed += [kit.model().network for part in parts if isinstance(part, Speaking) and part.teacher is not None]
    more = {
        "other networks": sum(_size(one) for key, one in others.items() if key not in known),
        "packed to write": sum(_size(one, swift(one)) for one in packed),
    }
    return {
        "student, gradients and AdamW": sum(16 * count if trained else 4 * count for count, trained in weights),
        "teacher": work.mentor.bytes,
        "activations": rows * config.hidden_size * KEPT_WIDTHS * 4 + CHUNK_BYTES,
        **{name: size for name, size in more.items() if size},
    }


def _size(network: nn.Module, dtype: torch.dtype | None = None) -> int:
    return sum(weight.numel() * (dtype or weight.dtype).itemsize for weight in network.parameters())


def _within(part: Any) -> Iterator[Any]:
    """A composition's parts, and theirs."""
    yield part
    if isinstance(part, list | tuple):
        inner = list(part)
    else:
        inner = [getattr(part, field.name) for field in fields(part)] if is_dataclass(part) else []
    if not isinstance(part, Dataset | Stream | Lean):  # texts and tensors
        for one in inner:
            yield from _within(one)


def _numbers(apart: Apart | None) -> dict[str, Any] | None:
    return None if apart is None else {name: value for name, value in asdict(apart).items() if value is not None}


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    """What was learnt, on held-out texts."""
    before, after = report["before"], report["after"]
    nothing = {"measured": "nothing: no text is held out, or its tokens are not the teacher's"}
    learnt = nothing if not (before and after) else {
        text: f"{after[name]:.4f}; before {before[name]:.4f}" for name, text in NAMES.items()
    }  # fmt: skip
    known = (after or {}).get("outcomes")
    bound = {"teacher's law": f"its {known - 1} best tokens and the rest; KL is a lower bound"} if known else {}
    return {"steps": f"{report['steps']:,} in {report['seconds']:,} s", **learnt, **bound}

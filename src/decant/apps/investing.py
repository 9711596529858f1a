"""Whether teaching a head would pay: `tune --train`. What is expected is said before anything is taught."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from decant.apps import teaching
from decant.apps.candidates import Host, head_of, hosts
from decant.apps.desk import Asked, Desk
from decant.apps.opening import Opening
from decant.apps.prompts import Prompt
from decant.apps.tuning import Field
from decant.distill.runs import RECIPE
from decant.errors import BadInput
from decant.tune.predict import Drafting, Profile, best_depth, predict
from decant.types import CostCurve

KIND: Final = "eagle3"
PRIOR: Final = (0.7317, 0.5702, 0.4631, 0.3874, 0.3084)  # in a row, greedily: house:eagle3, 27 minutes of one thread
WORTH: Final = 1.1  # times the best that is there already
TEACHING: Final = 0.7  # of the time for training; the rest is for the answers that it learns from
ENOUGH: Final = 8  # prompts, half of which teach


@final
@dataclass(frozen=True, slots=True)
class Bet:
    """speedup: predicted of a taught head; best: estimated of what there is. pays: whether to teach. why: if not."""

    speedup: float
    best: float
    depth: int
    pays: bool
    why: str = ""

    def sentence(self, seconds: float | None = None) -> str:
        """What is expected. seconds: that it will take, where it is about to begin."""
        if not self.pays:
            return f"teaching a head is not expected to pay: {self.why}"
        said = (
            f"a taught {KIND} head is expected to decode {self.speedup:.2f} times as fast as plain decoding, beside "
            f"{self.best:.2f} of what there is; its acceptance is assumed: that of house:{KIND} after 27 minutes of "
            f"one thread"
        )
        return f"{said}; give --train 30m" if seconds is None else f"{said}; teaching it for {seconds / 60:.0f} minutes"

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kind": KIND,
            "predicted": round(self.speedup, 4),
            "best": round(self.best, 4),
            "pays": self.pays,
            "sentence": self.sentence(),
        }


def foretold(desk: Desk, there: Field) -> Bet:
    """By the measured costs and an assumed acceptance: a head is about one layer and the output matrix."""
    batch = desk.asked.batches[0]
    ranked = there.ranked(batch)
    best = max([there.estimate(ranked[0], batch) if ranked else 1.0, 1.0])
    config = desk.target.model.network.config.get_text_config()
    total, output = desk.target.facts()["parameters"], config.hidden_size * config.vocab_size
    share = ((total - output) / config.num_hidden_layers + output) / total
    level = CostCurve((1,), (share * there.passes.seconds(1),))
    profile = Profile(PRIOR, (1.0,) * len(PRIOR), Drafting(level=level))
    depth = best_depth(there.passes, profile, batch, range(1, len(PRIOR) + 1))
    speedup = predict(there.passes, profile.to(depth), batch).speedup
    why = ""
    if any(head_of(there.candidates[name].recipe) == KIND for name in there.probes):
        why = f"the model has a head of the kind {KIND}"
    elif desk.target.setting["widen"] is not None:
        why = "a widened model is for measuring, and is not taught"
    elif speedup < WORTH * best:
        why = f"{speedup:.2f} times plain decoding's speed is predicted, and {best:.2f} is there already"
    return Bet(speedup, best, depth, not why, why)


def parted(asked: Asked) -> tuple[Asked, Sequence[Prompt]]:
    """What is measured on, and what a head would be taught on: never the same prompts. None of the latter: questions
    are drawn, for the house's models. Raises BadInput for too few prompts."""
    if asked.train is None or asked.source.startswith("house:"):
        return asked, ()
    if len(asked.prompts) < ENOUGH:
        raise BadInput(
            f"--train teaches on half of the prompts and measures on the others, and there are {len(asked.prompts)}; "
            f"give {ENOUGH} or more, or leave --train out"
        )
    return replace(asked, prompts=list(asked.prompts[1::2])), list(asked.prompts[::2])


def taught(desk: Desk, there: Field, prompts: Sequence[Prompt], opening: Opening) -> Host:
    """Teach a head within the time, or go on teaching it; the time does not count as the budget's. there: how fast
    answers are written."""
    asked, began = desk.asked, time.monotonic()
    assert asked.train is not None, "deciding.tune"
    out = (asked.out / KIND).resolve()
    if not desk.notes.get("taught"):
        texts = _written(asked.out / "taught.jsonl", prompts) if prompts else teaching.TASKS
        limit = max(2, math.floor((1 - TEACHING) * asked.train * there.plainly.rate / asked.max_tokens))
        lesson = teaching.Asked(
            KIND, desk.target.name, texts, out, minutes=TEACHING * asked.train / 60, limit=limit,
            max_tokens=asked.max_tokens, seed=asked.seed, device=opening.device, quiet=True,
            resume=(out / RECIPE).exists(),
        )  # fmt: skip
        teaching.run(lesson, lambda done, total, text: desk.tell(f"teaching {KIND}: {text}"))
        desk.notes["taught"] = str(out)
    desk.begun += time.monotonic() - began
    desk.note()
    host = hosts(desk.target, [str(out)], opening)[0]
    desk.there.append(host)
    return host


def _written(file: Path, prompts: Sequence[Prompt]) -> str:
    rows = [{"prompt": one.text} if one.text is not None else {"messages": list(one.messages)} for one in prompts]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(file)

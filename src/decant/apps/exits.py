"""`decant distill` of exits: the teacher itself, trained on, becomes another model whose layers can be left early."""

from collections.abc import Mapping
from typing import Any

from torch import float32, nn

from decant.apps.teaching import Asked, Outcome, Told, place, recipe_of, rows_of
from decant.distill.exits import Beginning, ExitRecipe, rate
from decant.distill.exits import teach as taught
from decant.distill.runs import Course
from decant.distill.trainer import Settings
from decant.errors import BadInput
from decant.models import rounded
from decant.models.fast.reading import why_not
from decant.models.load import stored


def teach(asked: Asked, told: Told) -> Outcome:
    """Answers first, where there are prompts; then the model. Raises BadInput, also for a model whose layers decant
    cannot leave early."""
    asked.refuse("the model that it teaches is the teacher's own copy", "student")
    recipe: ExitRecipe = recipe_of(asked.recipe)
    network: Any
    network, tokenizer = stored(asked.teacher)
    reason = "its weights are rounded" if rounded.holds(network) else why_not(network)
    if reason is not None:
        raise BadInput(f"{asked.teacher} cannot be left early: {reason}; take a model of the Llama or Qwen family")
    beginning = Beginning(asked.teacher, network, tokenizer, str(network.dtype).removeprefix("torch."))
    nn.Module.to(network.eval(), device=place(asked.device), dtype=float32)
    recipe.loss(network)  # a knob that does not fit is answered before the prompts are
    batches, held_out, measured = rows_of(asked, told)
    settings = Settings(
        steps=asked.steps,
        peak=asked.rate or rate(network.config.hidden_size),
        warmup=20,
        decay=0.5,
        weight_decay=0.05,
        quiet=asked.quiet,
        tensorboard=asked.tensorboard,
    )
    course = Course(batches, held_out, settings, measured, asked.seed, asked.minutes, asked.origin())
    report = taught(recipe, beginning, course, asked.out)
    return Outcome(report, _facts(report))


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    """What was learnt, on held-out rows."""
    shares = zip(report["agreement_before"], report["agreement"], strict=True)
    agreement = {
        f"layer {exit}": f"agrees with the last {after:.1%} of the time; before {before:.1%}"
        for exit, (before, after) in enumerate(shares, 1)
    }
    last = f"{report['nats'][-1]:.3f} nats a token; before {report['nats_before'][-1]:.3f}"
    return {"model": f"{report['parameters']:,} parameters", **dict(list(agreement.items())[:-1]), "last layer": last}

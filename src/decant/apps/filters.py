"""`decant distill learn2pd`: a filter for a model that fills in masks tells which of its guesses will last."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from decant.apps.choosing import warp_of
from decant.apps.compose import compose
from decant.apps.sampling import Sampling
from decant.apps.teaching import MIXTURE, Asked, Outcome, Told, parted, prompts_of, recipe_of
from decant.distill.diffusion.canvases import BLOCK
from decant.distill.diffusion.learn2pd import TAU, Learn2PD, Prompts, Run
from decant.distill.diffusion.learn2pd import teach as taught
from decant.distill.diffusion.trajectories import Trajectories
from decant.distill.settings import Settings
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import load

RATE: Final = 3e-3


def teach(asked: Asked, told: Told) -> Outcome:
    """Answers and their replays, then the filter. Raises BadInput, or IncompatibleParts for a causal teacher."""
    asked.refuse("a filter is taught beside one model", "student")
    asked.refuse("it learns from all answers in every step", "minutes", "length")
    asked.refuse("its labels need greedy answers", "temperature")
    if asked.texts == MIXTURE:
        raise BadInput(f"a filter learns from answers, and {MIXTURE} is text that nobody asked for; take house:tasks")
    recipe: Learn2PD = recipe_of(asked.recipe)
    target = load(asked.teacher, device=asked.device, exact="off")
    if target.masked is None:
        raise IncompatibleParts(
            f"{asked.teacher} speaks from left to right, and learn2pd is for models that fill in masks; make one of it "
            f"with decant distill mdlm --student {asked.teacher}"
        )
    block = recipe.spec(target.masked.convention.block or BLOCK).block
    spec = f"low-confidence:block={block}"
    decoder: Any = compose(spec, target, None, warp_of(Sampling(temperature=0.0))).decoder
    walks = Trajectories(
        replace(decoder, length=asked.max_tokens),
        block,
        asked.batch,
        target.model.network.device,
        lambda done, total: told(done, total, "answers"),
    )
    settings = Settings(
        steps=asked.steps,
        peak=asked.rate or RATE,
        warmup=0,
        weight_decay=0.01,
        quiet=asked.quiet,
        tensorboard=asked.tensorboard,
    )
    run = Run(asked.teacher, asked.out, asked.origin(), asked.seed)
    report = taught(recipe, walks, Prompts(*parted(prompts_of(asked, target))), settings, run)
    return Outcome(report, _facts(report))


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    """What was replayed, and what settles on held-out answers."""
    found, wrong = ("none" if report[name] is None else f"{report[name]:.1%}" for name in ("found", "wrong"))
    return {
        "examples": f"{report['examples']:,} passes over a block, {report['share']:.1%} of the guesses right",
        "passes": f"{report['plain']:,} a place a step; {report['oracle']:,} by an oracle",
        "settles": f"{found} of the right guesses at {TAU}; {wrong} of what settles is wrong",
    }

"""`decant distill` of a router: it tells where a small model's token would lead elsewhere than its teacher's."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from decant.apps.choosing import warp_of
from decant.apps.compose import plain
from decant.apps.sampling import Sampling
from decant.apps.teaching import MIXTURE, Asked, Outcome, Told, answers_of, parted, recipe_of
from decant.distill.router import Labelling
from decant.distill.routing import Pair, Router
from decant.distill.routing import teach as taught
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded, load


def teach(asked: Asked, told: Told) -> Outcome:
    """Answers, labels, then the router. Raises BadInput, or IncompatibleParts for models of two tokenizers."""
    asked.refuse("it is taught for router:epochs=50, router:tokens=1024 a step", "steps", "minutes", "length")
    asked.refuse("its labels need greedy answers", "temperature")
    asked.refuse("its metrics are its epochs'", "tensorboard")
    if asked.texts == MIXTURE:
        raise BadInput(f"a router learns from answers, and {MIXTURE} is text that nobody asked for; take house:tasks")
    recipe: Router = recipe_of(asked.recipe)
    target = load(asked.teacher, device=asked.device, exact="off")
    small = _small(asked, target)
    model = replace(small.model, vocab=target.model.vocab)
    learnt, held_out = parted(answers_of(asked, target, told))
    labelling = Labelling(
        plain(target, warp_of(Sampling(temperature=0.0))).decoder,
        target.decode,
        target.ends,
        device=target.model.network.device,
        told=lambda done, total: told(done, total, "labels"),
    )
    pair = Pair(target.name, small.name, model, labelling, learnt, held_out)
    rate = asked.rate or recipe.rate(small.model.network.config.get_text_config().hidden_size)
    course = recipe.course(rate, asked.seed, asked.quiet)
    report = taught(recipe, pair, course, asked.origin(), asked.out)
    return Outcome(report, _facts(report))


def _small(asked: Asked, target: Loaded) -> Loaded:
    """The one given, else the teacher's own draft."""
    name = asked.student or target.draft
    if name is None:
        raise BadInput(
            f"a router is for a small model beside {asked.teacher}, whose folder names none; give one with --student"
        )
    small = load(name, device=asked.device, exact="off")
    if not target.same_tokenizer(small):
        raise IncompatibleParts(
            f"the tokenizers of {target.name} and {small.name} differ; a router needs a student of the same tokenizer"
        )
    return small


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    """What was labelled, and what is caught on held-out answers."""
    recall = "nothing" if report["recall"] is None else f"{report['recall']:.1%}"
    labels = f"{report['differs']:.1%} differ, {report['elsewhere']:.1%} lead elsewhere"
    return {
        "router": f"{report['parameters']:,} parameters, for {report['student']}",
        "labels": f"{report['tokens']:,} tokens: {labels}",
        "threshold": f"{report['threshold']:.4f}",
        "caught": f"{recall} of what leads elsewhere",
        "sent": f"{report['sent']:.1%} of all tokens to {report['teacher']}",
    }

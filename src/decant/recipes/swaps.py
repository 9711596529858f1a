"""A recipe with a part of another: a distance, which tokens count, how the target moves, whose texts. All else stays as
the recipe composes it.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, final

from decant.distill.composition import Asked
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.hidden_states import HiddenStates
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.student_samples import StudentSamples
from decant.distill.seams import needs_of
from decant.distill.teachers.live import Live
from decant.errors import BadInput, IncompatibleParts
from decant.models.teacher import Teacher

Role = Literal["distance", "weighting", "curriculum", "rollouts"]

LAWS: Final = ("law", "dense")
"""Needs of objectives that compare laws token by token, whose target a curriculum moves."""


def _depth(network: Any) -> int:
    return network.config.get_text_config().num_hidden_layers


def _quarters(network: Any) -> tuple[int, ...]:
    return tuple(sorted({max(1, _depth(network) * part // 4) for part in (1, 2, 3)}))


def _history(kit: Any) -> Live:
    """The student as it begins; a composition that is only looked at needs no copy."""
    network = kit.student if kit.dry else deepcopy(kit.student).eval().requires_grad_(False)
    return Live(Teacher("history", network))


GIVEN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "history": _history,
    "network": lambda kit: kit.student,
    "teacher": lambda kit: kit.source or Live(kit.model()),
    "divergence": lambda kit: ForwardKL(),
    "pairs": lambda kit: HiddenStates.evenly(_depth(kit.student), _depth(kit.model().network)),
    "stages": lambda kit: _quarters(kit.student),
    "prompts": lambda kit: kit.questions(),
    "given": lambda kit: kit.rows_of(),
    "own": lambda kit: StudentSamples(kit.questions(), kit.writing()),
    "writing": lambda kit: kit.writing(),
    "ends": lambda kit: kit.ends,
    "seed": lambda kit: kit.seed,
    "micro": lambda kit: kit.micro,
}
"""Fields of parts that a kit fills, where no knob does."""


@final
@dataclass(frozen=True, slots=True)
class Swap:
    """A part that is not made yet: its class, and the knobs that were set."""

    made: Callable[..., Any]
    knobs: Mapping[str, Any]

    def of(self, kit: Any) -> Any:
        """The part. Raises BadInput for knobs that do not fit, or a kit without what it needs."""
        wanted = {field.name for field in fields(self.made)} - self.knobs.keys()  # type: ignore[arg-type]
        return self.made(**{name: give(kit) for name, give in GIVEN.items() if name in wanted}, **self.knobs)


def swapped(
    kit: Any, rollouts: Any, objectives: Sequence[Asked], parts: Mapping[str, Any]
) -> tuple[Any, list[Asked], dict[str, Any]]:
    """What a recipe composes, with the kit's swaps. Raises BadInput or IncompatibleParts where a part has no place."""
    swaps: Mapping[Role, Swap] = kit.swaps
    asked, parts = list(objectives), dict(parts)
    taught = [at for at, one in enumerate(asked) if needs_of(one.objective) != "nothing"]
    for role in ("distance", "curriculum", "rollouts"):
        if role in swaps and not taught:
            raise BadInput(f"--{role}: this recipe asks a teacher nothing about its texts; take one that does (hinton)")
    if "distance" in swaps:
        at = _place(asked, taught)
        asked[at] = Asked(_distance(swaps["distance"].of(kit), asked[at].objective, parts), asked[at].share)
    if "curriculum" in swaps:
        if not any(needs_of(one.objective) in LAWS for one in asked):
            raise IncompatibleParts("--curriculum moves a teacher's law, and nothing here compares laws token by token")
        parts["curriculum"] = swaps["curriculum"].of(kit)
    if "weighting" in swaps:
        parts["weighting"] = swaps["weighting"].of(kit)
    if "rollouts" in swaps:
        if "speaker" in parts:
            raise IncompatibleParts("--rollouts: this recipe divides by the law that its own answers are drawn from")
        rollouts = swaps["rollouts"].of(kit)
    return rollouts, asked, parts


def _place(asked: Sequence[Asked], taught: Sequence[int]) -> int:
    """Whose place a distance takes: that of the distance between laws, else of all that learns from the teacher."""
    found = [at for at in taught if isinstance(asked[at].objective, Pointwise)] or taught
    if len(found) > 1:
        raise BadInput("--distance: this recipe has several distances; take one with a single one (hinton)")
    return found[0]


def _distance(new: Any, old: Any, parts: Mapping[str, Any]) -> Any:
    """The objective; a divergence is compared at the temperature of the one before."""
    if not hasattr(new, "needs"):
        return Pointwise(new, old.temperature if isinstance(old, Pointwise) else 1.0)
    if needs_of(new) == "spans" and "spans" not in getattr(parts.get("teacher"), "gives", ()):
        raise IncompatibleParts(
            f"--distance: {type(new).__name__} compares texts that two tokenizers cut differently; take the recipe "
            f"alm_transfer"
        )
    return new

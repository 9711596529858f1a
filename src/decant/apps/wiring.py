"""What parts are given that nobody sets: a field is filled by its name, wherever it stands.

A part says what it needs by naming a field; `Wiring` has a method of that name. So a new need is one method here.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, final

from decant.apps.catalog import NEEDS_DRAFT, Recipe
from decant.constraints.unconstrained import Unconstrained
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded
from decant.protocols import Constraint, LanguageModel, Verifier, Warp
from decant.types import CostCurve


@final
@dataclass(frozen=True, slots=True)
class Wiring:
    """What there is to give. recipe: whose parts these are. Each method below is a field's name."""

    recipe: Recipe
    host: Loaded
    helper: Loaded | None
    judge: Verifier
    logits_warp: Warp

    def given(self, made: Callable[..., Any]) -> dict[str, Any]:
        """Values for its fields that are no knobs. Raises BadInput or IncompatibleParts for what is missing."""
        return {name: getattr(self, name)() for name in wired(made)}

    def target(self) -> LanguageModel:
        """The model whose text is kept."""
        return self.host.model

    def verifier(self) -> Verifier:
        """Who judges."""
        return self.judge

    def warp(self) -> Warp:
        """What is done to logits."""
        return self.logits_warp

    def constraint(self) -> Constraint[Any]:
        """Nothing is forbidden."""
        return Unconstrained()

    def coupled(self) -> bool:
        """Whether guesses are drawn with the target's own noise."""
        return self.judge.seeded

    def model(self) -> LanguageModel:
        """The draft model, with as many logits as the target."""
        draft = self._draft()
        if not self.host.same_tokenizer(draft):
            raise IncompatibleParts(
                f"the tokenizers of {self.host.name} and {draft.name} differ; take a draft of the same tokenizer, or "
                f"prompt-lookup, which needs none"
            )
        return replace(draft.model, vocab=self.host.model.vocab)

    def small(self) -> LanguageModel:
        """The draft model as a decoder's second one."""
        return self.model()

    def target_costs(self) -> CostCurve:
        """Seconds of a pass of the target by its rows."""
        return self.host.costs()

    def draft_costs(self) -> CostCurve | None:
        """Seconds of a pass of the draft model, where one drafts."""
        return self._draft().costs() if self.recipe.needs == NEEDS_DRAFT else None

    def _draft(self) -> Loaded:
        if self.helper is None:
            raise BadInput(
                f"{self.recipe.name} needs a draft model and {self.host.name} names none; give one with --draft"
            )
        return self.helper


NAMES = frozenset(name for name in vars(Wiring) if not name.startswith("_")) - {
    "recipe", "host", "helper", "judge", "logits_warp", "given",
}  # fmt: skip


def wired(made: Callable[..., Any]) -> list[str]:
    """The fields of a part that are filled by name."""
    return [field.name for field in fields(made) if field.name in NAMES] if is_dataclass(made) else []

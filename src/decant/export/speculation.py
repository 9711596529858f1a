"""How drafting is asked for, before any engine's words for it; and what an engine is told in the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from decant.errors import BadInput, IncompatibleParts
from decant.export.source import Source

PLAIN: Final = "plain"
SHARED: Final = "shared-vocabulary"


@final
@dataclass(frozen=True, slots=True)
class Speculation:
    """method: decant's name; "plain" drafts nothing. draft: the draft model. head: the folder of a trained head.

    depth: tokens of a draft from the root to a leaf; width: children of a node, 1 for a chain; budget: nodes at most.
    knobs: the drafter's own.
    """

    method: str = PLAIN
    draft: Source | None = None
    head: Path | None = None
    depth: int = 5
    width: int = 1
    budget: int | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tree(self) -> bool:
        """Whether a draft branches."""
        return self.width > 1

    def drafter(self, target: Source) -> Source:
        """The draft model. Raises BadInput where there is none, IncompatibleParts for one of another tokenizer."""
        if self.draft is None:
            raise BadInput(f"{self.method} needs a draft model, and {target.name} names none; give one with --draft")
        mine, other = target, self.draft
        same = mine.config.vocab_size == other.config.vocab_size
        if same and mine.tokenizer is not None and other.tokenizer is not None:
            same = mine.tokenizer.get_vocab() == other.tokenizer.get_vocab()
        if not same and self.method != SHARED:
            raise IncompatibleParts(
                f"{other.name} has another tokenizer than {mine.name}; take a draft of the same one, or for vLLM the "
                f"method {SHARED}"
            )
        return other


@final
@dataclass(frozen=True, slots=True)
class Launch:
    """What an engine is started with, in the folder of the export.

    command:  its words. settings: speculative.json. remarks: sentences on what differs from decant.
    checked:  what was checked and what was not, in sentences.
    """

    command: tuple[str, ...]
    settings: Mapping[str, Any]
    remarks: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()

"""The models that a verb works with: the target, and its draft where a method needs one."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

from decant.apps.catalog import METHODS, NEEDS_DRAFT, pick
from decant.apps.knobs import split
from decant.models.heads.folder import kind_of
from decant.models.load import Loaded, load


@final
@dataclass(frozen=True, slots=True)
class Opening:
    """How models are loaded; the words are those of `load`.

    weights: the target's; a draft keeps its own.
    widen, widen_draft: the size that the target, and the draft, are enlarged to.
    """

    dtype: str = "auto"
    device: str = "auto"
    exact: Literal["auto", "on", "off"] = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    widen: str | None = None
    widen_draft: str | None = None
    layers: Literal["grow", "keep"] = "grow"
    weights: Literal["auto", "int8", "int4"] = "auto"

    def target(self, model: Any) -> Loaded:
        """The target; what is loaded already stays as it is."""
        if isinstance(model, Loaded):
            return model
        return load(
            _plainly(model),
            dtype=self.dtype,
            device=self.device,
            exact=self.exact,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            widen=self.widen,
            layers=self.layers,
            weights=self.weights,
        )

    def draft(self, model: Any) -> Loaded:
        """The draft. Never in exact mode: no promise rests on a guess's last bit."""
        if isinstance(model, Loaded):
            return model
        return load(
            _plainly(model),
            dtype=self.dtype,
            device=self.device,
            exact="off",
            trust_remote_code=self.trust_remote_code,
            widen=self.widen_draft,
            layers=self.layers,
        )

    def pair(self, model: Any, draft: Any, methods: Iterable[str]) -> tuple[Loaded, Loaded | None]:
        """Target and draft: the one given, else the one that the target's folder names, if a method needs any.

        What is given may be the folder of a trained head, which the target then has.
        """
        target, draft = self.target(model), _plainly(draft)
        if isinstance(draft, str) and (kind := kind_of(Path(draft).expanduser())):
            target, draft = replace(target, heads={**target.heads, kind: draft}), None
        chosen = target.draft if draft is None else draft
        return target, self.draft(chosen) if chosen is not None and any(map(needs_draft, methods)) else None


def needs_draft(spec: str) -> bool:
    """Whether the method is decoded with a draft model; "all" is, where there is one."""
    return spec == "all" or pick(METHODS, split(spec).name, "method").needs == NEEDS_DRAFT


def _plainly(model: Any) -> Any:
    """A `Path` is as good as its text."""
    return os.fspath(model) if isinstance(model, os.PathLike) else model

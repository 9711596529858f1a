"""From a method as `--method` spells it to what another engine is asked to draft with."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, final

from decant.apps.catalog import DRAFTERS, METHODS, NEEDS_DRAFT, NEEDS_HEAD, POLICIES, Recipe, knobs_for, pick
from decant.apps.knobs import Spec, knobs_of, split, values_of
from decant.errors import BadInput
from decant.export.formats import ENGINES, refuse_method
from decant.export.source import Source
from decant.export.speculation import Speculation
from decant.models.folder import find, named_draft
from decant.models.heads import folder as heads
from decant.policies.template import Template
from decant.tune.plan import Plan

DEPTH = 5  # of a policy that says none


@final
@dataclass(frozen=True, slots=True)
class Drafting:
    """What the user said: --method, --draft, --policy; None: the model's own draft, by the method that it calls for."""

    method: str | None
    draft: str | None
    policy: str | None = None
    trust_remote_code: bool = False

    @classmethod
    def of(
        cls, method: str | None, draft: str | None, choice: Mapping[str, Any] | None, trust_remote_code: bool
    ) -> "Drafting":
        """A plan's choice, where nothing else was said."""
        said = choice or {}
        if method is not None:
            return cls(method, draft, None, trust_remote_code)
        return cls(said.get("method"), draft or said.get("draft"), said.get("policy"), trust_remote_code)

    def refuse(self, formats: tuple[str, ...]) -> None:
        """Before the model is read. Raises BadInput for a method that an engine does not know, or that there is not."""
        if self.method is None:
            return
        spec = split(self.method)
        recipe = pick(METHODS, spec.name, "method")
        _values(recipe, spec, self.policy)
        for to in formats:
            if to in ENGINES:
                refuse_method(to, recipe.name)

    def asked(self, target: Source) -> Speculation:
        """Raises BadInput where no draft or head is to be had."""
        named = self.draft or named_draft(None if target.folder is None else str(target.folder))
        folder = None if self.draft is None else Path(find(self.draft))
        kind = None if folder is None else heads.kind_of(folder)
        spec = split(self.method or _method(kind, named))
        recipe = pick(METHODS, spec.name, "method")
        given, shape = _values(recipe, spec, self.policy)
        head, draft = None, None
        if recipe.needs == NEEDS_HEAD:
            head = _head(target, recipe, spec.knobs.get("head"), (folder, kind))
        elif recipe.needs == NEEDS_DRAFT and named is not None:
            if kind is not None:
                raise BadInput(
                    f"{recipe.name} needs a draft model, and {self.draft} is a head of kind {kind}; give a model"
                )
            draft = Source.open(named, trust_remote_code=self.trust_remote_code)
        return Speculation(recipe.name, draft, head, knobs=given, **shape)


def chosen(place: Path, model: str) -> tuple[Path | None, dict[str, Any]]:
    """Of a folder of `decant tune`: its certificate, if there is one, and what it chose for one request at a time.

    Raises BadInput for a folder without a plan, or with that of another model. Another machine is no reason: what is
    exported runs in another engine anyhow.
    """
    plan = Plan.load(place)
    whose = str(plan.model.get("name") or model)
    if Path(_found(model)).resolve() != Path(_found(whose)).resolve():
        raise BadInput(f"the plan in {place} was made for {whose}, not for {model}; tune {model}, or leave --plan out")
    proof = (place if place.is_dir() else place.parent) / "certificate.json"
    return proof if proof.is_file() else None, {**asdict(plan.choice(batch=1)), "machine": dict(plan.machine)}


def _found(model: str) -> str:
    """Where a model lies that need not be here any longer."""
    try:
        return find(model)
    except BadInput:
        return model


def _method(kind: str | None, named: str | None) -> str:
    """What a head, or a draft, calls for."""
    return kind or ("prompt-lookup" if named is None else "draft-model")


def _head(target: Source, recipe: Recipe, knob: str | None, given: tuple[Path | None, str | None]) -> Path:
    """The folder of the head that a method reads: a knob's, --draft's, or that which the model's decant.json names."""
    wanted = recipe.head or str(recipe.drafter)
    folder, kind = (Path(find(knob)), wanted) if knob is not None else given
    if kind is None:
        folder = heads.find(target.name, wanted)
    elif kind != wanted:
        raise BadInput(
            f"{recipe.name} reads a head of kind {wanted}, and {folder} holds one of kind {kind}; give another"
        )
    if folder is None:
        raise BadInput(
            f"{target.name} names no {wanted} head; give its folder with --draft, or teach one: decant distill "
            f"{wanted} --teacher {target.name} --data TEXTS --out DIR"
        )
    return folder


def _values(recipe: Recipe, spec: Spec, policy: str | None) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The drafter's knobs, and depth, width and budget of a draft. Raises BadInput for a knob that there is not."""
    if recipe.drafter is None:
        if spec.knobs:
            values_of(spec, knobs_for(recipe)[0])
        return {}, {}
    mine, his = knobs_for(recipe, policy)
    own, pacing = spec.parted(mine, his)
    part = pick(DRAFTERS, recipe.drafter, "drafter").get()
    given = _defaults(part) | values_of(own, mine)
    wanted = split(policy or recipe.policy).joined(pacing)
    pace = pick(POLICIES, wanted.name, "policy").get()
    said = _defaults(pace) | values_of(wanted, knobs_of(pace))
    if pace is Template:
        paths = Template(said["branches"]).shape(None).template or ()
        return given, {
            "depth": max(map(len, paths)),
            "width": sum(len(path) == 1 for path in paths),
            "budget": len(paths),
        }
    depth = next((said[name] for name in ("depth", "initial", "most") if said.get(name)), DEPTH)
    return given, {"depth": depth, "width": said.get("width") or 1, "budget": said.get("budget")}


def _defaults(made: Callable[..., Any]) -> dict[str, Any]:
    """Of the knobs of a part."""
    known = knobs_of(made)
    return {
        one.name: one.default
        for one in fields(made)  # type: ignore[arg-type]  (knobs_of is empty for what is no dataclass)
        if one.name in known and one.default is not MISSING
    }

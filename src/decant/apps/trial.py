"""Everything that a comparison needs, in place: models, prompts, methods. Raced by `bench`, certified by `prove`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from decant.apps.catalog import METHODS
from decant.apps.choosing import Chosen, choose
from decant.apps.compose import applicable, plain
from decant.apps.guidance import Guidance, led, usual
from decant.apps.knobs import split
from decant.apps.opening import Opening
from decant.apps.prompts import Prompt, encode
from decant.apps.proofs import extras, unasked
from decant.apps.sampling import Sampling
from decant.bench import run as race
from decant.bench.keeping import Kept
from decant.constraints.grammar import Description
from decant.decoders.method import Method
from decant.decoders.workload import Workload
from decant.errors import IncompatibleParts
from decant.models.folder import of_images
from decant.models.load import Loaded
from decant.models.machine import machine
from decant.protocols import Constraint
from decant.prove import run as prove

LOSSY: Final = "it promises neither tokens nor a law; bench says what it loses"

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""


@final
@dataclass(frozen=True, slots=True)
class Question:
    """What is compared, still in the user's words.

    methods: specs, or "all".
    source:  where the prompts came from, for the report.
    """

    methods: Sequence[str] | str
    source: str
    draft: Any = None
    verifier: str | None = None
    policy: str | None = None
    max_tokens: int = 128
    batch: int = 1
    seed: int = 0


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """A question with its parts loaded.

    chosen:  what is done to logits, plain decoding's too.
    skipped: (name, reason) of the methods that cannot run here.
    description: what the text must be, where that was described.
    """

    question: Question
    target: Loaded
    draft: Loaded | None
    chosen: Chosen
    methods: list[Method]
    skipped: list[tuple[str, str]]
    workload: Workload
    description: Description | None = None

    @property
    def sampling(self) -> Sampling:
        """The settings, settled."""
        return self.chosen.sampling

    @property
    def led(self) -> Loaded:
        """The target as methods decode it: under guidance, if there is any."""
        return led(self.target, self.chosen.guide)

    @property
    def exact_target(self) -> Loaded:
        """The bare target in exact mode; as loaded, where exact mode cannot be had or cannot hold the batch."""
        if self.target.masked is not None:
            return self.target
        with suppress(IncompatibleParts):
            exact = self.target.exactly(True)
            rows = led(exact, self.chosen.guide).model.rows
            if rows is not None and rows.holds(self.workload.batch):
                return exact
        return self.target

    @property
    def plain(self) -> Method:
        """Plain decoding in the mode that was loaded."""
        return self._plain(self.target)

    @property
    def exact_plain(self) -> Method:
        """Plain decoding in exact mode, if it can be had."""
        return self._plain(self.exact_target)

    @property
    def fastest_plain(self) -> Method:
        """Plain decoding at its fastest: rows are filled up only where the kernels are faster for it."""
        exact = self.exact_target
        rows = exact.model.rows
        asis = self.target.masked is not None or (rows is not None and rows.cost <= 1)
        fastest = exact if asis else self.target.exactly(False)
        return self._plain(fastest)

    def paced(self) -> "Trial":
        """Without the methods of which the question's policy, if it names one, says nothing; they join the skipped.

        That is whoever decodes in a loop of its own, and whoever differs from a method before it by its policy alone.
        """
        if self.question.policy is None:
            return self
        skipped, seen = list(self.skipped), dict[object, str]()
        for name in (method.name for method in self.methods):
            wanted = split(name)
            recipe = METHODS[wanted.name]
            parts = recipe.drafter, recipe.head, self.question.verifier or recipe.verifier, (*wanted.knobs.items(),)
            if recipe.drafter is None:
                skipped.append((name, "no policy paces it: it decodes in a loop of its own"))
            elif (first := seen.setdefault(parts, name)) != name:
                skipped.append((name, f"with this policy it is {first}"))
        return replace(self, methods=[one for one in self.methods if one.name not in dict(skipped)], skipped=skipped)

    def race(
        self,
        repeat: int,
        progress: Progress,
        partial: Callable[[dict[str, Any]], None] = lambda report: None,
        resume: Path | None = None,
    ) -> dict[str, Any]:
        """The report of `bench`; `partial` gets what there is of it as it grows; `resume` keeps whole rounds."""
        return race(
            self.target,
            [self.fastest_plain, *self.methods],
            self.workload,
            exact_plain=self.exact_plain,
            repeat=repeat,
            skipped=self.skipped,
            settings=self.settings(),
            machine=machine(),
            progress=progress,
            partial=partial,
            kept=None if resume is None else Kept(resume),
        )

    def certify(
        self,
        samples: int,
        progress: Progress,
        partial: Callable[[dict[str, Any]], None] = lambda report: None,
        checks: Sequence[str] = ("methods",),
    ) -> dict[str, Any]:
        """The certificate of `prove`; plain decoding is compared in the mode that was loaded. Of "all" methods those
        that promise nothing are left out, and said to be. checks: of `proofs.CHECKS`."""
        everything = self.question.methods == "all"
        lossy = [(one.name, LOSSY) for one in self.methods if everything and one.promise is None]
        methods = [method for method in self.methods if method.name not in dict(lossy)]
        return prove(
            self.target,
            self.plain,
            methods if "methods" in checks else [],
            self.workload,
            samples=samples,
            extras=extras(self, methods, checks, samples),
            unasked=unasked(checks, methods),
            skipped=[*self.skipped, *lossy],
            settings=self.settings(),
            machine=machine(),
            progress=progress,
            partial=partial,
        )

    def _plain(self, target: Loaded) -> Method:
        return plain(target, self.chosen.warp, self.chosen.constraint, self.chosen.guide)

    def settings(self) -> Mapping[str, Any]:
        """Enough to run it again, beside what the workload says of itself."""
        asked = self.question
        return {
            "asked": asked.methods if isinstance(asked.methods, str) else list(asked.methods),
            "source": asked.source,
            "draft": None if self.draft is None else self.draft.facts(),
            "verifier": asked.verifier,  # None: each method's own
            "policy": asked.policy,
            **self.chosen.facts(),
        }


def prepare(
    model: Any,
    question: Question,
    prompts: list[Prompt],
    sampling: Sampling,
    opening: Opening,
    constraint: Constraint[Any] | Description | None = None,
    guidance: Guidance = Guidance(),  # noqa: B008  (frozen)
) -> Trial:
    """Load, encode and compose. Raises what the user can mend before anything is decoded.

    constraint: what may come next, or a description of it (`constraints.grammar`).
    guidance: what leads the target, if anything; a draft model is not led. A model of images is led as it says itself.

    Of the model's generation_config.json its penalties count, as in `generate`; temperature and cuts are the caller's.
    """
    names = [question.methods] if isinstance(question.methods, str) else question.methods
    target, draft = opening.pair(model, question.draft, names)
    guide = usual(guidance, model).opened(opening)
    if of_images(target.name):  # an image has so many places, and the prompt is its class
        question = replace(question, max_tokens=min(question.max_tokens, target.model.context - 1))
    ids = encode(prompts, led(target, guide), question.max_tokens)
    chosen = choose(sampling, target, {**target.defaults, "do_sample": False}, constraint=constraint, guide=guide)
    methods, skipped = applicable(
        question.methods, target, draft, chosen.warp,
        constraint=chosen.constraint, guide=guide, verifier=question.verifier, policy=question.policy,
    )  # fmt: skip
    device = target.model.network.device
    workload = Workload(ids, question.max_tokens, question.batch, question.seed, target.ends, device)
    described = constraint if isinstance(constraint, Description) else None
    return Trial(question, target, draft, chosen, methods, skipped, workload, described)
